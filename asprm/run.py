"""Runs: where artifacts live, how they are written so that nothing is lost, and where each of them came from.

An artifact is a Parquet table, a JSON file or a folder (a model) under `data/runs/<profile>/<stage>/`. Each is written
to a temporary path beside its place, synced and renamed, and has a manifest: profile, parameters, seed, commit,
versions, device, seconds, memory, and digests of itself and of what it was made from. Equal tables give equal digests.

A notebook opens its run by `run = open_run(profile, stage="threshold", parameters=locals())`. A parameter that is None
means the profile's value. With any other value than the profile's the run is an experiment: it writes to
`data/runs/<profile>~<scratch>/` and reads what is not there from `data/runs/<profile>/`. Naming `scratch` in a later
stage carries the experiment on.
"""

import ast
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from asprm import REPOSITORY
from asprm.artifacts import (
    ROWS_PER_GROUP,
    atomic,
    digest,
    known_digest,
    manifest_path,
    size,
    stem,
    to_json,
    write_parquet,
)
from asprm.profile import READS, Profile, ProfileError, load_profile, nearest, validated
from asprm.provenance import Kept, device, made_with, peak_memory

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML


class MissingArtifact(FileNotFoundError):
    """An upstream stage has not written what this one reads."""


class BrokenArtifact(ValueError):
    """An artifact that is truncated, lacks a column, or is not what its manifest says."""


def study_root() -> Path:
    """The folder that holds `data/`: $ASPRM_HOME, else the nearest folder upwards with asprm's pyproject.toml."""
    if home := os.environ.get("ASPRM_HOME"):
        return Path(home).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        project = folder / "pyproject.toml"
        if project.is_file() and 'name = "asprm"' in project.read_text():
            return folder
    raise FileNotFoundError(
        f"no study in {here} or above it: expected a folder with the pyproject.toml of asprm\n"
        "  work inside a clone of the project, or set ASPRM_HOME to the folder that is to hold data/runs"
    )


def open_run(profile: str, stage: str, parameters: Mapping[str, Any] | None = None, *, quiet: bool = False) -> "Run":
    """The run of one stage. Prints what it will do unless `quiet`.

    profile: a name or the path of a YAML file. parameters: a notebook's locals() or a plain mapping. Known names are
    profile, policy, method, prm (which tables are read and written), scratch, seed, workers and the fields of the
    stage's section of the profile; ProfileError otherwise, and for a value of the wrong type.
    """
    if stage not in READS:
        raise ProfileError(f"unknown stage '{stage}': {nearest(stage, READS)}")
    base = load_profile(profile)
    given = {name: value for name, value in _notebook_parameters(parameters or {}).items() if value is not None}
    section: Any = getattr(base, stage)
    names = {"profile", "policy", "method", "prm", "scratch", "seed", "workers", *type(section).model_fields}
    for name in given.keys() - names:
        raise ProfileError(f"{stage}: unknown parameter '{name}': {nearest(name, names)}")
    for name in given.keys() & {"policy", "prm", "scratch"}:
        if not isinstance(given[name], str):
            raise ProfileError(f"{stage}: {name} = {given[name]!r}: expected a name")
    policy = given.get("policy", next(iter(base.policies)))
    if policy not in base.policies:
        raise ProfileError(f"{stage}: unknown policy '{policy}': {nearest(policy, base.policies)}")
    if "prm" in given and given["prm"].partition("@")[0] not in base.reward_models:
        raise ProfileError(
            f"{stage}: unknown reward model '{given['prm']}': {nearest(given['prm'], base.reward_models)}"
        )
    if stage == "prm" and "prm" in given and base.reward_models[given["prm"].partition("@")[0]].published:
        raise ProfileError(f"prm: '{given['prm']}' is published, so that it is not trained here; name another one")
    if "prm" in given and given["prm"] not in base.seeds_of(name := given["prm"].partition("@")[0]):
        raise ProfileError(f"{stage}: no training '{given['prm']}': {nearest(given['prm'], base.seeds_of(name))}")

    changed = base.model_dump()
    changed[stage] |= {name: given[name] for name in given.keys() & type(section).model_fields}
    # A field of the section comes first: `seed` in the prm notebook is the seed of that training.
    changed |= {name: given[name] for name in given.keys() & {"seed", "workers"} - set(type(section).model_fields)}
    # The method is part of a table's path, so another one mixes with nothing and is no experiment.
    changed["split"] |= {"method": given.get("method", base.split.method)}
    effective = validated(Profile, changed, where=stage)
    run = Run(
        root=study_root(),
        stage=stage,
        profile=effective,
        source=profile,
        overrides=_differences(base, effective, stage),
        policy=policy,
        prm=given.get("prm", f"ASPRM-{policy}"),
        scratch=given.get("scratch"),
    )
    if "prm" in given and not run.experiment:
        _check_used(run)
    if not quiet:
        print(run.summary())
    return run


