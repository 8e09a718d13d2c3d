"""Problems whose solutions are programs."""

from dataclasses import dataclass

from asprm.problems import Problem


@dataclass(frozen=True)
class CodeProblem(Problem):
    """A problem whose answer is a program, and the test that decides.

    imports: source that precedes both the program and the test (imports, `ListNode`, helpers).
    test: source that defines `check(candidate)`, which raises AssertionError where the program is wrong.
    entry_point: expression for the candidate in the program's namespace, e.g. `Solution().twoSum`. Empty for a program
    that reads stdin and writes stdout: `check` is then given a function from the one text to the other.
    synthetic: made by this package, not downloaded; its programs may run without bubblewrap.
    """

    entry_point: str = ""
    imports: str = ""
    test: str = ""
    synthetic: bool = False
