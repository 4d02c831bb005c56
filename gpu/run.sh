#!/bin/sh
# Runs libhmmrt's GPU suite on this machine: the probe, the tests, both tours, the benchmark. Needs a GPU with its driver, and
# of the system only a shell, coreutils and sed: no Rust, no compiler, no toolkit, no network, no root. Changes no setting of the
# GPU or of the system. `cargo xtask gpu-suite` makes the folder that this script lies in.
#
#   run.sh [--driver LIBRARY] [--backend cuda|hip] [--quick] [--out DIR]
#
#   --driver LIBRARY   the driver's library, if not the system's (a driver double, for one)
#   --backend NAME     cuda (default) or hip
#   --quick            small sizes, short tests: shows that everything works, the figures mean little
#   --out DIR          where logs and results go (default: out, here)
#
# Everything together takes less than 8 minutes, with --quick a minute and a half. Each part has a time limit; what there is
# by then is written to results-CARD-DATE.json as it comes, so a run that is cut off leaves what it has.
# HMMRT_SUITE_TESTS="roundtrip model" runs only these tests.
#
# Exit status 0: all is well. 1: a test, a tour or a row failed, or the time was up. 2: wrong usage. 77: no GPU.
set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 2
backend=cuda
driver=
quick=false
out=$here/out

usage() {
    sed -n '6,11p' "$here/run.sh" | sed 's/^# \{0,1\}//' >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --driver | --backend | --out)
        [ $# -ge 2 ] || usage
        case $1 in
        --driver) driver=$2 ;;
        --backend) backend=$2 ;;
        --out) out=$2 ;;
        esac
        shift 2
        ;;
    --quick)
        quick=true
        shift
        ;;
    *) usage ;;
    esac
done
case $backend in
cuda) variable=HMMRT_CUDA_LIBRARY ;;
hip) variable=HMMRT_HIP_LIBRARY ;;
*) usage ;;
esac
mkdir -p "$out/logs" && out=$(cd "$out" && pwd) || exit 2

export HMMRT_BACKEND="$backend"
if [ -n "$driver" ]; then
    case $driver in */*) driver=$(cd "$(dirname "$driver")" && pwd)/$(basename "$driver") ;; esac
    export "$variable=$driver"
fi

# Time ---------------------------------------------------------------------------------------------------------------

# Seconds: for everything; for one test, one tour; what is kept for the tours, and for the benchmark.
if $quick; then
    all=85 each=12 for_tours=10 for_bench=20
    megabytes=8
    export HMMRT_TEST_SCALE="${HMMRT_TEST_SCALE:-0.02}"
else
    all=465 each=90 for_tours=30 for_bench=220
    megabytes=64
    export HMMRT_TEST_SCALE="${HMMRT_TEST_SCALE:-0.2}"
fi
# A driver double on a slow machine is no GPU that is paid by the minute.
patience=${HMMRT_SUITE_PATIENCE:-1}
all=$((all * patience)) each=$((each * patience))
for_tours=$((for_tours * patience)) for_bench=$((for_bench * patience))
began=$(date +%s)
elapsed() { echo $(($(date +%s) - began)); }

# limited SECONDS KEPT LOG COMMAND...: runs the command with its output in the log, for no longer than SECONDS, nor than
# leaves KEPT of the whole time. Gives its status; 124 or 137: the time was up; 125: there was none left.
limited() {
    most=$1
    left=$((all - $2 - $(elapsed)))
    log=$3
    shift 3
    [ "$left" -ge "$most" ] || most=$left
    if [ "$most" -le 0 ]; then
        echo "not started: no time was left" >"$log"
        return 125
    fi
    if command -v timeout >/dev/null 2>&1; then
        timeout -k 5 "$most" "$@" >"$log" 2>&1 </dev/null
    else
        "$@" >"$log" 2>&1 </dev/null
    fi
}

# Results ------------------------------------------------------------------------------------------------------------

probe_json=
tests_json=
tours_json=
complete=false
failed=0
table="part                      result                                      seconds"

# add TABLE-LINE: name, result, seconds
add() {
    table="$table
$(printf '%-25s %-43s %s' "$1" "$2" "$3")"
    printf '%-25s %-43s %s s\n' "$1" "$2" "$3"
}

# Only text of ours is put into JSON as it is: names of files here, numbers, and the line in BUILD, which has no quotes.
write_results() {
    {
        printf '{\n  "suite": {\n    "format": 1,\n    "build": "%s",\n' "$(cat "$here/BUILD")"
        printf '    "backend": "%s",\n    "quick": %s,\n    "date": "%s",\n' "$backend" "$quick" "$date"
        printf '    "scale_of_tests": "%s",\n    "seconds": %s,\n' "$HMMRT_TEST_SCALE" "$(elapsed)"
        printf '    "probe": [%s],\n    "tests": [%s],\n' "$probe_json" "$tests_json"
        printf '    "tours": [%s],\n    "complete": %s\n  }\n}\n' "$tours_json" "$complete"
    } >"$results.new" && mv "$results.new" "$results"
}

# The number before a word in libtest's result lines, added up.
count() {
    sum=0
    for number in $(sed -n "s/^test result:.* \([0-9][0-9]*\) $2.*/\1/p" "$1"); do sum=$((sum + number)); done
    echo $sum
}