def _check_used(run: "Run") -> None:
    """ProfileError: the study does not use the reward model `run.prm` in this stage, with this policy."""
    p, name = run.profile, run.prm.partition("@")[0]
    used = {
        "prm": p.trained_on(run.policy),
        "best_of_n": p.best_of_n.score.get(run.policy, ()),
        "tvd": p.tvd.guide.get(run.policy, ()),
    }.get(run.stage)
    if used is not None and name not in used:
        raise ProfileError(
            f"{run.stage}: the profile does not use '{name}' here, with policy {run.policy}, but {', '.join(used)}\n"
            '  name one of these or another policy, or make it an experiment:  scratch = "mine"'
        )


@dataclass(frozen=True)
class Run:
    """One stage of one profile: its settings, and the only way to its artifacts.

    Names are paths below the run's folder; tables and JSON files go by their name without suffix.
    """

    root: Path
    stage: str
    profile: Profile  # overrides applied
    source: str  # the profile as the reader named it
    overrides: dict[str, Any]  # fields whose value differs from the profile's
    policy: str
    prm: str
    scratch: str | None = None  # names an experiment
    started: float = field(default_factory=time.monotonic)
    inputs: dict[str, str] = field(default_factory=dict)  # name -> digest of everything read so far
    outputs: dict[str, str] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)

    @property
    def settings(self) -> Any:
        """This stage's section of the profile."""
        return getattr(self.profile, self.stage)

    @property
    def seed(self) -> int:
        return self.profile.seed

    @property
    def domain(self) -> str:
        """What this run's policy solves: "math" or "code"."""
        return self.profile.policies[self.policy].domain

    @property
    def method(self) -> str:
        """The splitting method whose tables this run reads and writes."""
        return self.profile.split.method

    @property
    def workers(self) -> int:
        """Processes that a heavy stage may start: the profile's; or one where a GPU computes, of which each would want
        all; or one for each core that this job may use.
        """
        import torch

        if self.profile.workers:
            return self.profile.workers
        if torch.cuda.is_available():
            return 1
        # Snakemake tells a job its share of the cores by this variable.
        given = os.environ.get("OMP_NUM_THREADS", "")
        return (int(given) if given.isdecimal() else None) or os.cpu_count() or 1

    @property
    def base(self) -> Path:
        return self.root / "data" / "runs" / self.profile.name

    @property
    def folder(self) -> Path:
        """Where this run writes: the profile's folder, or an experiment's beside it."""
        experiment = self.scratch or ("scratch" if self.overrides else None)
        return self.base.with_name(f"{self.base.name}~{experiment}") if experiment else self.base

    @property
    def experiment(self) -> bool:
        """Whether this is a student's trial beside the study, which concerns one reward model only."""
        return self.folder != self.base

    def summary(self) -> str:
        """What this run does, in two or three lines."""
        values = ", ".join(f"{name} = {value}" for name, value in self.settings.model_dump().items())
        lines = [
            f"{self.stage}: profile {self.profile.name}, policy {self.policy}, seed {self.seed}",
            f"  {values}",
            f"  reads {self._sources()}, writes {self._shown(self.folder / self.stage)}",
        ]
        if self.folder != self.base:
            changed = ", ".join(f"{name} = {value}" for name, value in self.overrides.items()) or "nothing changed here"
            lines.append(f"  an experiment ({changed}): it does not touch the study's own run")
            scratch = self.folder.name.partition("~")[2]
            lines.append(f'  later chapters go on from it if they are told so: scratch = "{scratch}"')
        return "\n".join(lines)

    def _sources(self) -> str:
        """Where inputs come from: an experiment's own stages first."""
        base, folder = self._shown(self.base), self.folder
        if not self.experiment or not folder.is_dir():
            return base
        own = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name in READS)
        return f"{', '.join(own)} of {self._shown(folder)}, what is not there of {base}" if own else base

    # Reading

    def find(self, name: str) -> Path:
        """Path of an existing artifact, `name` with its suffix: this run's own, else the base run's.

        MissingArtifact: neither has it. The artifact's digest is noted as an input of all that this run writes.
        """
        for folder in dict.fromkeys((self.folder, self.base)):
            path = folder / name
            if path.exists():
                self.inputs[name] = known_digest(path)
                return path
        stage, _, rest = name.partition("/")
        if stage in ("split", "rollout") and self.method not in load_profile(self.source).methods(self.policy):
            raise MissingArtifact(
                f"{self.stage}: no {stage} '{stem(rest)}' in {self._shown(self.base / name)}\n"
                f"  no reward model asks for method '{self.method}'; the notebook of `{stage}` makes it, "
                f'with policy = "{self.policy}", method = "{self.method}"'
            )
        target = self._shown(self.base / name if Path(name).suffix else manifest_path(self.base / name))
        default = self.source == "tiny"
        raise MissingArtifact(
            f"{self.stage}: no {stage} '{stem(rest)}' in {self._shown(self.base / name)}\n"
            f"  this stage reads what `{stage}` writes; make it with:  {'' if default else f'PROFILE={self.source} '}"
            f"make study   or   snakemake --cores 2{'' if default else f' --config profile={self.source}'} -- {target}"
        )

    @contextmanager
    def noting(self) -> Iterator[dict[str, str]]:
        """The inputs that are read in the block, with their digests, whatever was read before: known at its end."""
        before, noted = dict(self.inputs), {}
        self.inputs.clear()
        try:
            yield noted
        finally:
            noted.update(self.inputs)
            self.inputs.clear()
            self.inputs.update(before | noted)

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The table `name`, all columns or those asked for. BrokenArtifact: truncated, or a column is not there."""
        path = self.find(f"{name}.parquet")
        with self._reading(path, columns) as file:
            return file.read(columns)

    def scan(self, name: str, columns: list[str] | None = None, rows: int = ROWS_PER_GROUP) -> Iterator[pa.RecordBatch]:
        """The table `name` as record batches of at most `rows` rows, for tables larger than memory."""
        path = self.find(f"{name}.parquet")
        with self._reading(path, columns) as file:
            yield from file.iter_batches(rows, columns=columns)

    def read_json(self, name: str) -> Any:
        """The content of the JSON file `name`. BrokenArtifact: it does not parse."""
        path = self.find(f"{name}.json")
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise self._broken(path, f"it is not valid JSON ({error})") from None

    def policy_path(self, name: str | None = None) -> str:
        """The policy's Hugging Face folder (a retrained one of this run first) or its hub name."""
        name = name or self.policy
        if self.profile.policy.retrain or (self.folder / "policy" / name).exists():
            return str(self.find(f"policy/{name}"))
        return self._weights(name, self.profile.policies[name].path)

    def reward_base(self, name: str) -> str:
        """The weights that reward models on the policy `name` start from: as `policy_path`, and mostly the same."""
        source = self.profile.policies[name].reward_base
        return self._weights(name, source) if source else self.policy_path(name)

    def reward_model(self, artifact: str) -> tuple[str, str | None]:
        """What `asprm.published.load_reward_model` takes: folder or hub name of a training, and its convention."""
        model = self.profile.reward_models[artifact.partition("@")[0]]
        if model.published:
            return self._weights(artifact, model.published), model.convention
        return str(self.find(f"prm/{artifact}")), None

    def _weights(self, name: str, source: str) -> str:
        for root in (self.root, REPOSITORY, Path.cwd()):
            if (root / source).is_dir():
                self.inputs[source] = digest(root / source)
                return str(root / source)
        if source.startswith(("data/", ".", "/")):
            raise MissingArtifact(
                f"{self.stage}: no weights of '{name}' in {source}\n"
                "  those of policies come with the project; restore them with:  git checkout -- data/policies"
            )
        from asprm.models import located, pinned

        source = pinned(source)
        hub_name, commit = located(source)
        self.inputs[hub_name] = commit
        return source

    # Writing

    def path(self, name: str) -> Path:
        """Where this run writes the artifact `name` (with its suffix). ValueError: not below this stage's folder."""
        if not name.startswith(f"{self.stage}/"):
            raise ValueError(
                f"{self.stage}: '{name}' is not below '{self.stage}/': a stage writes only its own artifacts"
            )
        return self.folder / name

    def work(self, name: str) -> Path:
        """Folder for chunks and checkpoints of the artifact `name`: they outlive failures, and chunks also success."""
        folder = self.folder / ".work" / self.path(name).relative_to(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, name: str, table: "pa.Table | pd.DataFrame | Iterable[pa.Table]", **facts: Any) -> Path:
        """Write the table `name`; a stream of tables of one schema is written as it comes. Returns the path.

        facts: what else its manifest is to say, such as tokens=123. DiskFull: the earlier table still stands.
        """
        with self._artifact(f"{name}.parquet", facts) as temporary:
            facts["rows"] = write_parquet(temporary, table)
        return self.path(f"{name}.parquet")

    def write_json(self, name: str, values: Any, **facts: Any) -> Path:
        """Write `values` as the JSON file `name`. Returns the path. ValueError: a number that is not finite."""
        with self._artifact(f"{name}.json", facts) as temporary:
            temporary.write_text(to_json(values))
        return self.path(f"{name}.json")

    @contextmanager
    def write_folder(self, name: str, **facts: Any) -> Iterator[Path]:
        """A temporary folder to save a model into; it takes its place as `name` when the block ends well."""
        with self._artifact(name, facts) as temporary:
            temporary.mkdir()
            yield temporary

    def provenance(self) -> "HTML":
        """Where the numbers of this page came from, as a small table: a notebook's last cell."""
        import pandas as pd
        from IPython.display import HTML

        facts = self._facts()
        rows = {
            "profile": f"{self.profile.name}: {self.profile.description}",
            "parameters": ", ".join(f"{k} = {v}" for k, v in self.overrides.items()) or "the profile's own",
            "seed": self.seed,
            "commit": f"{facts['commit'] or 'unknown'}{', with uncommitted changes' if facts['dirty'] else ''}",
            "versions": ", ".join(f"{k} {v}" for k, v in facts["versions"].items()),
            "device": facts["device"],
            "seconds": facts["seconds"],
            "taken over": f"{self.kept.chunks} chunks that the same code had made in {self.kept.seconds:.1f} seconds",
            "peak memory (MB)": ", ".join(f"{k} {v}" for k, v in facts["peak_memory_mb"].items()),
        }
        if not self.kept.chunks:
            del rows["taken over"]
        with pd.option_context("display.max_colwidth", None):
            table = pd.DataFrame(rows.values(), index=list(rows)).to_html(header=False)
        table += _folded("read", self.inputs) + _folded("written", self.outputs)
        return HTML(table)

    @contextmanager
    def _artifact(self, name: str, facts: dict[str, Any]) -> Iterator[Path]:
        path = self.path(name)
        # The manifest is put in place last: one that is older than its artifact is not believed.
        with atomic(manifest_path(path)) as told, atomic(path) as temporary:
            yield temporary
            value = digest(temporary)
            manifest = {"artifact": name, "digest": value, "bytes": size(temporary)} | self._facts() | {"facts": facts}
            told.write_text(to_json(manifest))
        self.outputs[name] = value

    def _facts(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "profile": self.profile.name,
            "policy": self.policy,
            "settings": self.profile.reads(self.stage),
            "overrides": self.overrides,
            "seed": self.seed,
            **made_with(),
            "device": device(),
            "seconds": round(time.monotonic() - self.started, 1),
            "kept": asdict(self.kept),
            "peak_memory_mb": peak_memory(),
            "inputs": dict(self.inputs),
        }

    @contextmanager
    def _reading(self, path: Path, columns: list[str] | None) -> Iterator[pq.ParquetFile]:
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                for column in set(columns or ()) - set(names):
                    raise self._broken(path, f"it has no column '{column}': {nearest(column, names)}")
                yield file
        except (pa.ArrowInvalid, OSError) as error:
            raise self._broken(path, f"it is truncated or damaged ({str(error).splitlines()[0]})") from None

    def _broken(self, path: Path, fault: str) -> BrokenArtifact:
        shown = self._shown(path)
        return BrokenArtifact(f"{self.stage}: cannot use {shown}: {fault}\n  delete it and make it anew:  rm {shown}")

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def _folded(what: str, digests: Mapping[str, str]) -> str:
    """Files with their digests, behind a line that counts them: a stage may read hundreds."""
    rows = "\n".join(f"{value[:12]}  {escape(name)}" for name, value in digests.items())
    count = f"{len(digests)} file{'' if len(digests) == 1 else 's'} {what}"
    # JupyterLab with MyST hides the triangle of what can be unfolded.
    summary = f'<summary style="list-style: revert; cursor: pointer">{count}</summary>'
    return f"<details>{summary}<pre>{rows}</pre></details>" if digests else ""


