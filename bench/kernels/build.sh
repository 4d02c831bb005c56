#!/bin/sh
# Builds the benchmark's device code, in the same way as kernels/build.sh, whose head explains it.
#
#   build.sh           rebuild triad.ptx
#   build.sh --check   rebuild aside and compare with the checked-in file byte for byte; without clang-14: look it over
set -eu
cd "$(dirname "$0")"

cuda=${CLANG_CUDA:-clang-14}

die() {
    echo "bench/kernels/build.sh: $*" >&2
    exit 1
}

# What every version of the PTX must keep to, whichever compiler wrote it.
inspect() {
    grep -qx '\.version 6\.0' "$1" || die "not PTX 6.0: older drivers would refuse it"
    grep -qx '\.target sm_70' "$1" || die "not for sm_70"
    grep -q '^\.visible \.entry triad(' "$1" || die "triad is missing"
    if grep -nE 'fma|\.ftz|(mul|add|sub)\.f(32|64)' "$1" >&2; then
        die "floating point that may be contracted or flushed: results would differ from the CPU's"
    fi
    if grep -nE '/[^/ ]+/|\.(file|loc|section)' "$1" >&2; then
        die "a path or debug information in the PTX"
    fi
}

build() {
    "$cuda" -x cuda --cuda-device-only --cuda-gpu-arch=sm_70 -nocudainc -nocudalib -O2 -std=c++14 -ffp-contract=off \
        -Wall -Wextra -Werror -S triad.cu -o "$1"
    inspect "$1"
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
case "$*" in
"")
    command -v "$cuda" >/dev/null 2>&1 || die "$cuda not found (apt-get install $cuda)"
    build "$tmp/triad.ptx"
    cat "$tmp/triad.ptx" >triad.ptx
    ;;
--check)
    inspect triad.ptx
    if ! command -v "$cuda" >/dev/null 2>&1; then
        [ -z "${CI:-}" ] || die "$cuda not found (apt-get install $cuda)"
        echo "$cuda not found: looked over, not compared"
        exit 0
    fi
    build "$tmp/triad.ptx"
    if ! cmp -s triad.ptx "$tmp/triad.ptx"; then
        diff -u triad.ptx "$tmp/triad.ptx" | head -n 40 >&2 || true
        die "triad.ptx is not what $cuda makes of triad.cu: run bench/kernels/build.sh and commit the result"
    fi
    echo "triad.ptx is up to date"
    ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
