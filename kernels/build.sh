#!/bin/sh
# Builds the checked-in device code. Needs Debian's clang-14 and no GPU toolkit.
#
#   build.sh                          rebuild kernels.ptx and test_kernels.ptx
#   build.sh --check                  rebuild aside and compare with the checked-in files byte for byte
#   build.sh --check --if-available   the same, but pass where clang-14 is missing (outside CI that is the default)
#   build.sh --hip [ARCH]             see that kernels.hip compiles for AMD (default gfx90a); keeps nothing
#
# CLANG_CUDA and CLANG_HIP name other compilers. The committed file is what clang-14 (LLVM 14.0.6) writes.
set -eu
cd "$(dirname "$0")"

cuda=${CLANG_CUDA:-clang-14}
flags="-O2 -std=c++14 -ffp-contract=off -Wall -Wextra -Werror"
names="hmm_fill hmm_copy hmm_saxpy hmm_sum hmm_histogram hmm_stencil hmm_list_walk hmm_checksum"
test_names="$names test_add_bytes test_fill_bytes test_add_word test_slow_increment test_slow_copy"

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

die() {
    echo "kernels/build.sh: $*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# What every version of the PTX must keep to, whichever compiler wrote it. The names of its kernels follow.
inspect() {
    grep -qx '\.version 6\.0' "$1" || die "not PTX 6.0: older drivers would refuse it"
    grep -qx '\.target sm_70' "$1" || die "not for sm_70"
    for name in $2; do
        grep -q "^\.visible \.entry $name(" "$1" || die "$name is missing"
    done
    if grep -nE 'fma|\.ftz|(mul|add|sub)\.f(32|64)' "$1" >&2; then
        die "floating point that may be contracted or flushed: results would differ from the CPU's"
    fi
    if grep -nE '/[^/ ]+/|\.(file|loc|section)' "$1" >&2; then
        die "a path or debug information in the PTX"
    fi
}

# build SOURCE PTX NAMES
build() {
    # shellcheck disable=SC2086 # flags are words
    "$cuda" -x cuda --cuda-device-only --cuda-gpu-arch=sm_70 -nocudainc -nocudalib $flags -S "$1" -o "$2"
    inspect "$2" "$3"
}

scratch() {
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    trap 'exit 1' HUP INT TERM
}

check() {
    for file in kernels test_kernels; do
        [ -f $file.ptx ] || die "$file.ptx is missing: run kernels/build.sh"
    done
    inspect kernels.ptx "$names"
    inspect test_kernels.ptx "$test_names"
    if ! have "$cuda"; then
        if [ "$1" = lenient ] || [ -z "${CI:-}" ]; then
            echo "$cuda not found: skipped"
            exit 0
        fi
        die "$cuda not found (apt-get install $cuda)"
    fi
    scratch
    build kernels.cu "$tmp/kernels.ptx" "$names"
    build test_kernels.cu "$tmp/test_kernels.ptx" "$test_names"
    for file in kernels test_kernels; do
        if ! cmp -s $file.ptx "$tmp/$file.ptx"; then
            diff -u $file.ptx "$tmp/$file.ptx" | head -n 40 >&2 || true
            die "$file.ptx is not what $cuda makes of $file.cu: run kernels/build.sh and commit the result"
        fi
    done
    echo "kernels.ptx and test_kernels.ptx are up to date"
}

hip() {
    clang=
    for candidate in ${CLANG_HIP:-clang-15 clang-19 clang-17 clang-16 clang}; do
        if have "$candidate"; then
            clang=$candidate
            break
        fi
    done
    [ -n "$clang" ] || die "no compiler for HIP found (apt-get install clang-15)"
    scratch
    # shellcheck disable=SC2086
    "$clang" -x hip --cuda-device-only -nogpuinc -nogpulib --offload-arch="$1" $flags -S kernels.hip -o "$tmp/kernels.s"
    for name in $names; do
        grep -q "^$name:" "$tmp/kernels.s" || die "$name is missing"
    done
    echo "kernels.hip compiles for $1 with $clang"
}

case "$*" in
"")
    have "$cuda" || die "$cuda not found (apt-get install $cuda)"
    scratch
    build kernels.cu "$tmp/kernels.ptx" "$names"
    build test_kernels.cu "$tmp/test_kernels.ptx" "$test_names"
    cat "$tmp/kernels.ptx" >kernels.ptx
    cat "$tmp/test_kernels.ptx" >test_kernels.ptx
    ;;
--check) check strict ;;
"--check --if-available" | "--if-available --check") check lenient ;;
--hip) hip gfx90a ;;
"--hip "*) [ $# -eq 2 ] || usage; hip "$2" ;;
*) usage ;;
esac
