"""Prepare: a model's folder that says itself how problems are put to it, and where its solutions end.

The folder links the files of the model's own and has another chat template (`asprm.models.prompts.Form`) and stop texts
(`stop_strings` of its generation config). All that reads the folder, transformers too, then does the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from asprm.models.load import load_tokenizer, located
from asprm.models.prompts import Form
from asprm.run.root import study_root

_TEMPLATE, _GENERATION = "chat_template.jinja", "generation_config.json"
_NEEDED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")  # of a hub repository


def fingerprint(form: Form, stop: Sequence[str]) -> str:
    """A digest of how problems are put to a model and where its solutions end; "" if the model's own files say it."""
    if form == Form() and not stop:
        return ""
    return hashlib.sha256(json.dumps([asdict(form), list(stop)]).encode()).hexdigest()[:16]


def prepared(path: str | Path, form: Form, stop: Sequence[str] = ()) -> str:
    """The folder of a model with this form and these stop texts, below the study's `data/models/prepared`.

    path: as everywhere (`asprm.models.load`). A name on the hub is downloaded. Without form and stop it stays as it is.
    ValueError: a form that does not fit the model's tokenizer.
    """
    if not (mark := fingerprint(form, stop)):
        return str(path)
    source = _folder(path)
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(source.iterdir())]
    known = hashlib.sha256(json.dumps([str(source), mark, states]).encode()).hexdigest()[:16]
    folder = study_root() / "data" / "models" / "prepared" / f"{source.name}-{known}"
    if not (folder.is_dir() and all(file.exists() for file in folder.iterdir())):  # links may have lost their files
        shutil.rmtree(folder, ignore_errors=True)
        _write(folder, source, path, form, stop)
    return str(folder)


def _folder(path: str | Path) -> Path:
    name, commit = located(path)
    if Path(name).is_dir():
        return Path(name).resolve()
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=commit, allow_patterns=list(_NEEDED)))


def _write(folder: Path, source: Path, path: str | Path, form: Form, stop: Sequence[str]) -> None:
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        for file in source.iterdir():
            if file.is_file() and file.name not in (_TEMPLATE, _GENERATION):
                (partial / file.name).symlink_to(file.resolve())
        template = form.chat_template(load_tokenizer(path))
        if template is not None:
            (partial / _TEMPLATE).write_text(template, encoding="utf-8", newline="")
        generation = source / _GENERATION
        values = json.loads(generation.read_text(encoding="utf-8")) if generation.is_file() else {}
        (partial / _GENERATION).write_text(json.dumps(values | ({"stop_strings": list(stop)} if stop else {})))
        if not folder.is_dir():  # another process may have been faster
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
