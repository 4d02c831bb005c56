# what: numpy's own tests of array methods, buffers, mapped files, saved files and text files
# needs: python3
# packages: python3-venv, and numpy 2.2.6, pytest 8.4.2 and hypothesis 6.148.2 from PyPI
# seconds: 360
# quick
prepare() { venv numpy==2.2.6 pytest==8.4.2 hypothesis==6.148.2; }
work() {
    # Those that are about memory, out of 14,000.
    local which="TestMethods or TestResize or TestIO or TestFromBuffer or TestNewBufferProtocol or TestTake or TestPutmask \
        or TestMemmap or Savez or SaveLoad or LoadTxt or FromTxt"
    local status=0
    OPENBLAS_NUM_THREADS=1 under "$INPUT/venv/bin/python" -m pytest -q -rA -p no:cacheprovider --tb=short \
        --pyargs numpy._core.tests.test_multiarray numpy._core.tests.test_memmap numpy.lib.tests.test_io \
        -k "($which) and not slow and not large" >log || status=$?
    # Outcomes only: times differ.
    grep -E '^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)' log | sed 's/ - .*//' | sort || true
    [ $status = 0 ] || tail -30 log >&2
    return $status
}
