-- So many keys of each kind, and a few large values.
local n = tonumber(ARGV[1])
for i = 1, n do
    redis.call('SET', 'string:' .. i, string.rep(tostring(i), i % 40 + 1))
    redis.call('HSET', 'hash:' .. i % 200, 'field' .. i, i * 7919 % 1000003)
    redis.call('ZADD', 'sorted:' .. i % 50, i * 7919 % 1000003, 'member' .. i)
    redis.call('RPUSH', 'list:' .. i % 20, 'element ' .. i)
    redis.call('SADD', 'set:' .. i % 30, i)
    if i % 3 == 0 then
        redis.call('DEL', 'string:' .. i - 1)
    end
end
for i = 1, 20 do
    redis.call('SET', 'large:' .. i, string.rep('large ' .. i, 20000 * i))
    redis.call('APPEND', 'large:' .. i, string.rep('more', 50000))
    redis.call('SETBIT', 'bits:' .. i, 8000000 + i, 1)
end
return redis.call('DBSIZE')