said() {
    case $1 in
    0) echo ok ;;
    124 | 137) echo "stopped: the time was up" ;;
    125) echo "not started: no time was left" ;;
    *) echo "status $1" ;;
    esac
}

# The parts ----------------------------------------------------------------------------------------------------------

date=$(date -u +%Y-%m-%d)
echo "libhmmrt's GPU suite: $(cat "$here/BUILD")"

# 1. The probe: even where nothing else works, it may say why.
if [ "$backend" = cuda ]; then
    start=$(elapsed)
    limited 30 0 "$out/probe.txt" "$here/bin/gpu_probe"
    status=$?
    [ $status -eq 0 ] || failed=1
    probe_json="{\"name\": \"gpu_probe\", \"status\": $status, \"seconds\": $(($(elapsed) - start))}"
    add "probe" "$(said $status)" $(($(elapsed) - start))
fi

limited 30 0 "$out/logs/card.txt" "$here/bin/hmmrt-gpu-bench" --card
status=$?
if [ $status -ne 0 ]; then
    echo "no GPU that can be used: $(cat "$out/logs/card.txt")" >&2
    [ $status -eq 77 ] || exit 1
    exit 77
fi
card=$(tail -n 1 "$out/logs/card.txt" | tr -cd 'a-z0-9-')
results=$out/results-${card:-unknown}-$date.json
write_results

# 2. The tests: those that take long, or may hang, come last.
long=" fork model races resources signals "
names=$(for program in "$here"/tests/*; do basename "$program"; done)
ordered=
for name in $names; do case $long in *" $name "*) ;; *) ordered="$ordered $name" ;; esac done
for name in $names; do case $long in *" $name "*) ordered="$ordered $name" ;; esac done
for name in $ordered; do
    program=$here/tests/$name
    if [ -n "${HMMRT_SUITE_TESTS:-}" ]; then
        case " $HMMRT_SUITE_TESTS " in *" $name "*) ;; *) continue ;; esac
    fi
    start=$(elapsed)
    limited $each $((for_tours + for_bench)) "$out/logs/test-$name.txt" "$program"
    status=$?
    seconds=$(($(elapsed) - start))
    passed=$(count "$log" passed)
    fails=$(count "$log" failed)
    [ $status -eq 0 ] || failed=1
    result="$passed passed, $fails failed"
    [ $status -eq 0 ] || result="$result, $(said $status)"
    entry="{\"name\": \"$name\", \"status\": $status, \"passed\": $passed, \"failed\": $fails, \"seconds\": $seconds}"
    tests_json="$tests_json${tests_json:+, }$entry"
    add "test $name" "$result" $seconds
    write_results
done

# 3. The tours, over a file that nothing else knows.
input=$out/tour-input
trap 'rm -f "$input"' EXIT
trap 'exit 1' HUP INT TERM
head -c $((megabytes << 20)) /dev/urandom >"$input"
for language in rust c; do
    start=$(elapsed)
    limited $each $for_bench "$out/logs/tour-$language.txt" "$here/bin/tour-$language" "$input"
    status=$?
    seconds=$(($(elapsed) - start))
    [ $status -eq 0 ] || failed=1
    tours_json="$tours_json${tours_json:+, }{\"name\": \"tour-$language\", \"status\": $status, \"seconds\": $seconds}"
    add "tour-$language" "$(said $status), over $megabytes MiB" $seconds
    write_results
done
rm -f "$input"

# 4. The benchmark, which puts what it finds into the results file after each group of rows.
complete=true
write_results
start=$(elapsed)
bench_left=$((all - start - 5))
set -- --json "$results" --limit $((bench_left > 5 ? bench_left - 5 : 1))
if $quick; then set -- --quick "$@"; fi
limited $((bench_left > 0 ? bench_left : 1)) 0 "$out/logs/bench.txt" "$here/bin/hmmrt-gpu-bench" "$@"
status=$?
[ $status -eq 0 ] || failed=1
add "benchmark" "$(said $status)" $(($(elapsed) - start))

echo
echo "$table"
echo
if ! "$here/bin/hmmrt-gpu-bench" --show "$results"; then
    tail -n 20 "$out/logs/bench.txt"
fi
echo
echo "results: $results"
echo "logs:    $out/logs"
echo "$(elapsed) s in all"
exit $failed
