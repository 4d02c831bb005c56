# what: CPython's tests of faulthandler and signals: real segfaults, with and without alternate stacks
# needs: python3
# packages: python3 libpython3.11-testsuite
# seconds: 720
prepare() { "$(python)" -c 'import test.test_faulthandler' || skip "python3 has no tests (apt install libpython3.11-testsuite)"; }
work() { under "$(python)" "$here/python_tests.py" test.test_faulthandler test.test_signal test.test_threadsignals; }
