# what: CPython's tests of file and stream objects
# needs: python3
# packages: python3 libpython3.11-testsuite
# seconds: 720
prepare() { "$(python)" -c 'import test.test_io' || skip "python3 has no tests (apt install libpython3.11-testsuite)"; }
work() { under "$(python)" "$here/python_tests.py" test.test_io; }
