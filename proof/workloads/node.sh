# what: node: buffers, typed arrays, JSON, compression, hashes, workers with shared memory, child processes
# needs: node
# packages: nodejs
# seconds: 600
# overhead
# quick
work() { under node "$here/work.mjs" "$(sized 4 1 8)"; }
