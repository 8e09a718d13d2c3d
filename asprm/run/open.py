"""Open a run: one stage of one profile, with the parameters that a notebook sets.

A notebook opens its run by `run = open_run(profile, stage="threshold", parameters=locals())`. A parameter that is None
means the profile's value. With any other value than the profile's the run is an experiment: it writes to
`data/runs/<profile>~<scratch>/` and reads what is not there from `data/runs/<profile>/`. Naming `scratch` in a later
stage carries the experiment on.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asprm import REPOSITORY
from asprm.engines import vllm
from asprm.engines.load import engine_kind
from asprm.models.device import reduced
from asprm.models.load import in_place_of, located, pinned
from asprm.models.prepare import fingerprint, prepared
from asprm.run import names
from asprm.run.artifacts import digest_once, digest_path, manifest_path, stem
from asprm.run.names import Training
from asprm.run.parameters import COMMON, given
from asprm.run.profile import READS, Profile, load_profile
from asprm.run.provenance import Kept, device, made_with, peak_memory, provenance_table
from asprm.run.root import study_root
from asprm.run.sections import ProfileError, Section, nearest, validated
from asprm.run.shipped import manifests_of, shipped_run, tables_of
from asprm.run.store import MissingArtifact, Store

if TYPE_CHECKING:
    from IPython.core.display import HTML

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Run(Store):
    """One stage of one profile: its settings, and the only way to its artifacts (`asprm.run.store`)."""

    profile: Profile  # overrides applied
    source: str  # the profile as the reader named it
    overrides: dict[str, Any]  # fields whose value differs from the profile's
    policy: str
    named_prm: str | None = None  # the training that the reader named
    started: float = field(default_factory=time.monotonic)
    kept: Kept = field(default_factory=Kept)

    @property
    def settings(self) -> Section:
        """This stage's section of the profile."""
        return self.profile.section(self.stage)

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
    def prm(self) -> str:
        """The training of a reward model that is looked at more closely, "ASPRM-M" or "ASPRM-M@1"."""
        return self.named_prm or self.profile.prm_of(self.policy)

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
        cores = os.environ.get("OMP_NUM_THREADS", "")
        return (int(cores) if cores.isdecimal() else None) or os.cpu_count() or 1

    def engine(self, guided: bool = False) -> Literal["local", "vllm"]:
        """What decodes in this run, here (`asprm.engines.load`). vLLM is noted as an input: its tokens are its own."""
        kind = engine_kind(self.profile.engine, guided=guided)
        if kind == "vllm":
            self.inputs["engine"] = f"vllm {vllm.version()}"
        return kind

    @property
    def decoders(self) -> int:
        """Processes that may decode: as `workers`, but one of vLLM, which uses the whole machine."""
        return 1 if engine_kind(self.profile.engine) == "vllm" else self.workers

    @property
    def experiment(self) -> bool:
        """Whether this is a student's trial beside the study, which concerns one reward model only."""
        return self.folder != self.base

    @property
    def shipped_tables(self) -> list[str]:
        """The names of this stage's tables, where they come with the project and no setting is changed; else none.

        A notebook reads them in place of running the stage.
        """
        return tables_of(self.shipped, self.stage, self.policy) if self.shipped and not self.experiment else []

    def manifest(self, name: str) -> dict[str, Any]:
        """What made the artifact `name`, which has its suffix. MissingArtifact: there is no such artifact."""
        if self.shipped and not self.has(name) and name in manifests_of(self.shipped):
            return manifests_of(self.shipped)[name]
        return json.loads(manifest_path(self.find(name)).read_text(encoding="utf-8"))

    # Models

    def policy_path(self, name: str | None = None) -> str:
        """The policy's Hugging Face folder (a retrained one of this run first) or its hub name."""
        name = name or self.policy
        folder = names.policy_weights(name)
        if self.profile.policy.retrain or (self.folder / folder).exists():
            return str(self.find(folder))
        return self._prepared(name, self.profile.policies[name].path)

    def running(self, path: str) -> str:
        """`path`, of a model that this stage runs: a number format that is not the usual one becomes one of its inputs,
        so that a machine with another one takes over no chunk of this one.
        """
        if number_format := reduced(path):
            self.inputs["number format of large models"] = number_format
        return path

    def reward_base(self, name: str) -> str:
        """The weights that reward models on the policy `name` start from: as `policy_path`, and mostly the same."""
        source = self.profile.policies[name].reward_base
        return self._prepared(name, source) if source else self.policy_path(name)

    def reward_model(self, training: str) -> tuple[str, str | None]:
        """Folder or hub name of a training of a reward model, and its convention: what `load_reward_model` takes."""
        model = self.profile.reward_models[Training.parse(training).reward_model]
        if model.published:
            return self._weights(training, model.published), model.convention
        return str(self.find(names.reward_model(training))), None

    def _prepared(self, name: str, source: str) -> str:
        """The weights of a policy, or of reward models on it, with the form in which problems are put to it."""
        policy = self.profile.policies[name]
        path = self._weights(name, source)
        if mark := fingerprint(policy.form, policy.stop):
            self.inputs[f"form of {name}"] = mark
        return prepared(path, policy.form, policy.stop)

    def _weights(self, name: str, source: str) -> str:
        given = in_place_of(source, self.profile.models, self.root)
        for root in (self.root, REPOSITORY, Path.cwd()):
            if (root / given).is_dir() or (given.endswith(".gguf") and (root / given).is_file()):
                self.inputs[source] = digest_once(root / given)
                return str(root / given)
        if given != source:
            raise MissingArtifact(
                f"{self.stage}: no folder or file {given}, which is to stand in the place of {source}"
            )
        if source.startswith(("data/", ".", "/")):
            raise MissingArtifact(
                f"{self.stage}: no weights of '{name}' in {source}\n"
                "  those of policies come with the project; restore them with:  git checkout -- data/policies"
            )
        source = pinned(source)
        hub_name, commit = located(source)
        self.inputs[hub_name] = commit or ""
        return source

    # Words

    def summary(self) -> str:
        """What this run does, in two or three lines."""
        values = ", ".join(f"{name} = {value}" for name, value in self.settings.model_dump().items())
        lines = [
            f"{self.stage}: profile {self.profile.name}, policy {self.policy}, seed {self.seed}",
            f"  {values}",
            f"  reads {self._sources()}, writes {self.shown(self.folder / self.stage)}",
        ]
        if self.experiment:
            changed = ", ".join(f"{name} = {value}" for name, value in self.overrides.items()) or "nothing changed here"
            lines.append(f"  an experiment ({changed}): it does not touch the study's own run")
            scratch = self.folder.name.partition("~")[2]
            lines.append(f'  later chapters go on from it if they are told so: scratch = "{scratch}"')
        return "\n".join(lines)

    def _sources(self) -> str:
        """Where inputs come from: an experiment's own stages first."""
        base, folder = self.shown(self.base), self.folder
        if self.shipped:
            base = f"{self.shown(self.shipped)} (it comes with the project; nothing was run here by make study)"
        if not self.experiment or not folder.is_dir():
            return base
        own = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name in READS)
        return f"{', '.join(own)} of {self.shown(folder)}, what is not there of {base}" if own else base

    def how_to_make(self, name: str) -> str:
        """The command that makes a missing artifact `name`, which has its suffix."""
        stage = name.partition("/")[0]
        if stage in ("split", "rollout") and self.method not in load_profile(self.source).methods(self.policy):
            return (
                f"no reward model asks for method '{self.method}'; the notebook of `{stage}` makes it, "
                f'with policy = "{self.policy}", method = "{self.method}"'
            )
        if self.shipped and stem(name) != name:
            return "it does not come with the project; make it, and all else, with:  make study"
        if self.shipped:
            [chapter] = (REPOSITORY / "notebooks").glob(f"??_{stage}.ipynb")
            return f"it does not come with the project; run notebooks/{chapter.name} first, or everything:  make study"
        path = self.base / name
        target = self.shown(path if path.name.endswith((".parquet", ".json")) else digest_path(path))  # of a folder
        profile, config = (f"PROFILE={self.source} ", f" --config profile={self.source}")
        if self.source == "tiny":
            profile = config = ""
        return (
            f"this stage reads what `{stage}` writes; make it with:  {profile}make study   or   "
            f"snakemake --cores 2{config} -- {target}"
        )

    # Provenance

    def facts(self) -> dict[str, Any]:
        """What every manifest says beside the artifact's own digest: what it was made with, and from."""
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

    def provenance(self) -> HTML:
        """Where the numbers of this page came from, as a small table: a notebook's last cell."""
        described = {"profile": f"{self.profile.name}: {self.profile.description}"}
        return provenance_table(self.facts() | described, self.inputs, self.outputs)


