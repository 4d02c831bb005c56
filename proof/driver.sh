# Runs one part of a workload: bash driver.sh WORKLOAD prepare|work. `cargo xtask proof` is what calls it.
#
# A workload is a file in workloads/. Its head says what it is (`# what:`), what it needs (`# needs:`, programs, with the
# packages they come from in `# packages:`), how long a run may take (`# seconds:`) and whether `--quick` has it (`# quick`).
# prepare makes inputs in $INPUT, once, without the library. work runs in a new empty folder and calls what is put to the
# test by `under`. What it prints, the files it leaves in out/ and its exit status must be the same with the library as
# without. A part that cannot run says `skip WHY`.
#
# From the environment: PROOF_LIBRARY, what is preloaded (empty: nothing); PROOF_INPUT and PROOF_TIMES, a folder and a
# file; PROOF_SIZE, full, quick or overhead; and the settings.
set -euo pipefail
export LC_ALL=C TZ=UTC

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
INPUT=$PROOF_INPUT

# With the library before it; its times go to a file: wall, user and system, in seconds.
under() {
    local TIMEFORMAT='%3R %3U %3S'
    { time LD_PRELOAD=$PROOF_LIBRARY "$@" 2>&3; } 3>&2 2>>"$PROOF_TIMES"
}

# The same for what is waited for later; not timed.
under_in_background() {
    LD_PRELOAD=$PROOF_LIBRARY "$@" &
}

skip() {
    echo "skip: $*"
    exit 77
}

# The first number for a full run, the second for a quick one, the third, where there is one, for measuring the overhead.
sized() {
    case $PROOF_SIZE in
    quick) echo "$2" ;;
    overhead) echo "${3:-$1}" ;;
    *) echo "$1" ;;
    esac
}

# The interpreter itself: what is first in PATH may be a shell script that starts it.
python() {
    python3 -c 'import sys; print(sys.executable)'
}

# A virtual environment with these packages, in $INPUT/venv.
venv() {
    local want="$*"
    [ "$(cat "$INPUT/venv/packages" 2>/dev/null)" = "$want" ] && return
    rm -rf "$INPUT/venv"
    "$(python)" -m venv "$INPUT/venv" || skip "python3 cannot make virtual environments (apt install python3-venv)"
    "$INPUT/venv/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 || skip "pip cannot install $want"
    echo "$want" >"$INPUT/venv/packages"
}

# SQLite's source in one file, as crates.io has it, in $INPUT.
sqlite_source() {
    [ -f "$INPUT/sqlite3.c" ] && return
    mkdir -p "$INPUT/vendor/src"
    printf '[package]\nname = "source"\nversion = "0.0.0"\n[dependencies]\nlibsqlite3-sys = "=0.30.1"\n[workspace]\n' \
        >"$INPUT/vendor/Cargo.toml"
    : >"$INPUT/vendor/src/lib.rs"
    (cd "$INPUT/vendor" && cargo vendor --quiet >&2) || skip "cargo cannot fetch libsqlite3-sys from crates.io"
    cp "$INPUT"/vendor/vendor/libsqlite3-sys/sqlite3/sqlite3.[ch] "$INPUT"
    rm -r "$INPUT/vendor"
}

prepare() { :; }
. "$here/workloads/$1.sh"
"$2"
