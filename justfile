# Everything is in xtask; `just` only shortens it.
set positional-arguments

# What CI runs.
check *ARGS:
    cargo xtask check "$@"

# The guided tour, in Rust and in C, over a file (default: see README.md).
tour *FILE:
    cargo xtask tour "$@"

# The benchmark table: floors and ours in one run.
bench *ARGS:
    cargo xtask bench "$@"

# libhmmrt.so, libhmmrt.a, headers and hmmrt.pc into a folder.
install *ARGS:
    cargo xtask install "$@"
