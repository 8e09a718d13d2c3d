"""Notebook: execute a notebook with parameters.

    python -m asprm.workflow.notebook notebooks/03_threshold.ipynb OUT.ipynb -p profile tiny

OUT appears only if every cell ran; otherwise the failed copy stands beside it as `<name>.failed.ipynb`. A parameter
that the notebook's cell tagged `parameters` does not assign is refused. The copy does not contain what differs between
two equal runs (times, paths, random ids), nor progress lines, which go to standard error. The notebook runs in the
repository's root, with this interpreter.
"""

import argparse
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from asprm import REPOSITORY
from asprm.run.artifacts import DiskFull
from asprm.run.chunks import ChunkError
from asprm.run.parameters import assigned_names
from asprm.run.profile import READS, parse
from asprm.run.progress import EVERY, MARK, log
from asprm.run.sections import ProfileError, nearest
from asprm.run.store import BrokenArtifact, MissingArtifact
from asprm.workflow import forkserver

if TYPE_CHECKING:
    from papermill import PapermillExecutionError

# Python's garbage collector runs after 700 new objects by default, which takes a tenth of pandas' time.
_START = f"import gc, sys; sys.modules.setdefault({forkserver.UNWANTED!r}, None); gc.set_threshold(100_000, 50, 50)"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}

# Errors whose message says what to do, so that no traceback is needed: papermill keeps only the name of the class.
_OWN_ERRORS = {error.__name__ for error in (ProfileError, MissingArtifact, BrokenArtifact, ChunkError, DiskFull)}
_OWN_MESSAGE = re.compile(rf"({'|'.join(READS)}): ")  # how the message of a stage begins


class NotebookError(RuntimeError):
    """A notebook that does not exist, or that stopped with an error."""


