"""The record that every stage reads: a problem and its truth."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Problem:
    """A problem and its truth. `solution` (a true worked one, where known) is for analysis, never for training."""

    id: str
    domain: str  # "math" or "code"
    prompt: str
    answer: str | None = None
    solution: str | None = None
    template: str = ""  # the skeleton it was made from: the cluster of a bootstrap


Domain = Literal["math", "code"]


@dataclass(frozen=True)
class CodeProblem(Problem):
    """A problem whose answer is a program, and the test that decides.

    imports: source that precedes both the program and the test (imports, `ListNode`, helpers).
    test: source that defines `check(candidate)`, which raises AssertionError where the program is wrong.
    entry_point: expression for the candidate in the program's namespace, e.g. `Solution().twoSum`. Empty for a program
    that reads stdin and writes stdout: `check` is then given a function from the one text to the other.
    cases: JSON texts, each a list, that the test finds decoded and joined in `CASES`; a text may be packed as in
    LiveCodeBench, where thousands of problems unpacked would fill the memory.
    cpu_seconds: what the program may use for the whole test.
    synthetic: made by this package, not downloaded; its programs may run without bubblewrap.
    """

    entry_point: str = ""
    imports: str = ""
    test: str = ""
    cases: tuple[str, ...] = ()
    cpu_seconds: int = 3
    synthetic: bool = False

    def unpacked_cases(self) -> list:
        """The cases of all texts, joined. ValueError: a text holds something else than a list of cases."""
        return [case for text in self.cases for case in unpack(text)]


_LARGEST = 1 << 30  # characters of one problem's cases


def unpack(text: str) -> list:
    """A list from JSON, or from JSON in a pickled string, compressed and in base64. Nothing of the pickle is executed.

    ValueError: it is neither.
    """
    if not text.lstrip().startswith("["):
        try:
            packed = zlib.decompressobj()
            data = packed.decompress(base64.b64decode(text, validate=True), _LARGEST)
            text = _StringOnly(io.BytesIO(data)).load()
        except Exception as error:  # a damaged pickle may raise nearly anything
            raise ValueError(f"neither JSON nor a packed string ({type(error).__name__}: {error})") from None
    if not isinstance(text, str):
        raise ValueError(f"the pickle holds a {type(text).__name__}, not a string")
    cases = json.loads(text)
    if not isinstance(cases, list):
        raise ValueError(f"a JSON {type(cases).__name__}, not a list")
    return cases


class _StringOnly(pickle.Unpickler):
    """Plain data only: whatever names a class, a function or an outside object is refused before it is looked up."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError("it asks for an outside object")
