"""Profiles: every number that a run of the study may vary, typed and frozen, in one file per profile.

A profile is `asprm/profiles/<name>.yml`, or any YAML file of your own. It may say `extends: tiny` and name only the
fields that differ. An unknown key is an error that names the nearest known one. No other module holds defaults for
these numbers.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import Field, model_validator

from asprm.engines.load import Kind
from asprm.run.names import Training
from asprm.run.sections import (
    BestOfN,
    Claims,
    Generalize,
    Names,
    Policy,
    PolicySource,
    Prm,
    Problems,
    ProfileError,
    RewardModel,
    Rivals,
    Rollout,
    Sample,
    Section,
    Split,
    Threshold,
    Tokens,
    Truth,
    Tvd,
    nearest,
    validated,
)

PACKAGED = Path(__file__).parent.parent / "profiles"
_NAME = re.compile(r"(?!.*-log$)[A-Za-z0-9][A-Za-z0-9_.+-]*")  # of a reward model: a part of its artifacts' names
_BY_NAME = {"policies", "reward_models", "cast"}  # sections whose entries are the reader's to name

# The sections that each stage reads: what the workflow watches, so that a changed number reruns what depends on it.
READS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "policy": ("policies", "models", "problems", "data", "policy", "sample"),
        "sample": ("engine", "policies", "models", "problems", "data", "sample"),
        "threshold": ("threshold",),
        "split": ("policies", "models", "split", "reward_models"),
        "rollout": ("engine", "policies", "models", "problems", "data", "sample", "split", "reward_models", "rollout"),
        "prm": ("policies", "models", "problems", "data", "reward_models", "prm"),
        "best_of_n": ("policies", "models", "problems", "data", "sample", "split", "reward_models", "best_of_n"),
        "tvd": ("engine", "policies", "models", "problems", "data", "sample", "reward_models", "tvd", "claims"),
        "generalize": ("policies", "problems", "data", "threshold", "reward_models", "best_of_n", "tvd", "generalize"),
        "tokens": ("policies", "models", "tokens"),
        "truth": (
            "policies",
            "problems",
            "sample",
            "split",
            "reward_models",
            "rollout",
            "best_of_n",
            "tvd",
            "truth",
            "claims",
        ),
        "claims": ("policies", "problems", "sample", "reward_models", "best_of_n", "tvd", "generalize", "claims"),
        "rivals": (
            "engine",
            "policies",
            "models",
            "problems",
            "data",
            "sample",
            "rollout",
            "reward_models",
            "prm",
            "best_of_n",
            "tvd",
            "claims",
            "rivals",
        ),
    }
)


class Profile(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """the file's name; runs are kept in data/runs/<name>"""
    description: str
    """one line, shown on the pages of the run"""
    seed: int
    """of everything random in the run"""
    workers: Annotated[int, Field(ge=0)]
    """processes of a heavy stage; 0 takes every core"""
    engine: Kind = "auto"
    """what decodes: local (transformers), vllm, or auto: vllm where it is installed and a GPU is there, else local"""
    chunk: Annotated[int, Field(gt=0)]
    """problems that are computed, and kept, together; few where a model is large and the machine small"""
    policies: dict[str, PolicySource]
    """the policies by name: M, L, D"""
    models: dict[str, str] = Field(default={})
    """a folder or GGUF file by hub name, which is read in the hub's place; $ASPRM_MODELS goes first"""
    problems: Problems
    """how many problems of which family or published set"""
    data: dict[str, str] = Field(default={})
    """a file or folder by published set, whose rows are read in place of the hub's; $ASPRM_DATA goes first"""
    policy: Policy
    """stage 01: shape and training of the small policy"""
    sample: Sample
    """stage 02: sampling"""
    threshold: Threshold
    """stage 03: from confidences to the threshold"""
    split: Split
    """stage 04: from solutions to steps"""
    rollout: Rollout
    """stage 05: labels"""
    reward_models: dict[str, RewardModel]
    """the reward models by name, and what each learns from"""
    prm: Prm
    """stage 06: training the reward models"""
    best_of_n: BestOfN
    """stage 07: choosing among candidates"""
    tvd: Tvd
    """stage 08: token-level value-guided decoding"""
    generalize: Generalize
    """stage 09: other data, other positions, other domains, other thresholds"""
    tokens: Tokens
    """stage 10: token types of decision points"""
    truth: Truth
    """stage 11: against the truth of synthetic problems"""
    claims: Claims
    """stage 12: the ledger of the paper's claims"""
    rivals: Rivals
    """stage 13: what came after the paper, on the same solutions"""
    cast: dict[str, str] = Field(default={})
    """by one of the paper's policies or reward models: the one of this profile that plays its part where they are
    compared; of the same name where it is not given"""

    def recipe(self, name: str) -> Policy:
        """How the policy `name` is trained: the section `policy` with the fields that differ for it.

        ProfileError: a wrong value.
        """
        values = self.policy.model_dump() | self.policies[name].recipe
        return validated(Policy, values, where=f"profile {self.name}: policies.{name}.recipe")

    def training(self, name: str) -> Prm:
        """How the reward model `name` is trained: the section `prm` with the fields that differ on its policy.

        ProfileError: a published reward model, or a wrong value.
        """
        base = self.base_of(name)
        values = self.prm.model_dump() | self.policies[base].reward_recipe
        return validated(Prm, values, where=f"profile {self.name}: policies.{base}.reward_recipe")

    def base_of(self, name: str) -> str:
        """The policy whose weights the reward model `name` starts from. ProfileError: it is published."""
        base = self.reward_models[name].base
        if base is None:
            raise ProfileError(f"profile {self.name}: reward model '{name}' is published; it starts from no policy")
        return base

    def methods(self, policy: str) -> list[str]:
        """How the policy's solutions are split and labelled: the study's own method, then those that reward models
        need.
        """
        needed = [table for model in self.reward_models.values() for table in model.tables]
        return list(dict.fromkeys([self.split.method, *(str(x.method) for x in needed if x.policy == policy)]))

    def trained_on(self, policy: str) -> list[str]:
        """The reward models that can be trained once this policy's labels are there: of the policies whose labels they
        learn from, it is the last one.
        """

        def last(model: RewardModel) -> str:
            writers = {table.policy for table in model.tables}
            return [name for name in self.policies if name in writers][-1]

        return [name for name, model in self.reward_models.items() if model.data and last(model) == policy]

    def seeds_of(self, name: str) -> dict[str, int]:
        """The seed of each training of a reward model, by the training's name: "ASPRM-M", "ASPRM-M@1", …"""
        first = self.prm.seed
        return {str(Training(name, k)): first + k for k in range(self.reward_models[name].seeds)}

    def trainings(self, prm: str, policy: str) -> list[str]:
        """The trainings of a reward model that rate the policy's candidates: all of them where it starts from that
        policy, elsewhere the first. One that is a further training itself ("ASPRM-M@1") rates alone.
        """
        if Training.parse(prm).number:
            return [prm]
        every = list(self.seeds_of(prm))
        return every if self.reward_models[prm].base == policy else every[:1]

    def prm_of(self, policy: str) -> str:
        """The reward model that the policy's chapters look at more closely: the one that the policy names, or the first
        of those that guide it, best one that starts from it. ProfileError: no reward model has to do with it.
        """
        if named := self.policies[policy].reward_model:
            return named
        guides = self.tvd.guide[policy]
        for name in (
            *(name for name in guides or self.reward_models if self.reward_models[name].base == policy),
            *guides,
        ):
            return name
        raise ProfileError(
            f"profile {self.name}: no reward model starts from policy '{policy}'; name the one that its chapters show: "
            f"policies.{policy}.reward_model"
        )

    def plays(self, name: str) -> str:
        """The policy or reward model of this profile that plays the part of the paper's one of this name."""
        return self.cast.get(name, name)

    def of_role(self, *roles: str) -> list[str]:
        """The names of the reward models that the study has for one of these purposes, in their order."""
        return [name for name, model in self.reward_models.items() if model.role in roles]

    @model_validator(mode="after")
    def _fits_together(self) -> "Profile":
        """ValueError: a malformed name, one that a field mentions and that does not exist, or a missing entry."""
        for policy in self.policies:
            if not re.fullmatch("[A-Za-z0-9_]+", policy):
                raise ValueError(f"policies: '{policy}': expected a name of letters, digits and '_'")
        for name in self.reward_models:
            if not _NAME.fullmatch(name):
                raise ValueError(f"reward_models: '{name}': expected a name of letters, digits, '_', '.', '+' and '-'")
        for where, kind, name, known in self._mentions():
            if name not in known:
                raise ValueError(f"{where}: unknown {kind} '{name}': {nearest(name, known)}")
        for policy in self.policies:
            for where, by_policy in self._asked():
                if policy not in by_policy:
                    raise ValueError(f"{where}: says nothing of policy '{policy}'; expected its reward models, or []")
            shown, guides = self.policies[policy].reward_model, self.tvd.guide[policy]
            if shown is not None and guides and shown not in guides:
                raise ValueError(
                    f"policies.{policy}.reward_model = '{shown}': expected one of those that guide the policy "
                    f"(tvd.guide.{policy}): {', '.join(guides)}"
                )
        return self

    def _asked(self) -> list[tuple[str, dict[str, Names]]]:
        return [("best_of_n.score", self.best_of_n.score), ("tvd.guide", self.tvd.guide)]

    def _mentions(self) -> Iterator[tuple[str, str, str, Iterable[str]]]:
        """Each name that a field mentions: the field, the kind of the name, the name, the known ones."""
        for name, model in self.reward_models.items():
            if model.base is not None:
                yield f"reward_models.{name}.base", "policy", model.base, self.policies
            try:
                writers = [table.policy for table in model.tables]
            except ValueError as error:
                raise ValueError(f"reward_models.{name}.data: {error}") from None
            for writer in writers:
                yield f"reward_models.{name}.data", "policy", writer, self.policies
        for where, by_policy in self._asked():
            for policy, reward_models in by_policy.items():
                yield where, "policy", policy, self.policies
                for name in reward_models:
                    yield where, "reward model", name, self.reward_models
        for part, name in self.cast.items():
            yield f"cast.{part}", "policy or reward model", name, {*self.policies, *self.reward_models}
        for policy, source in self.policies.items():
            if source.reward_model is not None:
                yield f"policies.{policy}.reward_model", "reward model", source.reward_model, self.reward_models

    def section(self, stage: str) -> Section:
        """The settings of a stage."""
        return getattr(self, stage)

    def reads(self, stage: str) -> dict[str, Any]:
        """The seed and the sections that `stage` depends on, as plain values: what the workflow watches."""
        return {"seed": self.seed} | self.model_dump(mode="json", include=set(READS[stage]))


