# what: CPython's tests of threads
# needs: python3
# packages: python3 libpython3.11-testsuite
# seconds: 720
# quick
prepare() { "$(python)" -c 'import test.test_threading' || skip "python3 has no tests (apt install libpython3.11-testsuite)"; }
work() { under "$(python)" "$here/python_tests.py" $(sized test.test_threading "$few"); }
few="test.test_threading.ThreadTests test.test_threading.ThreadJoinOnShutdown test.test_threading.ConditionTests"
