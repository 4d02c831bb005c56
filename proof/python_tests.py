"""Runs modules of CPython's own tests and prints each test's outcome, sorted: no times, nothing else that changes."""

import os
import sys
import unittest

# For this process only: tests look at what the programs that they start write to standard error.
os.environ.pop("HMMRT_STATS", None)

from test import support  # noqa: E402
from test.support import os_helper  # noqa: E402

# As regrtest does by default: nothing that is slow, large or on the network.
support.use_resources = []
support.verbose = 0


class Outcomes(unittest.TestResult):
    """Each test's last word."""

    def __init__(self):
        super().__init__()
        self.all = {}

    def put(self, test, outcome):
        self.all[test.id()] = outcome

    def addSuccess(self, test):
        self.put(test, "ok")

    def addSkip(self, test, reason):
        self.put(test, "skipped")

    def addExpectedFailure(self, test, err):
        self.put(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        self.put(test, "unexpected success")

    def addFailure(self, test, err):
        self.say(test, err, "FAILED")

    def addError(self, test, err):
        self.say(test, err, "ERROR")

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.say(test, err, "FAILED")

    def say(self, test, err, outcome):
        self.put(test, outcome)
        print(f"{test.id()}: {outcome}\n{self._exc_info_to_string(err, test)}", file=sys.stderr)


def main():
    outcomes = Outcomes()
    with os_helper.temp_cwd():
        unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:]).run(outcomes)
    for name, outcome in sorted(outcomes.all.items()):
        print(f"{name}: {outcome}")
    bad = sum(outcome in ("FAILED", "ERROR") for outcome in outcomes.all.values())
    print(f"{len(outcomes.all)} tests, {bad} not passed")
    sys.exit(0 if outcomes.all and bad == 0 else 1)


if __name__ == "__main__":
    main()
