"""Faults: what is wrong with a model's folder, in one line that names the file and says what to do.

transformers reports such faults in many lines or by the exceptions of other libraries. A folder is looked at only once
loading it has failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "*.tiktoken", "*.model")
_AGAIN = "copy or download it again"


class Misfit(ValueError):
    """Weights of other shapes than the configuration says. shapes: {name: (in the file, by the configuration)}."""

    def __init__(self, path: str, shapes: dict[str, tuple[list[int], list[int]]]) -> None:
        self.shapes = shapes
        name, (stored, expected) = min(shapes.items())
        super().__init__(
            f"models: {path}: weight {name} has shape {stored}, but {expected} by config.json; is this the config.json "
            "that was saved with these weights?"
        )


def fault_in(folder: Path) -> str | None:
    """What is wrong with the files of a model's folder; None if nothing is seen, or if there is no such folder."""
    if not folder.is_dir():
        return None
    if not (folder / "config.json").is_file():
        return f"models: {folder} has no config.json; expected a Hugging Face model folder"
    for file in sorted(folder.glob("*.json")):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            return f"models: {file} is damaged ({error}); {_AGAIN}"
    return _fault_in_weights(folder) or _fault_in_tokenizer(folder)


def _fault_in_weights(folder: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "np"):
                pass
        except (SafetensorError, OSError) as error:
            return f"models: {file} is damaged or cut off ({error}); {_AGAIN}"
    index = folder / "model.safetensors.index.json"
    named = json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values() if index.is_file() else ()
    lacking = sorted(name for name in set(named) if not (folder / name).is_file())
    return f"models: {folder} lacks {', '.join(lacking[:3])}, which its index names; {_AGAIN}" if lacking else None


def _fault_in_tokenizer(folder: Path) -> str | None:
    if any(any(folder.glob(name)) for name in _TOKENIZERS):
        return None
    return f"models: {folder} has no tokenizer (tokenizer.json); copy it from the model that this one was made from"


@contextmanager
def in_one_line(path: str) -> Iterator[None]:
    """Any error of loading from the folder or hub name `path`, as a ValueError or OSError of one line."""
    try:
        yield
    except Misfit:
        raise
    except Exception as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise kind(fault_in(Path(path)) or f"models: {path}: {said}") from error
