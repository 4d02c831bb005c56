-- Every key with its value, sorted.
local keys = redis.call('KEYS', '*')
table.sort(keys)
local read = {
    string = function(key) return { redis.sha1hex(redis.call('GET', key)) } end,
    list = function(key) return redis.call('LRANGE', key, 0, -1) end,
    hash = function(key)
        local all, flat = redis.call('HGETALL', key), {}
        for i = 1, #all, 2 do
            flat[#flat + 1] = all[i] .. '=' .. all[i + 1]
        end
        table.sort(flat)
        return flat
    end,
    set = function(key)
        local all = redis.call('SMEMBERS', key)
        table.sort(all)
        return all
    end,
    zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
}
local out = {}
for i, key in ipairs(keys) do
    out[i] = key .. ' ' .. redis.sha1hex(table.concat(read[redis.call('TYPE', key).ok](key), ' '))
end
return out
