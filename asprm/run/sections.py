"""Sections: the typed settings of a profile, one class per stage."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from asprm.models.conventions import CONVENTIONS
from asprm.models.prompts import Form
from asprm.reward.aggregates import known_aggregate
from asprm.run.names import LabelTable, Method


def _as_tuple(value: Any) -> Any:
    """YAML and papermill write sequences as lists; a frozen profile keeps tuples."""
    return tuple(value) if isinstance(value, list) else value


Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]
Counts = Annotated[tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(_as_tuple)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Count = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Families = dict[str, Count]
Shares = dict[str, Annotated[float, Field(gt=0)]]


class ProfileError(ValueError):
    """A profile or a parameter that is unknown, mistyped or out of range."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Problems(Section):
    train: Families
    """problems per family whose sampled solutions are split, labelled and learned from"""
    validation: Families
    """problems per family on which choices are made (the trigger of guided decoding, early stopping)"""
    test: Families
    """problems per family on which results are reported"""
    test_from: Annotated[int, Field(ge=0)] = 0
    """number of a synthetic family's first test problem; problems below it were seen while choices were made"""
    clusters: dict[str, Literal["template"]] = {}
    """sets whose problems are instances of few templates: intervals and tests resample the templates"""


class PolicySource(Section):
    path: str
    """Hugging Face folder, relative to the study's root, or a hub name with its commit after @"""
    domain: Literal["math", "code"] = "math"
    """the problems that it solves"""
    instruction: str | None = None
    """the user's message, with {problem} in it, in the model's chat template; null: the problem alone"""
    system: str | None = None
    """the system message, in the model's chat template; null: the chat template's own, if it has one"""
    template: str | None = None
    """the whole prompt, with {problem} in it, where a model has no chat template"""
    stop: Names = ()
    """texts at which a solution ends, where a model runs on after it"""
    reward_model: str | None = None
    """the reward model that its chapters look at more closely; null: of those that guide it the first on its weights"""
    recipe: dict[str, Any] = {}
    """fields of the section `policy` that differ for this policy, if it is trained here"""
    reward_base: str | None = None
    """weights that reward models on this policy start from, named as in `path`; null: the policy's own"""
    reward_recipe: dict[str, Any] = {}
    """fields of the section `prm` that differ for reward models on this policy"""

    @property
    def form(self) -> Form:
        """How problems are put to it."""
        return Form(self.instruction, self.system, self.template)

    @model_validator(mode="after")
    def _has_a_form(self) -> "PolicySource":
        if not all(self.stop):
            raise ValueError("stop: expected texts that are not empty")
        _ = self.form  # ValueError: it is none
        return self


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
    """share of misreadings that the simulated students avoid"""
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
    """weight decay of AdamW, on matrices only"""
    positions: Count
    """longest sequence that the model can read, in tokens"""
    mixture: Shares
    """problem families of the corpus and their shares"""
    checkpoint_steps: Count
    """optimiser steps between two checkpoints; a log line comes ten times as often"""


class Sample(Section):
    solutions: Count
    """solutions sampled per training problem, before duplicates are merged"""
    candidates: Count
    """N, solutions sampled per test problem for Best-of-N"""
    temperature: Annotated[float, Field(ge=0)]
    """temperature of the sampled solutions; confidences are always at temperature 1"""
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


def known_method(name: str) -> str:
    """The name itself. ValueError: not the name of a method."""
    Method.parse(name)
    return name


class Split(Section):
    method: Annotated[str, AfterValidator(known_method)]
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
    most_steps: Count | None = None
    """learn from whole solutions, drawn by the seed, with no more labelled steps than this; null: from all"""
    role: Literal["own", "baseline", "outcome", "transfer", "mixture", "sweep"] = "own"
    """what the study has it for: `own` learns from its policy's own AdaptiveStep labels; `baseline` from steps of
    another kind; `outcome` from whole solutions; `transfer` from another policy's data; `mixture` from data of several
    policies; `sweep` from steps cut at another share of the threshold"""
    seeds: Count = 1
    """trainings that differ in their seed only"""
    published: str | None = None
    """in place of all these: one that is not trained here, named as in a policy's `path`"""
    convention: str | None = None
    """how a published one is read; null: as is known of its hub name, or else as those trained here"""
    steps: Annotated[str, AfterValidator(known_method)] | None = None
    """where a published one rates, as in `split.method`; null: at line breaks"""

    @property
    def tables(self) -> tuple[LabelTable, ...]:
        """The tables of labels that it learns from; none of a published one."""
        return tuple(LabelTable.parse(name) for name in self.data)

    @property
    def rates(self) -> Method:
        """Where steps end when it rates: as in its data, or as the profile says of a published one."""
        return self.tables[0].method if self.data else Method.parse(self.steps or "line")

    @model_validator(mode="after")
    def _is_trained_or_published(self) -> "RewardModel":
        if self.published:
            right = (self.base, self.data, self.equal, self.most_steps, self.seeds) == (None, (), False, None, 1)
        else:
            right = bool(self.base and self.data) and self.convention is None and self.steps is None
        if not right:
            raise ValueError(
                "expected base, data (equal, most_steps, seeds) of one that is trained here, or published (convention, "
                "steps)"
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
    rank: Count | None = None
    """rank of low-rank adapters (LoRA), which learn in place of the weights; null: the weights themselves learn"""
    layers: Count | None = None
    """how many of the last layers learn; null: all"""
    gradient_checkpointing: bool = False
    """a third more work for far less memory: for models of billions of weights"""


class BestOfN(Section):
    n: Counts
    """the N for which accuracy is reported; those above `sample.candidates` are left out"""
    aggregate: Annotated[str, AfterValidator(known_aggregate)]
    """how step scores become a candidate's score, one of `asprm.reward.aggregates` (paper: min)"""
    score: dict[str, Names]
    """by policy, the reward models that rate its candidates"""
    random: Count
    """ratings at random positions, each with a seed of its own, for those that are also rated elsewhere (Table 3)"""


class Tvd(Section):
    candidates: Count
    """W, tokens that the PRM rates at a decision point (paper: 8)"""
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


class Rivals(Section):
    problems: Annotated[int, Field(ge=0)]
    """training problems whose solutions are cut in all ways, labelled and learned from; 0: the chapter is left out"""
    test: Count
    """problems of the first test set, and as many of validation, on which what was learned is compared"""
    seeds: Count
    """trainings of every reward model that is compared here"""
    tokens: Count
    """solutions whose every token is followed by rollouts"""
    rollouts: Count
    """continuations before and after each of these tokens"""
    sure: Probability
    """self-confidence below which a problem's labels are dropped: the share of its samples that are right (SCAN)"""
    widths: Counts
    """solutions that beam search and value-guided search keep"""
    edits: Count
    """right solutions of which one line is edited"""


def nearest(name: str, known: Iterable[str]) -> str:
    """The rest of an error about an unknown name: the nearest known one, else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


# --- faults, in words -------------------------------------------------------------------------------------------------


def validated(model: type[BaseModel], values: Mapping[str, Any], where: str) -> Any:
    """`model` from `values`; ProfileError with one line per fault, each starting with `where`."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ProfileError("\n".join(_fault(model, fault, where) for fault in error.errors())) from None


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
