"""The loop that runs the tests: what its exit code and its last lines say."""

import contextlib
import io
import sys

import harness
from harness import Failure, Skipped, equal, main


def passes():
    pass


def fails():
    raise Failure("as it should")


def lacks():
    raise Skipped("nothing is here")


def ran(*tests, only=""):
    """The exit code of a program with these tests, and what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = harness.run([(test.__name__, test) for test in tests], only, False)
    return code, printed.getvalue().splitlines()


def test_what_was_skipped_is_no_pass():
    said = ["SKIPPED lacks: nothing is here", "0 passed, 0 failed, 1 skipped"]
    equal(ran(lacks), (77, said), "where nothing ran")
    equal(ran(passes, lacks, only="lacks"), (77, said), "where nothing of what was wanted ran")
    said[-1] = "1 passed, 0 failed, 1 skipped"
    equal(ran(lacks, passes), (0, said), "beside a pass")


def test_a_failure_outweighs_what_was_skipped_and_what_passed():
    code, (failure, *rest) = ran(fails, lacks, passes)
    equal(code, 1, "the exit code")
    equal(failure.partition(" (")[0], "fails", "what is told first")
    equal(rest, ["SKIPPED lacks: nothing is here", "1 passed, 1 failed, 1 skipped"], "the last lines")


def test_a_name_that_selects_nothing_is_a_failure():
    equal(ran(passes, lacks, only="neither"), (1, ["0 passed, 0 failed"]), "what it says")


if __name__ == "__main__":
    sys.exit(main(globals()))
