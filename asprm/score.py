"""Score: what a process reward model thinks of a solution, at any token (paper §2, R_θ(q, r_1 … r_k)).

A PRM is a Hugging Face folder: a backbone with one output per token. The score of a step is the sigmoid of that output
at the step's last token; one forward serves all steps of a solution, and solutions that begin alike (they share their
prompt, often more) are read together as one tree (`asprm.packed`). Knows token ids and positions: no text, no problem.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import AutoModelForTokenClassification, PreTrainedModel
from transformers.utils import logging

from asprm.chunks import map_chunks
from asprm.models import load_config, load_tokenizer, load_weights
from asprm.packed import groups, pack, read, reading_size, use_packs
from asprm.run import Run
from asprm.sample import origins, problem_set, prompts_of, rated_sets, test_sets
from asprm.split import cutter, parse_method, split_tables, tau_of

if TYPE_CHECKING:
    from asprm.published import Scorer, Text

ABOUT = "prm.json"  # beside the weights: how the PRM was made
_WINDOW = 1024  # items looked at together for common beginnings

SCHEMA = pa.schema(
    [
        ("problem", pa.string()),
        ("solution", pa.int32()),
        ("scores", pa.list_(pa.float32())),
        ("correct", pa.bool_()),
        ("answer", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class Item:
    """A solution and where to rate it.

    prompt: (L,) ids of the problem. ids: (T,) of the solution. ends: (K,) in 1 … T, any positions in any order: a
    score at `end` has seen ids[:end]. Step ends, line ends and random positions are rated by the same call.
    """

    prompt: np.ndarray
    ids: np.ndarray
    ends: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        """Prompt and solution, (L + T,) int32."""
        return np.concatenate([self.prompt, self.ids]).astype(np.int32, copy=False)


@dataclass(frozen=True, eq=False)
class PRM:
    """A process reward model, ready to score. about: what its folder's `prm.json` says of its making."""

    model: PreTrainedModel
    tokenizer: Any
    about: Mapping[str, Any]


