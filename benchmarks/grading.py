"""Grading: 1,819 solutions of real problems and 350 real programs, each against its budget and the usual ways.

    python benchmarks/grading.py ../shared/data

The authors' ways are a regular expression for GSM8K's answers, which reads whole numbers only, and `exec` of all
programs in one process, one after the other with a limit of 3 s. Here programs run two at a time on two cores, each in
a sandbox of its own. The authors' loop is run inside one sandbox, under limits, because these are a model's programs:
its time is what the loop takes, without that sandbox's start.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common import REPEATS, publish, row, seconds

from asprm.grading.code import grade_programs
from asprm.grading.fences import extract_code
from asprm.grading.math import compare_answers, grade_math
from asprm.grading.sandbox import Limits, command_line, require_sandbox, sandbox_mode
from asprm.problems.hub import load
from asprm.site.verification import by_math_verify, by_regular_expression

ONE_BY_ONE = """
import json, os, resource, signal, sys, time

programs, limits = json.load(sys.stdin)
for name, value in limits.items():
    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)

class Late(BaseException):
    pass

def late(*_):
    raise Late

signal.signal(signal.SIGALRM, late)
sys.path.append("/packages")
passed, start = 0, time.perf_counter()
for program in programs:
    try:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        exec(program, {"print": lambda *_, **__: None})
        passed += 1
    except BaseException:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps([passed, time.perf_counter() - start]), file=sys.__stdout__)
""".replace("SECONDS", str(Limits.cpu_seconds))


def main(data: Path) -> list:
    gsm8k = [(problem.solution, problem.answer) for problem in load("gsm8k", "test", data / "gsm8k")]
    math500 = [(problem.solution, problem.answer) for problem in load("math500", "test", data / "math500")]
    programs = real_programs(data / "leetcode")
    ours: dict[str, list[float]] = {"gsm8k": [], "math500": [], "programs": []}
    theirs: dict[str, list[float]] = {"gsm8k": [], "math500": [], "programs": [], "regex": []}
    for _ in range(REPEATS):
        for name, pairs in (("gsm8k", gsm8k), ("math500", math500)):
            ours[name].append(graded(pairs, lambda text, gold: grade_math(text, gold).correct))
            theirs[name].append(graded(pairs, by_math_verify))
        theirs["regex"].append(graded(gsm8k, by_regular_expression))
        taken, verdicts = seconds(lambda: list(grade_programs(programs)))
        passed, alone = one_by_one(programs)
        ours["programs"].append(taken)
        theirs["programs"].append(alone)
        ran = sum(verdict.passed for verdict in verdicts)
        print({name: round(times[-1], 3) for name, times in ours.items()}, "s, the usual ways", end=" ")
        print({name: round(times[-1], 3) for name, times in theirs.items()}, f"s; {ran} and {passed} programs pass")

    def ratios(name: str, usual: str | None = None) -> list[float]:
        return [other / own for other, own in zip(theirs[usual or name], ours[name], strict=True)]

    def budget(limit: float, name: str) -> list[float]:
        return [limit / own for own in ours[name]]

    return publish(
        [
            row("grading 1,319 GSM8K solutions", "20 s", budget(20, "gsm8k"), "≥ 1"),
            row("grading 1,319 GSM8K solutions", "math-verify alone", ratios("gsm8k"), "≥ 1"),
            row("grading 1,319 GSM8K solutions", "a regular expression", ratios("gsm8k", "regex"), "—"),
            row("grading 500 MATH500 solutions", "math-verify alone", ratios("math500"), "≥ 1"),
            row("running 350 programs in sandboxes", "60 s", budget(60, "programs"), "≥ 1"),
            row("running 350 programs in sandboxes", "exec in one process", ratios("programs"), "—"),
        ]
    )


def graded(pairs: list[tuple[str, str]], grade: Callable[[str, str], bool]) -> float:
    """Seconds for all pairs, with nothing remembered from before."""
    compare_answers.cache_clear()
    taken, _ = seconds(lambda: [grade(*pair) for pair in pairs])
    return taken


def real_programs(folder: Path) -> list[tuple]:
    """(completion, problem) of the two models."""
    file = folder / "1745_leetcode_problems_test.jsonl"
    numbers = [json.loads(line)["meta"]["question_id"] for line in file.open()]
    problems = dict(zip(numbers, load("leetcode", "test", file), strict=True))
    rows = [
        json.loads(line)
        for model in ("dpo_test", "sft_new_test")
        for line in (folder / f"{model}.generations.jsonl").open()
    ]
    return [(row["completion"], problems[row["task_id"]]) for row in rows]


def one_by_one(programs: list[tuple]) -> tuple[int, float]:
    """How many programs pass in one process, and the seconds for all. CalledProcessError: they ended that process."""
    texts = []
    for completion, problem in programs:
        code = extract_code(completion, problem.entry_point) or ""
        texts.append("\n".join([problem.imports, code, problem.test, f"check({problem.entry_point})"]))
    most = Limits()
    longest = 2 * most.cpu_seconds * len(texts)
    limits = {"AS": most.memory, "NPROC": most.processes, "FSIZE": most.file, "CORE": 0, "CPU": longest}
    command = [*command_line(sandbox_mode(), most.tmp), "-c", ONE_BY_ONE]
    options = {"capture_output": True, "text": True, "check": True, "timeout": 2 * longest + 60}
    environment = {"PATH": os.defpath, "HOME": "/tmp", "LANG": "C.UTF-8"}
    done = subprocess.run(command, input=json.dumps([texts, limits]), env=environment, **options)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    if folder.is_dir():
        require_sandbox()
        main(folder)
    else:
        print(
            f"skipped: no {folder}; say  python benchmarks/grading.py FOLDER, which holds gsm8k, math500 and leetcode"
        )
