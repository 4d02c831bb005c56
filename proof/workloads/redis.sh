# what: redis-server: a benchmark, values of all kinds and sizes, BGSAVE and AOF rewrite in forked children, reload
# needs: redis-server redis-cli redis-benchmark
# packages: redis-server redis-tools
# seconds: 900
serve() {
    mkdir -p data
    under_in_background redis-server --port 0 --unixsocket "$PWD/socket" --dir "$PWD/data" --save '' --daemonize no \
        --appendonly no --dbfilename dump.rdb --loglevel warning --io-threads 2 --hash-max-listpack-entries 64 "$@" \
        >>redis.log
    server=$!
    for _ in $(seq 1200); do
        [ "$(cli ping 2>/dev/null)" = PONG ] && return
        kill -0 $server 2>/dev/null || break
        sleep 0.1
    done
    echo "redis-server does not answer"
    tail -5 redis.log
    kill -KILL $server 2>/dev/null || true
    exit 1
}
cli() { redis-cli -s "$PWD/socket" "$@"; }
# All that is in it, in order, as text.
contents() {
    cli --raw eval "$(cat "$here/redis_contents.lua")" 0 | sha256sum
    cli dbsize
}
saved() {
    cli bgsave
    for _ in $(seq 3000); do
        cli info persistence | grep -q 'rdb_bgsave_in_progress:0' && break
        sleep 0.1
    done
    cli info persistence | tr -d '\r' | grep rdb_last_bgsave_status
}
work() {
    # One that must not outlive this, however it ends.
    trap 'kill -KILL $server 2>/dev/null || true' EXIT
    serve
    local n
    n=$(sized 20000 2000)
    # Not under it: what it prints are times.
    redis-benchmark -s "$PWD/socket" -q -n "$n" -c 20 -d 100 -t set,get,lpush,lrange_100,mset >/dev/null
    redis-benchmark -s "$PWD/socket" -q -n 200 -c 4 -d 1500000 -r 10 -t set,get >/dev/null
    cli flushall
    cli --raw eval "$(cat "$here/redis_fill.lua")" 0 "$n"
    contents
    saved
    cli set after-save "$(head -c 100000 /dev/zero | tr '\0' a)"
    cli bgrewriteaof
    for _ in $(seq 3000); do
        cli info persistence | grep -q 'aof_rewrite_in_progress:0' && break
        sleep 0.1
    done
    cli info persistence | tr -d '\r' | grep aof_last_bgrewrite_status
    contents
    saved
    cli shutdown nosave || true
    wait $server && echo stopped
    serve
    contents
    cli debug reload || true
    contents
    cli shutdown nosave || true
    wait $server && echo stopped
}