def load_prm(
    folder: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> PRM:
    """The PRM in a Hugging Face folder that `asprm.prm.train` wrote.

    device: the accelerator if there is one, else the CPU. dtype: bfloat16 on an accelerator, float32 on the CPU.
    ValueError: the folder holds another kind of model, or a PRM without its head.
    """
    device = torch.device(device or this_device())
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    model, missing = load_classifier(folder, dtype, device)
    if missing:
        raise ValueError(f"score: {folder} lacks weights {missing[:3]}; expected a folder written by asprm.prm.train")
    about = Path(folder) / ABOUT
    facts = json.loads(about.read_text()) if about.exists() else {}
    return PRM(model.eval(), load_tokenizer(folder), facts)


def this_device() -> str:
    """The accelerator, or the CPU where there is none."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_classifier(
    folder: str | Path, dtype: str | torch.dtype, device: str | torch.device
) -> tuple[PreTrainedModel, list[str]]:
    """A model with one output per token that reads packs, and the names of weights that the folder does not hold."""
    config = load_config(folder, num_labels=1, id2label={0: "score"}, label2id={"score": 0})
    config.classifier_dropout = 0.0  # transformers would drop a tenth
    with quiet():
        model, info = load_weights(
            AutoModelForTokenClassification, folder, config=config, dtype=dtype, output_loading_info=True
        )
    return use_packs(model.to(device)), sorted(info["missing_keys"])


def score(prm: PRM, items: Iterable[Item], *, tokens: int | None = None) -> list[np.ndarray]:
    """Scores in (0, 1), one array (K,) float32 per item, in order. See `score_stream`."""
    return list(score_stream(prm, items, tokens=tokens))


def score_stream(prm: PRM, items: Iterable[Item], *, tokens: int | None = None) -> Iterator[np.ndarray]:
    """Like `score`, pulling items as needed: a solution's scores do not depend on what is scored beside it.

    tokens: how many are read in one forward (None: by the device). ValueError, naming the item: no position to rate,
    one outside the solution, an id that the PRM does not know, more tokens than it has positions, a score that is not a
    number.
    """
    done = 0
    items = iter(items)
    while window := list(islice(items, _WINDOW)):
        for number, found in enumerate(logits(prm.model, window, tokens=tokens, first=done), done):
            if not np.isfinite(found).all():
                raise ValueError(f"score: item {number} got scores {found}; a PRM that gives no number is broken")
            yield _sigmoid(found)
        done += len(window)


@torch.inference_mode()
def logits(
    model: PreTrainedModel, items: Sequence[Item], *, tokens: int | None = None, first: int = 0
) -> list[np.ndarray]:
    """The model's outputs at the items' ends, one array (K,) float32 per item. first: the first one's number."""
    bounds = limits(model)
    texts = []
    for number, item in enumerate(items, first):
        check(item, *bounds, f"item {number}")
        texts.append(item.tokens[: len(item.prompt) + int(np.max(item.ends))])
    out: list[np.ndarray] = [np.empty(0, np.float32)] * len(items)
    for group in groups(texts, tokens or reading_size(model.device.type)):
        packed = pack([texts[i] for i in group])
        wanted = [packed.places[j][len(items[i].prompt) + np.asarray(items[i].ends) - 1] for j, i in enumerate(group)]
        found = model.score(read(model, packed, np.concatenate(wanted)))[:, 0].float().cpu().numpy()
        for i, part in zip(group, np.split(found, np.cumsum([len(x) for x in wanted])[:-1]), strict=True):
            out[i] = part
    return out


def limits(model: PreTrainedModel) -> tuple[int, int]:
    """How many positions and tokens the model knows. Ask once, not for every item: configurations take their time."""
    config = model.config.get_text_config()
    return config.max_position_embeddings, config.vocab_size


def check(item: Item, positions: int, vocabulary: int, name: str) -> None:
    """ValueError: the item cannot be rated by a model of so many positions and tokens, and why."""
    ends, length = np.asarray(item.ends), len(item.ids)
    if not len(ends) or ends.min() < 1 or ends.max() > length:
        raise ValueError(f"{name}: ends are {ends.tolist()}, expected at least one, each in 1 … {length}, its tokens")
    total = len(item.prompt) + length
    if total > positions:
        raise ValueError(
            f"{name}: {total} tokens with its prompt, but the model has {positions} positions; leave it out"
        )
    if max(item.ids.max(), np.max(item.prompt, initial=0)) >= vocabulary or item.ids.min() < 0:
        raise ValueError(
            f"{name}: it has token ids outside the model's vocabulary of {vocabulary}; "
            "were they made by another model's tokenizer?"
        )


def score_table(
    prm: PRM | Scorer, samples: pa.Table, splits: pa.Table, problems: Mapping[str, np.ndarray] | Mapping[str, str]
) -> pa.Table:
    """One row of step scores per solution; schema `SCHEMA`. Rows are independent: score a big table batch by batch.

    splits: columns problem, solution, … of the same rows as samples, in the same order. A PRM reads the samples' own
    tokens: samples has problem, solution, ids, correct, answer, splits has ends, and problems are token ids (L,) by
    name. A `Scorer` reads texts: text and finished in the place of ids, char_ends in that of ends, and the problems'
    texts. ValueError: the tables do not match, or an item cannot be scored.
    """
    for column in ("problem", "solution"):
        if not samples[column].combine_chunks().equals(splits[column].combine_chunks()):
            raise ValueError(
                f"score: samples and splits differ in column {column!r} ({len(samples)} and {len(splits)} rows); "
                "expected the split of these very samples, in their order"
            )
    if isinstance(prm, PRM):
        found = score(prm, _items(samples, splits, problems))
    else:
        found = list(prm.rate(_texts(samples, splits, problems)))
    scores = pa.array(found, pa.list_(pa.float32()))
    table = samples.select(["problem", "solution", "correct", "answer"]).append_column("scores", scores)
    return table.select(SCHEMA.names).cast(SCHEMA)


def _items(samples: pa.Table, splits: pa.Table, prompts: Mapping[str, np.ndarray]) -> Iterator[Item]:
    for name, ids, ends in zip(samples["problem"].to_pylist(), samples["ids"], splits["ends"], strict=True):
        yield Item(prompts[name], np.asarray(ids.values), np.asarray(ends.values))


def _texts(samples: pa.Table, splits: pa.Table, problems: Mapping[str, str]) -> Iterator[Text]:
    from asprm.published import Text

    names, texts, finished = (samples[column].to_pylist() for column in ("problem", "text", "finished"))
    for name, text, whole, ends in zip(names, texts, finished, splits["char_ends"], strict=True):
        yield Text(problems[name], text, np.asarray(ends.values), whole)


def score_all(run: Run) -> list[str]:
    """Rate the policy's candidates of each test set, and those of validation that are asked for
    (`asprm.sample.rated_sets`), by every reward model that is asked for.

    Writes `best_of_n/<prm>/<policy>-<set>`. One rule for all: a reward model rates where steps end in the way of those
    that it learned from (of a published one the profile says it): at decision tokens, at line breaks, or at the end of
    the solution. For those that start from this policy there are also `…@confidence`, `…@line` and `…@random0` …
    (Table 3), which cost nothing more: one reading of a solution gives the scores at all positions. An experiment rates
    by `run.prm` alone. Returns the tables' names.
    """
    profile, policy = run.profile, run.policy
    chosen = [run.prm] if run.experiment else profile.best_of_n.score[policy]
    names = [artifact for name in chosen for artifact in profile.trainings(name, policy)]
    sets = ["validation", *test_sets(profile, run.domain)]
    rated = {name: rated_sets(profile, name, policy) for name in names}
    if run.prm in rated:  # it is looked at more closely
        rated[run.prm] = sets
    tasks = [(name, one) for one in sets for name in names if one in rated[name]]
    with run.noting() as inputs:
        models = {name: run.reward_model(name) for name in names}
        run.policy_path()  # whose tokenizer reads
        run.inputs.update(origins(profile, run.domain))
        run.read_json(f"threshold/{policy}")
        for one in sets:
            run.find(f"sample/{policy}/{one}.parquet")
    tables = map_chunks(
        partial(_score_task, run=run, models=models),
        tasks,
        size=1,
        folder=run.work(f"best_of_n/{policy}"),
        key={"tasks": tasks, "settings": profile.reads("best_of_n"), "inputs": inputs},
        setup=partial(_Candidates, run),
        workers=run.workers,
        label=f"scores of {policy}",
        kept=run.kept,
    )
    written = []
    for (name, one), table in zip(tasks, tables, strict=True):
        for position in table["position"].unique().to_pylist():
            written.append(f"best_of_n/{name}/{policy}-{one}{position}")
            run.write(written[-1], table.filter(pc.equal(table["position"], position)).drop_columns("position"))
    return written


class _Candidates:
    """The policy's candidates, batch by batch, cut at all positions: once for all reward models that rate a set."""

    def __init__(self, run: Run) -> None:
        self.run, self.tokenizer = run, load_tokenizer(run.policy_path())
        self.name, self.cut = "", []
        profile, method = run.profile, parse_method(run.method)
        tau = tau_of(run.read_json(f"threshold/{run.policy}"), method.share)
        options = {"tau": tau, "length": profile.split.length, "count": profile.split.count}
        self.own = method.kind
        kinds = {parse_method(model.rates).kind for model in profile.reward_models.values()} - {"adaptive"}
        kinds |= {method.kind, "line"}
        self.cutters = {kind: cutter(kind, seed=run.seed, **options) for kind in sorted(kinds)}
        for k in range(profile.best_of_n.random):
            self.cutters[f"random{k}"] = cutter("random", seed=run.seed + k, **options)

    def of(self, name: str) -> Iterator[tuple[pa.Table, dict[str, pa.Table]]]:
        """Batches of the set `name`, each with its splits; the splits of the last set are kept."""
        batches = (
            pa.Table.from_batches([rows]) for rows in self.run.scan(f"sample/{self.run.policy}/{name}", rows=4096)
        )
        if self.name == name:
            yield from zip(batches, self.cut, strict=True)
            return
        cut = []
        for batch in batches:
            cut.append(split_tables(batch, self.cutters, self.tokenizer))
            yield batch, cut[-1]
        self.name, self.cut = name, cut


def _score_task(tasks: Sequence[tuple[str, str]], candidates: _Candidates, *, run: Run, models) -> pa.Table:
    """`SCHEMA` with the rating position in front: "" (its own kind of steps), "@confidence", "@line", "@random0", …"""
    from asprm.published import load_reward_model, scorer_for

    [(name, one)] = tasks
    profile, tokenizer = run.profile, candidates.tokenizer
    prm = scorer_for(load_reward_model(*models[name]), tokenizer)
    problems = problem_set(profile, one, run.domain)
    asked = prompts_of(tokenizer, problems) if isinstance(prm, PRM) else {x.id: x.prompt for x in problems}
    model = profile.reward_models[name.partition("@")[0]]
    kind = parse_method(model.rates).kind
    positions = {"": candidates.own if kind == "adaptive" else kind}
    if model.base == run.policy:
        positions |= {"@confidence": candidates.own, "@line": "line"}
        positions |= {f"@random{k}": f"random{k}" for k in range(profile.best_of_n.random)}
    parts: dict[str, list[pa.Table]] = {position: [] for position in positions}
    for batch, splits in candidates.of(one):
        wanted = {position: splits[kind] for position, kind in positions.items()}
        for position, table in _rated(prm, batch, wanted, asked).items():
            parts[position].append(table)
    whole = {position: pa.concat_tables(tables) for position, tables in parts.items()}
    return pa.concat_tables(t.add_column(0, "position", pa.array([p] * len(t))) for p, t in whole.items())


def _rated(
    prm: PRM | Scorer, batch: pa.Table, splits: Mapping[str, pa.Table], problems: Mapping[str, Any]
) -> dict[str, pa.Table]:
    """Score tables of a batch by position; the union of all positions is read once."""
    if len(splits) == 1:
        [(position, split)] = splits.items()
        return {position: score_table(prm, batch, split, problems)}
    places = {position: _places(table["ends"]) for position, table in splits.items()}
    union = np.unique(np.concatenate(list(places.values())))
    ends = _lists(union, (union & _END).astype(np.int32), len(batch))
    table = score_table(prm, batch, batch.select(["problem", "solution"]).append_column("ends", ends), problems)
    scores = table["scores"].combine_chunks().flatten().to_numpy()
    out, column = {}, table.schema.get_field_index("scores")
    for position, some in places.items():
        found = _lists(some, scores[np.searchsorted(union, some)], len(batch))
        out[position] = table.set_column(column, SCHEMA.field("scores"), found)
    return out


_END = 2**32 - 1


def _places(ends: pa.ChunkedArray) -> np.ndarray:
    """Every end of every row as one number, row · 2³² + end, (N,) int64."""
    column = ends.combine_chunks()
    row = np.repeat(np.arange(len(column)), column.value_lengths().to_numpy())
    return row << 32 | column.flatten().to_numpy().astype(np.int64)


def _lists(places: np.ndarray, values: np.ndarray, rows: int) -> pa.ListArray:
    """The values at `places`, a list for every row."""
    offsets = np.searchsorted(places >> 32, np.arange(rows + 1))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without its loading bars and reports: what is missing is checked, and an error here."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