def open_run(profile: str, stage: str, parameters: Mapping[str, Any] | None = None, *, quiet: bool = False) -> Run:
    """The run of one stage. Prints what it will do unless `quiet`.

    profile: a name or the path of a YAML file. parameters: a notebook's locals() or a plain mapping. Known names are
    profile, policy, method, prm (which tables are read and written), scratch, seed, workers and the fields of the
    stage's section of the profile; ProfileError otherwise, and for a value of the wrong type.
    """
    if stage not in READS:
        raise ProfileError(f"unknown stage '{stage}': {nearest(stage, READS)}")
    base = load_profile(profile)
    fields = set(type(base.section(stage)).model_fields)
    values = given(parameters or {}, {*COMMON, *fields}, stage)
    _check_names(base, stage, values)

    changed = base.model_dump()
    changed[stage] |= {name: values[name] for name in values.keys() & fields}
    # A field of the section comes first: `seed` in the prm notebook is the seed of that training.
    changed |= {name: values[name] for name in values.keys() & {"seed", "workers"} - fields}
    changed["split"] |= {"method": values.get("method", base.split.method)}
    effective = validated(Profile, changed, where=stage)
    policy = values.get("policy", next(iter(base.policies)))
    overrides = _differences(base, effective, stage)
    if stage == "truth" and values.get("prm") not in (None, base.prm_of(policy)):  # no part of its tables' names
        overrides |= {"prm": values["prm"]}
    root, scratch = study_root(), values.get("scratch") or ("scratch" if overrides else None)
    own = root / "data" / "runs" / effective.name
    run = Run(
        root=root,
        stage=stage,
        base=own,
        folder=own.with_name(f"{own.name}~{scratch}") if scratch else own,
        profile=effective,
        source=profile,
        overrides=overrides,
        policy=policy,
        named_prm=values.get("prm"),
        shipped=shipped_run(own),
    )
    if "prm" in values and not run.experiment:
        _check_used(run)
    if not quiet:
        print(run.summary())
    return run


