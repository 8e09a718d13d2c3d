"""Problem: the record that every stage reads."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zlib
from dataclasses import dataclass
from typing import Literal

Domain = Literal["math", "code"]


@dataclass(frozen=True)
class Problem:
    """A problem and its truth.

    answer: the true answer; None for programs, which a test decides.
    solution: a true worked solution, where one is known: for analysis, never for training.
    template: the skeleton or template that the problem was made from. A bootstrap may resample templates.
    """

    id: str
    domain: Domain
    prompt: str
    answer: str | None = None
    solution: str | None = None
    template: str = ""


@dataclass(frozen=True)
class CodeProblem(Problem):
    """A problem whose answer is a program, with the test that decides whether a program is right.

    entry_point: expression for the candidate in the program's namespace, such as `Solution().twoSum`. Empty for a
        program that reads stdin and writes stdout: `check` then gets a function from the input to the output.
    imports: source that runs before the program and before the test (imports, `ListNode`, helpers).
    test: source that defines `check(candidate)`, which raises AssertionError where the program is wrong.
    cases: JSON texts, each a list. The test finds all of them, decoded and joined, in `CASES`. A text may be packed as
        in LiveCodeBench, whose problems would fill the memory unpacked.
    cpu_seconds: processor time that the program may use for the whole test.
    synthetic: made by this package, not downloaded: its programs may run without bubblewrap.
    """

    entry_point: str = ""
    imports: str = ""
    test: str = ""
    cases: tuple[str, ...] = ()
    cpu_seconds: int = 3
    synthetic: bool = False

    def unpacked_cases(self) -> list:
        """The cases of all texts, joined. ValueError: a text does not hold a list."""
        return [case for text in self.cases for case in unpack(text)]


_LARGEST = 1 << 30  # bytes that one packed text may unpack to


def unpack(text: str) -> list:
    """The list in a JSON text, or in a packed one: JSON in a pickled string, compressed, in base64.

    Nothing in the pickle is executed. ValueError: the text is neither, or does not hold a list.
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
        raise ValueError(f"JSON of type {type(cases).__name__}, not a list")
    return cases


class _StringOnly(pickle.Unpickler):
    """Reads plain data only: it refuses every class, function and outside object before it is looked up."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError("it asks for an outside object")
