"""CPython's tests of multiprocessing by fork. A module of this name is there from 3.12 on, and not always before."""

from test import _test_multiprocessing

_test_multiprocessing.install_tests_in_module_dict(globals(), "fork")

# A worker that is quick enough to take one of its tasks sleeps for five minutes, with or without the library; in later
# releases of CPython for a second.
WithThreadsTestPool.test_terminate = None  # noqa: F821