def _notebook_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in a notebook's locals(), or all of a plain mapping.

    IPython keeps the source of every executed cell in `In`. Parameters are what the last cell that sets `profile` to a
    literal assigns, and papermill's injected cell after it: names that later cells leave behind are none, so that the
    cells can be executed again in any order.
    """
    if "In" not in namespace or "get_ipython" not in namespace:
        skipped = (ModuleType, FunctionType, type)
        return {k: v for k, v in namespace.items() if not k.startswith("_") and not isinstance(v, skipped)}
    names: set[str] = set()
    for source in reversed(namespace["In"]):
        assigned = _literals(source)
        if "profile" in assigned or source.startswith("# Parameters"):
            names |= assigned
        if "profile" in assigned and not source.startswith("# Parameters"):
            break
    return {name: namespace[name] for name in sorted(names) if name in namespace}


def _literals(source: str) -> set[str]:
    """Names that a cell assigns, if it does nothing but assign literals."""
    try:
        statements = ast.parse(source).body
        targets = [s.targets if isinstance(s, ast.Assign) else [s.target] for s in statements]
        for statement in statements:
            ast.literal_eval(statement.value)
        return {target.id for group in targets for target in group}
    except (SyntaxError, ValueError, AttributeError, TypeError):
        return set()


def _differences(base: Profile, effective: Profile, stage: str) -> dict[str, Any]:
    old, new = (p.model_dump(include={"seed"}) | getattr(p, stage).model_dump() for p in (base, effective))
    if stage == "split":
        new["method"] = old["method"]
    return {name: value for name, value in new.items() if value != old[name]}
