"""Profiles: every number that a run of the study may vary, typed, frozen and in one file per profile.

A profile is `asprm/profiles/<name>.yml` or any YAML file of the reader's own. It may say `extends: tiny` and then name
only the fields that differ. An unknown key is an error that names the nearest known one. No other module holds
defaults for these numbers.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from asprm.conventions import CONVENTIONS

PACKAGED = Path(__file__).parent / "profiles"
_BY_NAME = {"policies", "reward_models"}  # sections whose entries are the reader's to name

# The sections that each stage reads: what the workflow watches, so that a changed number reruns what depends on it.
READS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "policy": ("policies", "problems", "data", "policy", "sample"),
        "sample": ("policies", "problems", "data", "sample"),
        "threshold": ("threshold",),
        "split": ("policies", "split", "reward_models"),
        "rollout": ("policies", "problems", "data", "sample", "split", "reward_models", "rollout"),
        "prm": ("policies", "problems", "data", "reward_models", "prm"),
        "best_of_n": ("policies", "problems", "data", "sample", "split", "reward_models", "best_of_n"),
        "tvd": ("policies", "problems", "data", "sample", "reward_models", "tvd"),
        "generalize": ("policies", "problems", "data", "threshold", "reward_models", "best_of_n", "tvd", "generalize"),
        "tokens": ("policies", "tokens"),
        "truth": ("policies", "problems", "sample", "split", "reward_models", "rollout", "best_of_n", "tvd", "truth"),
        "claims": ("policies", "problems", "sample", "reward_models", "best_of_n", "tvd", "generalize", "claims"),
    }
)


class ProfileError(ValueError):
    """A profile or a parameter that is unknown, mistyped or out of range."""


def _as_tuple(value: Any) -> Any:
    """YAML and papermill write sequences as lists; a frozen profile keeps tuples."""
    return tuple(value) if isinstance(value, list) else value


Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]
Counts = Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Count = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Families = dict[str, Count]
Shares = dict[str, Annotated[float, Field(gt=0)]]


# Where steps end, and how they are labelled where that is not the profile's way: "line-entropy".
METHOD = r"^(adaptive(-0\.\d+)?|line|fixed|random|whole)(-(hard|soft|entropy))?$"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Problems(Section):
    train: Families
    """problems per family whose sampled solutions are split, labelled and learned from"""
    validation: Families
    """problems per family on which choices are made (TVD's trigger, early stopping)"""
    test: Families
    """problems per family on which results are reported"""
    test_from: Annotated[int, Field(ge=0)] = 0
    """number of a synthetic family's first test problem; another one means problems that no choice has seen"""


class PolicySource(Section):
    path: str
    """Hugging Face folder, relative to the study's root, or a hub name with its commit after @"""
    domain: Literal["math", "code"] = "math"
    """the problems that it solves"""
    recipe: dict[str, Any] = {}
    """fields of the section `policy` that differ for this one, for those made here"""
    reward_base: str | None = None
    """the weights that reward models on this policy start from, named as in `path`; null: the policy's own"""
    reward_recipe: dict[str, Any] = {}
    """fields of the section `prm` that differ for reward models on this policy"""


class Policy(Section):
    retrain: bool
    """train the policies anew instead of taking the shipped weights"""
    architecture: Literal["mistral", "llama"]
    """the transformers class: MistralForCausalLM or LlamaForCausalLM"""
    start: str | None
    """another policy whose layers this one begins with; null: random weights"""
    layers: Count
    """transformer blocks"""
    hidden: Count
    """width"""
    heads: Count
    """attention heads"""
    kv_heads: Count
    """key and value heads, shared by groups of attention heads"""
    intermediate: Count
    """width of the gated feed-forward layer"""
    care: Annotated[float, Field(ge=0, lt=1)]
    """share of the simulated students' misreadings that those whom this policy learns from avoid"""
    vocab: Count
    """size of the byte-level BPE vocabulary, special tokens included"""
    tokens: Count
    """tokens of simulated students' solutions to train on"""
    batch_tokens: Count
    """tokens per optimiser step"""
    learning_rate: Annotated[float, Field(gt=0)]
    """peak learning rate of AdamW"""
    warmup: Annotated[float, Field(ge=0, lt=1)]
    """share of the optimiser's steps over which the learning rate rises"""
    weight_decay: Annotated[float, Field(ge=0)]
    """of AdamW, on matrices only"""
    positions: Count
    """longest sequence that the model can read, in tokens"""
    mixture: Shares
    """problem families of the corpus and their shares"""
    checkpoint_steps: Count
    """optimiser steps between two checkpoints (and two log lines are a tenth of that apart)"""


class Sample(Section):
    solutions: Count
    """solutions sampled per training problem, before duplicates are merged"""
    candidates: Count
    """N, solutions sampled per test problem for Best-of-N"""
    temperature: Annotated[float, Field(ge=0)]
    """of the sampled solutions; confidences are always at temperature 1"""
    top_p: Annotated[float, Field(gt=0, le=1)]
    """nucleus; 1 keeps the whole vocabulary"""
    top_k: Annotated[int, Field(ge=0)]
    """0 keeps the whole vocabulary"""
    max_new_tokens: Count
    """a longer solution is cut and counts as unfinished"""


class Threshold(Section):
    share: Share
    """target share of tokens below the threshold (paper: 2 %)"""
    sweep: Numbers
    """further shares for which the threshold is reported"""


def _method(name: str) -> str:
    if not re.match(METHOD, name):
        raise ValueError("expected 'adaptive', 'line', 'fixed', 'random', 'whole', or one like 'adaptive-0.01'")
    return name


class Split(Section):
    method: Annotated[str, AfterValidator(_method)]
    """where steps end: `adaptive` (below the threshold; `adaptive-0.01`: below that of another share), `line` (at line
    breaks), `fixed` (every `length` tokens), `random` (in `count` random steps), `whole` (one step)"""
    length: Count
    """tokens per step of the method `fixed`"""
    count: Count
    """steps of the method `random`, which ends all but the last at random tokens"""


class Rollout(Section):
    solutions: Count
    """solutions per training problem whose steps are labelled"""
    rollouts: Count
    """J, continuations from each step end (paper: 8)"""
    entropy_rollouts: Count
    """J of labels whose method says `-entropy` (ER-PRM: 16)"""
    estimate: Literal["hard", "soft", "entropy"]
    """hard: one of J is right; soft: share of J; entropy: (1/eta) log mean exp(eta correct)"""
    eta: Annotated[float, Field(gt=0)]
    """sharpness of the estimate `entropy`"""
    temperature: Annotated[float, Field(gt=0)]
    """of the continuations"""


class RewardModel(Section):
    base: str | None = None
    """the policy whose weights it starts from"""
    data: Annotated[tuple[Annotated[str, Field(pattern=r"^\w+/")], ...], BeforeValidator(_as_tuple)] = ()
    """tables of labels to learn from, `<policy>/<method>`; texts of another policy are read by the base's tokenizer"""
    equal: bool = False
    """of each table take as many solutions as the smallest has"""
    seeds: Count = 1
    """trainings that differ in their seed only"""
    published: str | None = None
    """in place of all these: one that is not trained here, named as in a policy's `path`"""
    convention: str | None = None
    """how a published one is read; null: as is known of its hub name, or else as those trained here"""
    steps: Annotated[str, AfterValidator(_method)] | None = None
    """where a published one rates, as in `split.method`; null: at line breaks"""

    @property
    def rates(self) -> str:
        """The method by which steps end where it rates: that of its data, or of a published one what is said of it."""
        return self.data[0].partition("/")[2] if self.data else self.steps or "line"

    @model_validator(mode="after")
    def _is_trained_or_published(self) -> "RewardModel":
        if self.published:
            right = (self.base, self.data, self.equal, self.seeds) == (None, (), False, 1)
        else:
            right = bool(self.base and self.data) and self.convention is None and self.steps is None
        if not right:
            raise ValueError(
                "expected base, data (equal, seeds) of one that is trained here, or published (convention, steps)"
            )
        if self.convention is not None and self.convention not in CONVENTIONS:
            raise ValueError(f"unknown convention '{self.convention}': {nearest(self.convention, CONVENTIONS)}")
        return self


class Prm(Section):
    epochs: Count
    """passes over the labelled solutions"""
    learning_rate: Annotated[float, Field(gt=0)]
    """peak learning rate of AdamW"""
    batch_tokens: Count
    """tokens per optimiser step"""
    warmup: Annotated[float, Field(ge=0, lt=1)]
    """share of the optimiser's steps over which the learning rate rises"""
    weight_decay: Annotated[float, Field(ge=0)]
    """of AdamW"""
    seed: int
    """of the value head's first weights and the order of the data"""
    max_tokens: Count | None = None
    """longer solutions, their problem included, are left out; null: none"""
    gradient_checkpointing: bool = False
    """a third more work for far less memory: for models of billions of weights"""


class BestOfN(Section):
    n: Counts
    """the N for which accuracy is reported, none above `sample.candidates`"""
    aggregate: Literal["min", "mean", "last", "product", "max"]
    """how step scores become a candidate's score (paper: min)"""
    score: dict[str, Names]
    """by policy, the reward models that rate its candidates"""
    random: Count
    """ratings at random positions, each with a seed of its own, for those that are also rated elsewhere (Table 3)"""


class Tvd(Section):
    candidates: Count
    """M, tokens that the PRM rates at a decision point (paper: 8)"""
    triggers: Annotated[tuple[Probability, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    """top-1 probabilities below which the PRM steps in; the best on validation is used for the test"""
    guide: dict[str, Names]
    """by policy, the reward models that guide it; the first is shown at every trigger"""


class Generalize(Section):
    resamples: Count
    """of the bootstrap intervals"""


class Tokens(Section):
    tagger: Literal["auto", "spacy", "textblob"]
    """part-of-speech tagger; auto takes spaCy's model where it is installed"""


class Truth(Section):
    bins: Count
    """bins of equal width of the reliability curve"""


class Claims(Section):
    alpha: Share
    """a direction is told from chance where Holm's adjusted p is below it"""
    margin: Share
    """two accuracies count as equal where their difference, interval included, is smaller"""


class Profile(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """the file's name; runs are kept in data/runs/<name>"""
    description: str
    """one line, shown on the pages of the run"""
    seed: int
    """of everything random in the run"""
    workers: Annotated[int, Field(ge=0)]
    """processes of a heavy stage; 0 takes every core"""
    policies: dict[str, PolicySource]
    """the policies by name: M, L, D"""
    problems: Problems
    """how many problems of which family or published set"""
    data: dict[str, str] = {}
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
    """stage 12: against the truth of synthetic problems"""
    claims: Claims
    """stage 11: the ledger of the paper's claims"""

    def recipe(self, name: str) -> Policy:
        """How the policy `name` is made: the section `policy` with what differs for it. ProfileError: a wrong value."""
        values = self.policy.model_dump() | self.policies[name].recipe
        return validated(Policy, values, where=f"profile {self.name}: policies.{name}.recipe")

    def training(self, name: str) -> Prm:
        """How the reward model `name` is trained: the section `prm` with what differs on its policy. ProfileError: a
        wrong value.
        """
        base = self.reward_models[name].base
        values = self.prm.model_dump() | self.policies[base].reward_recipe
        return validated(Prm, values, where=f"profile {self.name}: policies.{base}.reward_recipe")

    def methods(self, policy: str) -> list[str]:
        """How the policy's solutions are split and labelled: the study's own method, then what reward models want."""
        wanted = [table for model in self.reward_models.values() for table in model.data]
        named = [method for owner, _, method in (table.partition("/") for table in wanted) if owner == policy]
        return list(dict.fromkeys([self.split.method, *named]))

    def trained_on(self, policy: str) -> list[str]:
        """Names of the reward models that can be trained once this policy's labels are there: of the policies whose
        labels they learn from, it is the last one.
        """

        def last(model: RewardModel) -> str:
            writers = {table.partition("/")[0] for table in model.data}
            return [name for name in self.policies if name in writers][-1]

        return [name for name, model in self.reward_models.items() if model.data and last(model) == policy]

    def seeds_of(self, name: str) -> dict[str, int]:
        """The trainings of a reward model, artifact's name -> seed: "ASPRM-M" itself, then "ASPRM-M@1", …"""
        count, first = self.reward_models[name].seeds, self.prm.seed
        return {name if k == 0 else f"{name}@{k}": first + k for k in range(count)}

    def trainings(self, prm: str, policy: str) -> list[str]:
        """The trainings of a reward model that rate the policy's candidates: all of them where it starts from that
        policy, elsewhere the first.
        """
        every = list(self.seeds_of(prm))
        return every if self.reward_models[prm].base == policy else every[:1]

    @model_validator(mode="after")
    def _names_are_known(self) -> "Profile":
        """A reward model's base and data, and what the stages ask for, must exist."""
        models = self.reward_models.items()
        used = [(f"reward_models.{name}.base", model.base) for name, model in models if not model.published]
        used += [(f"reward_models.{name}.data", t.partition("/")[0]) for name, model in models for t in model.data]
        asked = [("best_of_n.score", self.best_of_n.score), ("tvd.guide", self.tvd.guide)]
        used += [(where, policy) for where, by_policy in asked for policy in by_policy]
        for where, policy in used:
            if policy not in self.policies:
                raise ValueError(f"{where}: unknown policy '{policy}': {nearest(policy, self.policies)}")
        for where, by_policy in asked:
            for name in (name for names in by_policy.values() for name in names):
                if name not in self.reward_models:
                    raise ValueError(f"{where}: unknown reward model '{name}': {nearest(name, self.reward_models)}")
        for name, table in ((name, table) for name, model in models for table in model.data):
            try:
                _method(table.partition("/")[2])
            except ValueError as error:
                raise ValueError(
                    f"reward_models.{name}.data: '{table}': <policy>/<method>, the method {error}"
                ) from None
        return self

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


def validated(model: type[BaseModel], values: Mapping[str, Any], where: str) -> Any:
    """`model` from `values`; ProfileError with one line per fault, each starting with `where`."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ProfileError("\n".join(_fault(model, fault, where) for fault in error.errors())) from None


def parse(text: str) -> Any:
    """The value that YAML text stands for. yaml.YAMLError: it is none."""
    return yaml.load(text, _loader())


def nearest(name: str, known: Iterable[str]) -> str:
    """The rest of an error about an unknown name: the nearest known one, else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


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
    """The file's values over those of the profile that it extends, section by section; a policy or reward model that it
    sets to null is left out.
    """
    file = file.resolve()
    if file in children:
        raise ProfileError(f"profile {file}: extends itself")
    try:
        values = parse(file.read_text())
    except yaml.YAMLError as error:
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
    """YAML 1.1 reads 1e-3 as text, for want of a point; people who write learning rates do not expect that."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    return Loader


def _fault(model: type[BaseModel], fault: Any, where: str) -> str:
    location = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, fault["loc"][:-1])
        return f"{where}: unknown key '{location}': {nearest(str(fault['loc'][-1]), known)}"
    if fault["type"] == "missing":
        return f"{where}: '{location}' is missing"
    if fault["type"] == "value_error":
        value = f"{location} = {fault['input']!r} ({type(fault['input']).__name__}): " if location else ""
        return f"{where}: {value}{fault['msg'].removeprefix('Value error, ')}"
    wanted = fault["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    if fault["type"] == "tuple_type":
        wanted = "list"
    return f"{where}: {location} = {fault['input']!r} ({type(fault['input']).__name__}): expected {wanted}"


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Field names of the section at `location`."""
    for part in location:
        if part in model.model_fields:
            annotation = model.model_fields[part].annotation
            annotation = (annotation, *get_args(annotation))[-1]  # of a mapping that of its values
            model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else model
    return list(model.model_fields)
