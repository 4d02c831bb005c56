# what: CPython's tests of arrays, bytes and buffers
# needs: python3
# packages: python3 libpython3.11-testsuite
# seconds: 720
# overhead
# quick
prepare() { "$(python)" -c 'import test.test_array' || skip "python3 has no tests (apt install libpython3.11-testsuite)"; }
work() { under "$(python)" "$here/python_tests.py" test.test_array test.test_bytes test.test_memoryview; }
