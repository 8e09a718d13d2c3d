"""Notebook: execute one with parameters: `python -m asprm.workflow.notebook notebooks/03_threshold.ipynb OUT -p profile tiny`.

OUT appears only if every cell ran; a failed copy stands beside it as `<name>.failed.ipynb`. Parameters that the
notebook does not declare are refused. What differs between two equal runs (times, paths, random ids) is left out of the
copy, and so are progress lines, which go to standard error. The notebook runs in the repository's root, with this
interpreter.
"""

import argparse
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asprm import REPOSITORY
from asprm.run.profile import parse
from asprm.run.progress import EVERY, MARK, log
from asprm.run.sections import ProfileError, nearest
from asprm.workflow import forkserver
from asprm.workflow.forkserver import UNWANTED

# Python's collector looks at young objects every 700th one: a tenth of the time where pandas makes many.
_START = f"import gc, sys; sys.modules.setdefault({UNWANTED!r}, None); gc.set_threshold(100_000, 50, 50)"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


class NotebookError(RuntimeError):
    """A notebook that is not there, or that stopped with an error."""


def execute(notebook: Path, out: Path, parameters: Mapping[str, Any], *, cwd: Path = REPOSITORY) -> None:
    """Execute `notebook` with `parameters` and leave the executed copy at `out`.

    ProfileError: a parameter that the notebook does not declare. NotebookError: a cell failed; `out` is as it was.
    """
    # First, since papermill is slow to import and loud about what it does.
    os.environ |= {"ASPRM_BATCH": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # progress is a log line here; a page needs no widget
    sys.modules.setdefault(UNWANTED, None)
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    if not notebook.is_file():
        raise NotebookError(f"no notebook at {notebook}")
    _refuse_unknown(notebook, parameters)
    _check_kernel()
    out.parent.mkdir(parents=True, exist_ok=True)
    name = out.stem
    temporary = out.with_name(f".{out.stem}.{os.getpid()}.tmp.ipynb")
    failed = out.with_name(f"{out.stem}.failed.ipynb")
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
            request_save_on_cell_execute=False,  # it is saved at its end, well or not
            log_output=True,
            stderr_file=_MarkedLines(),
            # ipykernel warns of TCP and of being shut down
            extra_arguments=["--log-level=CRITICAL", f"--IPKernelApp.exec_lines={[_START]}"],
        )
        executed = nbformat.read(temporary, as_version=4)
        nbformat.write(normalised(executed), temporary)
        os.replace(temporary, out)
    except (papermill.PapermillExecutionError, DeadKernelError) as error:
        if temporary.exists():
            os.replace(temporary, failed)
        what = _plain(str(error)) if isinstance(error, papermill.PapermillExecutionError) else "its kernel died"
        raise NotebookError(f"{what.strip()}\n{name} failed; the copy with the error is {failed}") from None
    finally:
        temporary.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    log(f"{name}: done, {time.monotonic() - start:.0f} s")


def normalised(notebook: Any) -> Any:
    """The executed notebook without what changes from run to run; the injected cell is tagged to stay off the page."""
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
            cell.outputs = [output for output in map(_without_marked_lines, cell.outputs) if output]
    return notebook


def _refuse_unknown(notebook: Path, parameters: Mapping[str, Any]) -> None:
    import papermill

    declared = papermill.inspect_notebook(notebook)
    for parameter in parameters:
        if parameter not in declared:
            raise ProfileError(f"{notebook.stem}: unknown parameter '{parameter}': {nearest(parameter, declared)}")


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
    """jupyter_client's, whose kernels are forks of the server where there is one."""
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            command = super().format_kernel_cmd(extra_arguments)
            if forkserver.known() and "-m" in command:
                command.insert(command.index("-m") + 1, forkserver.__name__)
            return command

    return Manager


def _listen(name: str) -> None:
    """Let papermill's log say nothing but which cells take long."""
    logger = logging.getLogger("papermill")
    logger.handlers, logger.propagate = [_LongCells(name)], False
    logger.setLevel(logging.INFO)


class _LongCells(logging.Handler):
    def __init__(self, name: str):
        super().__init__()
        self.name, self.start = name, 0.0

    def emit(self, record: logging.LogRecord) -> None:
        found = re.match(r"(Executing|Ending) Cell (\d+)", record.getMessage())
        if found and found[1] == "Executing":
            self.start = record.created
        elif found and record.created - self.start >= EVERY:
            log(f"{self.name}: cell {found[2]} took {record.created - self.start:.0f} s")


class _MarkedLines:
    """A kernel's standard error: progress lines are passed on, the rest stays in the notebook."""

    def write(self, text: str) -> None:
        for line in text.splitlines():
            if line.startswith(MARK):
                log(line.removeprefix(MARK))

    def flush(self) -> None:
        pass


def _without_marked_lines(output: Any) -> Any:
    if output.output_type != "stream" or output.name != "stderr":
        return output
    output.text = "".join(line for line in output.text.splitlines(keepends=True) if not line.startswith(MARK))
    return output if output.text else None


def _plain(text: str) -> str:
    """Text without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 well, 1 a cell failed, 2 wrong parameters."""
    parser = argparse.ArgumentParser(
        prog="python -m asprm.workflow.notebook", description="Execute a notebook with parameters."
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path, help="where the executed copy goes, if every cell ran")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    given = parser.parse_args(arguments)
    try:
        execute(given.notebook, given.out, {name: parse(value) for name, value in given.parameter})
    except (NotebookError, ProfileError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, NotebookError) else 2
    return 0


def _stop(number: int, _: Any) -> None:
    """End in order, once: the kernel, too, and no half-written copy is left."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