def execute(notebook: Path, out: Path, parameters: Mapping[str, Any], *, cwd: Path = REPOSITORY) -> None:
    """Execute `notebook` with `parameters` and leave the executed copy at `out`.

    ProfileError: a parameter that the notebook does not declare. NotebookError: there is no such notebook, or a cell
    failed; then `out` is not changed.
    """
    # Before papermill is imported, which is slow and prints warnings.
    os.environ |= {"ASPRM_BATCH": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # progress is a log line here; a page needs no widget
    forkserver.leave_out_unwanted()
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    failed = out.with_name(f"{out.stem}.failed.ipynb")
    if out.is_dir() or any(_same(notebook, path) for path in (out, failed)):
        raise NotebookError(f"cannot write the executed copy to {out}: expected the path of another notebook")
    _check_parameters(notebook, parameters)
    _check_kernel()
    out.parent.mkdir(parents=True, exist_ok=True)
    name = out.stem
    temporary = out.with_name(f".{out.stem}.{os.getpid()}.tmp.ipynb")
    _listen(name)
    log(f"{name}: started")
    start = time.monotonic()
    try:
        papermill.execute_notebook(
            notebook,
            temporary,
            dict(parameters),
            kernel_name="python3",
            kernel_manager_class=_kernel_manager(),
            cwd=cwd.resolve(),
            progress_bar=False,
            request_save_on_cell_execute=False,  # the copy is saved once, at the end or when a cell fails
            log_output=True,
            stderr_file=_MarkedLines(),
            # ipykernel warns about TCP and about its own shutdown
            extra_arguments=["--log-level=CRITICAL", f"--IPKernelApp.exec_lines={[_START]}"],
        )
        executed = nbformat.read(temporary, as_version=4)
        nbformat.write(normalised(executed), temporary)
        os.replace(temporary, out)
    except (papermill.PapermillExecutionError, DeadKernelError) as error:
        if temporary.exists():
            os.replace(temporary, failed)
        reason = _reason(error) if isinstance(error, papermill.PapermillExecutionError) else "its kernel died"
        raise NotebookError(f"{reason}\n{name} failed; the copy with the error is {failed}") from None
    finally:
        temporary.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    log(f"{name}: done, {time.monotonic() - start:.0f} s")


def normalised(notebook: Any) -> Any:
    """The executed notebook without what differs from run to run. The injected cell is tagged: no page shows it."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.kernelspec = KERNELSPEC
    notebook.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags = ["injected-parameters", "remove-cell"]
            cell.id = f"injected-{number}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_without_marked_lines, _joined(cell.outputs)) if output]
    return notebook


def _same(first: Path, second: Path) -> bool:
    """Whether both are one file, by whatever names."""
    return first.exists() and second.exists() and first.samefile(second)


def _check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """NotebookError: no such notebook, or no notebook.

    ProfileError: its parameters cell does not assign one of `parameters`, or begins with a cell magic.
    """
    declared = _declared(notebook)
    for name in parameters:
        if name not in declared:
            known = nearest(name, declared) if declared else "it has no cell tagged 'parameters' that assigns any"
            raise ProfileError(f"{notebook.stem}: unknown parameter '{name}': {known}")


def _declared(notebook: Path) -> set[str]:
    """The names that the cell tagged `parameters` assigns."""
    for cell in _cells(notebook):
        if "parameters" not in cell["metadata"].get("tags", []):
            continue
        source = "".join(cell["source"])
        if source.lstrip().startswith("%%"):
            magic = source.split()[0]
            raise ProfileError(
                f"{notebook.stem}: its parameters cell begins with {magic}, which hides what the cell assigns: "
                "remove that line"
            )
        return assigned_names(source)
    return set()


def _cells(notebook: Path) -> list[dict[str, Any]]:
    """The notebook's cells. NotebookError: there is no such file, or it is no notebook."""
    if not notebook.is_file():
        raise NotebookError(f"no notebook at {notebook}: expected the path of an .ipynb file")
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        fit = [isinstance("".join(cell["source"]), str) and isinstance(cell["metadata"], dict) for cell in cells]
    except (ValueError, KeyError, TypeError):
        fit = [False]
    if not all(fit):
        raise NotebookError(f"{notebook} is no notebook: expected an .ipynb file of nbformat 4 (JSON)")
    return cells


def _check_kernel() -> None:
    from jupyter_client.kernelspec import KernelSpecManager

    command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    # Jupyter replaces a bare `python` by this interpreter; a full path may belong to another environment.
    if os.sep in command and not os.path.samefile(command, sys.executable):
        raise NotebookError(
            f"the kernel 'python3' starts {command}, not {sys.executable}\n"
            "  give this environment its own:  python -m ipykernel install --sys-prefix"
        )


def _kernel_manager() -> type:
    """jupyter_client's class of managers; it starts kernels as forks of the fork server where there is one."""
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            command = super().format_kernel_cmd(extra_arguments)
            if forkserver.known() and "-m" in command:
                command.insert(command.index("-m") + 1, forkserver.__name__)
            return command

    return Manager


def _listen(name: str) -> None:
    """Reduce papermill's log to the cells that take long."""
    logger = logging.getLogger("papermill")
    logger.handlers, logger.propagate = [_LongCells(name)], False
    logger.setLevel(logging.INFO)


class _LongCells(logging.Handler):
    def __init__(self, name: str):
        super().__init__()
        self.name, self.start = name, 0.0

    def emit(self, record: logging.LogRecord) -> None:
        event = re.match(r"(Executing|Ending) Cell (\d+)", record.getMessage())
        if event and event[1] == "Executing":
            self.start = record.created
        elif event and record.created - self.start >= EVERY:
            log(f"{self.name}: cell {event[2]} took {record.created - self.start:.0f} s")


class _MarkedLines:
    """Receives a kernel's standard error and passes on its progress lines; the rest stays in the notebook."""

    def write(self, text: str) -> None:
        for line in text.splitlines():
            if line.startswith(MARK):
                log(line.removeprefix(MARK))

    def flush(self) -> None:
        pass


def _joined(outputs: Sequence[Any]) -> list[Any]:
    """The outputs, with consecutive pieces of a stream in one: they may be cut anywhere in a line."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and last.output_type == output.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _without_marked_lines(output: Any) -> Any:
    if output.output_type != "stream" or output.name != "stderr":
        return output
    output.text = "".join(line for line in output.text.splitlines(keepends=True) if not line.startswith(MARK))
    return output if output.text.strip() else None


def _reason(error: "PapermillExecutionError") -> str:
    """Why a cell failed: the message alone where it is written for readers, else the traceback."""
    if error.ename in _OWN_ERRORS or (error.ename == "ValueError" and _OWN_MESSAGE.match(error.evalue)):
        return error.evalue.strip()
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()  # without the colours of a terminal


def value_of(text: str) -> Any:
    """The value of `-p NAME VALUE`: text as YAML reads it, if that is a parameter's value, else the text itself.

    So "0.04" is a number, "[0.5, 0.9]" a list and "null" None, but "2024-01-01" stays text and becomes no date, and so
    does a text that YAML reads as nothing, such as an empty one.
    """
    try:
        value = parse(text)
    except (yaml.YAMLError, ValueError):  # ValueError: a date that does not exist
        return text
    if value is None and text.strip() != "null":
        return text
    plain = (bool, int, float, str, type(None))
    items = value if isinstance(value, list) else [value]
    return value if all(isinstance(item, plain) for item in items) else text


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 if every cell ran, 1 if one failed, 2 for wrong parameters."""
    parser = argparse.ArgumentParser(
        prog="python -m asprm.workflow.notebook", description="Execute a notebook with parameters."
    )
    parser.add_argument("notebook", type=Path, help="the notebook to execute")
    parser.add_argument("out", type=Path, help="where the executed copy goes if every cell ran")
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a name that the cell tagged 'parameters' assigns, and its value in YAML; repeatable",
    )
    options = parser.parse_args(arguments)
    names = [name for name, _ in options.parameter]
    for name in names:
        if names.count(name) > 1:
            print(f"-p {name}: given {names.count(name)} times, expected once", file=sys.stderr)
            return 2
    try:
        execute(options.notebook, options.out, {name: value_of(text) for name, text in options.parameter})
    except (NotebookError, ProfileError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, NotebookError) else 2
    return 0


def _stop(number: int, _: Any) -> None:
    """On SIGTERM: exit in order, so that the kernel ends too and no half-written copy is left."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