def _check_names(profile: Profile, stage: str, values: Mapping[str, Any]) -> None:
    """ProfileError: a policy, a reward model or a scratch folder that there is not or cannot be."""
    for name in ("policy", "prm", "scratch"):
        if not isinstance(values.get(name, ""), str):
            raise ProfileError(f"{stage}: {name} = {values[name]!r}: expected a name")
    if (scratch := values.get("scratch")) is not None and not _FOLDER.fullmatch(scratch):
        raise ProfileError(
            f"{stage}: scratch = {scratch!r}: expected a folder's name: letters, digits, '_', '-' and '.'"
        )
    if (policy := values.get("policy")) is not None and policy not in profile.policies:
        raise ProfileError(f"{stage}: unknown policy '{policy}': {nearest(policy, profile.policies)}")
    if (prm := values.get("prm")) is None:
        return
    reward_model = prm.partition("@")[0]
    if reward_model not in profile.reward_models:
        raise ProfileError(f"{stage}: unknown reward model '{prm}': {nearest(prm, profile.reward_models)}")
    if stage == "prm" and profile.reward_models[reward_model].published:
        raise ProfileError(f"prm: '{prm}' is published, so it is not trained here; name another one")
    if prm not in (trainings := profile.seeds_of(reward_model)):
        raise ProfileError(f"{stage}: no training '{prm}': {nearest(prm, trainings)}")


def _check_used(run: Run) -> None:
    """ProfileError: the study does not use the reward model `run.prm` in this stage, with this policy."""
    profile, name = run.profile, Training.parse(run.prm).reward_model
    used = {
        "prm": profile.trained_on(run.policy),
        "best_of_n": profile.best_of_n.score.get(run.policy, ()),
        "tvd": profile.tvd.guide.get(run.policy, ()),
    }.get(run.stage)
    if used is not None and name not in used:
        raise ProfileError(
            f"{run.stage}: the profile does not use '{name}' here, with policy {run.policy}, but {', '.join(used)}\n"
            '  name one of these or another policy, or make it an experiment:  scratch = "mine"'
        )


def _differences(base: Profile, effective: Profile, stage: str) -> dict[str, Any]:
    """What differs from the profile: the section's fields, the seed, and the method, which most names do not hold."""
    old, new = (
        p.model_dump(include={"seed"}) | {"method": p.split.method} | p.section(stage).model_dump()
        for p in (base, effective)
    )
    return {name: value for name, value in new.items() if value != old[name]}