def packaged_profiles() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.yml"))


def load_profile(name: str) -> Profile:
    """The profile of that name, or of the YAML file at that path. ProfileError: none such, or a wrong value in it."""
    file = _profile_file(name)
    values = _read(file)
    profile = validated(Profile, values, where=f"profile {file}")
    if profile.name != file.stem:
        raise ProfileError(f"profile {file}: name = {profile.name!r}: expected {file.stem!r}, the file's own name")
    if file.parent != PACKAGED and profile.name in packaged_profiles():
        raise ProfileError(
            f"profile {file}: the name '{profile.name}' belongs to a packaged profile\n"
            "  give your file another name, so that its runs do not overwrite the study's"
        )
    return profile


def parse(text: str) -> Any:
    """The value of YAML text. yaml.YAMLError: it does not parse."""
    return yaml.load(text, _loader())


def _profile_file(name: str) -> Path:
    if name in packaged_profiles():
        return PACKAGED / f"{name}.yml"
    if name.endswith((".yml", ".yaml")):
        if Path(name).is_file():
            return Path(name)
        raise ProfileError(f"no profile at {name}: the file does not exist")
    raise ProfileError(
        f"unknown profile '{name}': {nearest(name, packaged_profiles())}\n  or give the path of a .yml file of your own"
    )


def _read(file: Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's values over those of the profile that it extends, section by section.

    A policy, a reward model or a part of the cast that the file sets to null is left out.
    """
    file = file.resolve()
    if file in children:
        raise ProfileError(f"profile {file}: extends itself")
    try:
        values = parse(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"profile {file}: not valid YAML\n  {error}") from None
    if not isinstance(values, dict):
        raise ProfileError(f"profile {file}: expected a mapping of sections, got {type(values).__name__}")
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ProfileError(f"profile {file}: extends: expected a profile's name, got {base!r}")
    merged = _read(_profile_file(base), (*children, file))
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merged[key] | value if both else value
    for key in _BY_NAME & merged.keys():
        if isinstance(merged[key], dict):
            merged[key] = {name: value for name, value in merged[key].items() if value is not None}
    return merged


@cache
def _loader() -> type[yaml.SafeLoader]:
    """A YAML loader that refuses a key that stands twice in one mapping, and reads 1e-3 as a number: YAML 1.1 takes it
    for text, since it has no point.
    """

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    problem = f"the key '{key.value}' stands here for the second time; one value would be lost"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    return Loader
