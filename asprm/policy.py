"""Policy: a small language model that is trained from scratch on the solutions of simulated students (stage 1).

The result is a Hugging Face folder (configuration, safetensors, tokenizer) like that of any other model: later stages
do not know whether a policy was trained here or is a 7B model from the hub.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from asprm.engines.load import load_engine
from asprm.engines.protocol import Engine, Request, Sampling
from asprm.grading.grade import grade
from asprm.models.attention import use_fp32_attention
from asprm.models.device import bf16_pays, this_device
from asprm.models.load import load_tokenizer, load_weights
from asprm.models.prompts import encode_prompts
from asprm.problems import programmer
from asprm.problems.corpus import Batches, batches, corpus
from asprm.problems.families import DOMAINS
from asprm.problems.load import load
from asprm.problems.problem import Domain, Problem
from asprm.problems.student import ALTERNATIVES
from asprm.run import names
from asprm.run.artifacts import atomic, copy_folder, digest
from asprm.run.chunks import forget_others, place_of
from asprm.run.open import Run
from asprm.run.sections import Policy, Sample

# A problem's text, a line feed, the solution. Other models bring their own template, in the tokenizer's own form.
CHAT_TEMPLATE = "{{ bos_token }}{{ messages[0]['content'] }}{{ '\n' }}"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
RECIPE = "recipe.json"
TOKENIZER_PAIRS = 20_000  # of the corpus, from which the tokenizer is trained
QUALITY_PROBLEMS = 300  # validation problems per family on which a new policy is measured

History = list[dict[str, Any]]  # rows of step, tokens, loss


# --- the model --------------------------------------------------------------------------------------------------------


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer with `vocabulary` tokens, which can encode any text.

    Every digit is a token of its own; the first digit of a number includes the space before it.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" ?\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[SPECIAL["pad_token"], SPECIAL["bos_token"], SPECIAL["eos_token"]],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, **SPECIAL)


def new_model(shape: Policy, tokenizer: Any, seed: int) -> Any:
    """A randomly initialised Mistral or Llama of the given shape."""
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    torch.manual_seed(seed)
    llama = shape.architecture == "llama"
    config = (LlamaConfig if llama else partial(MistralConfig, sliding_window=None))(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=shape.positions,
        initializer_range=0.5 * shape.hidden**-0.5,  # transformers' 0.02 suits wide models; here it delays copying
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (LlamaForCausalLM if llama else MistralForCausalLM)(config)


def transplant(model: Any, tokenizer: Any, source: Any, source_tokenizer: Any) -> None:
    """Copy the layers of `source`, which has the same width, into `model`; both have tied embeddings.

    A token that both tokenizers know keeps its vector; any other starts as the mean vector of the source's tokens that
    spell it. Layers beyond the source's start as the identity: they add zero to the residual stream.
    """
    known = source_tokenizer.get_vocab()
    rows = source.get_input_embeddings().weight.data
    with torch.no_grad():
        for token, place in tokenizer.get_vocab().items():
            text = tokenizer.convert_tokens_to_string([token])
            ids = [known[token]] if token in known else source_tokenizer(text, add_special_tokens=False)["input_ids"]
            if ids:
                model.get_input_embeddings().weight[place] = rows[ids].mean(0)
        for layer, old in zip(model.model.layers, source.model.layers, strict=False):
            layer.load_state_dict(old.state_dict())
        for layer in model.model.layers[len(source.model.layers) :]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.norm.load_state_dict(source.model.norm.state_dict())


# --- training ---------------------------------------------------------------------------------------------------------


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then a cosine to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(
    settings: Policy,
    folder: Path,
    *,
    seed: int,
    start: Path | None = None,
    report: Callable[[dict[str, Any]], None] = lambda row: print(row, flush=True),
) -> History:
    """Train a tokenizer and a model, and save them with their recipe in `folder`. Returns the history of the loss.

    settings: the model's shape and how it is trained.
    folder: where the policy is saved; its parent folder holds the checkpoint meanwhile.
    seed: of the first weights, the corpus and its order.
    start: folder of the policy whose layers this one begins with (`transplant`); the tokenizer is trained anew.
    report: called with each row of the history, and the speed.

    A training that was interrupted resumes from its checkpoint and gives the same weights.
    """
    # 1. The tokenizer, and the model with its first weights.
    texts = corpus(settings.mixture, seed + 1, settings.care)
    tokenizer = train_tokenizer(["\n".join(next(texts)) for _ in range(TOKENIZER_PAIRS)], settings.vocab)
    model = new_model(settings, tokenizer, seed)
    if start is not None:
        from transformers import AutoModelForCausalLM

        source = load_weights(AutoModelForCausalLM, str(start), dtype=torch.float32)
        transplant(model, tokenizer, source, load_tokenizer(str(start)))

    # 2. The steps that remain. Batches depend on the seed alone: those of finished steps are drawn again and skipped.
    training = _Training(settings, model, folder.with_name(folder.name + ".checkpoint.pt"))
    training.resume()
    stream = batches(tokenizer, corpus(settings.mixture, seed, settings.care), settings.batch_tokens, seed)
    for _ in range(training.step):
        next(stream)
    training.run(stream, report)

    # 3. The policy's folder.
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    recipe = settings.model_dump(exclude={"retrain"}) | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": seed,
        "device": training.device,
        "solution_loss": training.history[-1]["loss"],
        "history": training.history,
        "went_on_from": about(start) if start else None,
    }
    _write_recipe(folder, recipe)
    training.checkpoint.unlink(missing_ok=True)
    return training.history


class _Training:
    """The optimiser's steps of one policy, with a checkpoint of all that changes: weights, optimiser, history, step."""

    def __init__(self, settings: Policy, model: Any, checkpoint: Path):
        self.settings, self.model, self.checkpoint = settings, model, checkpoint
        self.device = this_device()
        self.bf16 = bf16_pays(self.device)
        self.steps = settings.tokens // settings.batch_tokens
        self.step = 0  # finished ones
        self.history: History = []
        model.to(self.device).train()
        if self.device == "cpu" and self.bf16:
            use_fp32_attention(model)
        decay = [p for p in model.parameters() if p.ndim > 1]
        plain = [p for p in model.parameters() if p.ndim == 1]
        groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)

    def resume(self) -> None:
        """Take up the checkpoint, if there is one."""
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history, self.step = state["history"], state["step"]

    def save(self) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save({**state, "history": self.history, "step": self.step}, temporary)
        temporary.replace(self.checkpoint)

    def run(self, stream: Batches, report: Callable[[dict[str, Any]], None]) -> None:
        """All steps that remain, ten log lines from one checkpoint to the next."""
        began, seen, loss_sum, loss_count = time.monotonic(), 0, 0.0, 0
        while self.step < self.steps:
            ids, mask = next(stream)
            loss_sum, loss_count, seen = loss_sum + self._update(ids, mask), loss_count + 1, seen + ids.numel()
            self.step += 1
            last = self.step == self.steps
            if last or self.step % max(1, self.settings.checkpoint_steps // 10) == 0:
                tokens = self.step * self.settings.batch_tokens
                row = {"step": self.step, "tokens": tokens, "loss": loss_sum / loss_count}
                self.history.append(row)
                speed = seen / (time.monotonic() - began)
                report({**row, "of": self.steps, "tokens_per_second": round(speed)})
                loss_sum, loss_count = 0.0, 0
            if not last and self.step % self.settings.checkpoint_steps == 0:
                self.save()

    def _update(self, ids: torch.Tensor, mask: torch.Tensor) -> float:
        """One step of the optimiser on ids (B, T) with loss mask (B, T). Returns the mean loss per masked token."""
        ids, mask = ids.to(self.device), mask.to(self.device)
        warmup = round(self.settings.warmup * self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.settings.learning_rate, warmup)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16):
            hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden[:, :-1][mask[:, 1:]])  # (tokens that bear loss, vocabulary)
        loss = F.cross_entropy(logits.float(), ids[:, 1:][mask[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


# --- the stage --------------------------------------------------------------------------------------------------------


def run_policy(run: Run) -> list[str]:
    """Train every policy of the profile where its field `retrain` is set. Returns the names of what was written.

    Writes the folder `policy/<policy>` for each; nothing without `retrain`, since the weights in the profile's paths
    are used then. A policy that begins with another's layers is trained after it. A policy that an earlier try has
    finished is not trained again. ValueError: policies that begin with each other's layers.
    """
    if not run.profile.policy.retrain:
        return []
    written = []
    waiting = {name: run.profile.recipe(name) for name in run.profile.policies}
    while waiting:
        ready = [name for name, recipe in waiting.items() if recipe.start not in waiting]
        if not ready:
            raise ValueError(f"policy: {', '.join(waiting)} begin with each other's layers; expected one that does not")
        written += [_train_policy(run, name, waiting.pop(name)) for name in ready]
    return written


def _train_policy(run: Run, name: str, recipe: Policy) -> str:
    artifact, sample, domain = names.policy_weights(name), run.profile.sample, run.profile.policies[name].domain
    key = {"recipe": recipe.model_dump(), "seed": run.seed, "sample": sample.model_dump(), "domain": domain}
    start = None
    if recipe.start:
        start = Path(run.policy_path(recipe.start))
        key["start"] = digest(start)
    place = place_of(run.work(artifact), key, train)
    place.mkdir(exist_ok=True)
    weights = place / "weights"
    if not about(weights):
        train(recipe, weights, seed=run.seed, start=start)
    if "held_out" not in about(weights):
        record_quality(weights, sample, run.seed, domain)
    with run.write_folder(artifact, tokens=recipe.tokens) as folder:
        copy_folder(weights, folder)
    forget_others(place)
    return artifact


# --- its quality ------------------------------------------------------------------------------------------------------


def record_quality(path: str | Path, sample: Sample, seed: int, domain: Domain) -> None:
    """Measure the policy on validation problems of its domain (`held_out`) and add the result to its recipe."""
    families = [family for family in DOMAINS if DOMAINS[family] == domain]
    problems = {family: load(family, "validation", QUALITY_PROBLEMS) for family in families}
    measured = held_out(load_engine(path), problems, sample, seed=seed)
    _write_recipe(path, about(path) | {"held_out": measured.round(4).to_dict("records")})


def _write_recipe(folder: str | Path, recipe: Mapping[str, Any]) -> None:
    with atomic(Path(folder) / RECIPE) as temporary:
        temporary.write_text(json.dumps(recipe, indent=1))


def about(path: str | Path) -> dict[str, Any]:
    """The recipe that made the policy in the folder: settings, seed, device, history of the loss, quality.

    Empty for a policy that was not made here, such as one of the hub.
    """
    file = Path(path) / RECIPE
    return json.loads(file.read_text()) if file.is_file() else {}


def quality(recipes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The policies' accuracies on validation problems, from their recipes: column policy, then those of `held_out`.

    Policies that were not made here have no rows.
    """
    rows = [{"policy": name} | row for name, recipe in recipes.items() for row in recipe.get("held_out", [])]
    return pd.DataFrame(rows or None, columns=None if rows else ["policy", "problems", "greedy", "pass@16"])


def held_out(
    engine: Engine, problems: Mapping[str, list[Problem]], sample: Sample, *, seed: int, samples: int = 16
) -> pd.DataFrame:
    """How good the policy is: one row per set of problems.

    engine: of the policy.
    problems: by the name of the set, (P,).
    sample: of which only the length limit is used.
    seed: of the samples.
    samples: drawn per problem at temperature 1.

    Columns: problems (the set's name), count (P), the accuracies greedy, single sample and pass@<samples>, and copied:
    the share of greedy solutions that use only words of the problem and of its true solution.
    """
    rows = []
    for name, of_set in problems.items():
        prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in of_set])
        greedy = engine.generate(
            [Request(ids, len(ids), 0) for ids in prompts],
            Sampling(temperature=0.0, max_new_tokens=sample.max_new_tokens),
        )
        requests = [
            Request(ids, len(ids), (seed * len(prompts) + i) * samples + j)
            for i, ids in enumerate(prompts)
            for j in range(samples)
        ]
        drawn = engine.generate(requests, Sampling(temperature=1.0, max_new_tokens=sample.max_new_tokens))
        greedy_texts, drawn_texts = (
            [engine.tokenizer.decode(completion.ids, skip_special_tokens=True) for completion in completions]
            for completions in (greedy, drawn)
        )
        first = np.array([grade(problem, text).correct for problem, text in zip(of_set, greedy_texts, strict=True)])
        right = np.array([grade(of_set[i // samples], text).correct for i, text in enumerate(drawn_texts)])
        right = right.reshape(len(of_set), samples)
        copied = np.mean([_copied(problem, text) for problem, text in zip(of_set, greedy_texts, strict=True)])
        rows.append((name, len(of_set), first.mean(), right.mean(), right.any(axis=1).mean(), copied))
    return pd.DataFrame(rows, columns=["problems", "count", "greedy", "single sample", f"pass@{samples}", "copied"])


def _copied(problem: Problem, text: str) -> bool:
    """Whether each word of the text stands in the problem or its true solution, or is one that any solution may use."""
    words = {word.lower() for word in re.findall(r"[A-Za-z]+", text)}
    usual = programmer.VOCABULARY if problem.domain == "code" else {word.strip().lower() for word in ALTERNATIVES}
    return words <= usual | {word.lower() for word in re.findall(r"[A-Za-z]+", f"{problem.prompt} {problem.solution}")}
