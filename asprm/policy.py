"""Policy: a small language model trained from scratch on what simulated students write (stage 1).

Gives a Hugging Face folder (configuration, safetensors, tokenizer) like any other model's, so that nothing after this
stage knows whether a policy was made here or is a 7B model from the hub. Knows problems and students, no other stage.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from asprm.engines.load import load_engine
from asprm.engines.packed import bf16_pays
from asprm.engines.protocol import Engine, Request, Sampling
from asprm.grading.grade import grade
from asprm.models.attention import use_fp32_attention
from asprm.models.load import load_tokenizer, load_weights
from asprm.models.prompts import encode_prompts
from asprm.problems import programmer
from asprm.problems.families import DOMAINS, attempt, scenes
from asprm.problems.load import load
from asprm.problems.problem import Domain, Problem
from asprm.problems.student import ALTERNATIVES, drill
from asprm.run.artifacts import atomic, copy_folder, digest
from asprm.run.chunks import forget_others, place_of
from asprm.run.open import Run

# A problem's text, a line feed, the solution. Other models bring their own template, in the tokenizer's own form.
CHAT_TEMPLATE = "{{ bos_token }}{{ messages[0]['content'] }}{{ '\n' }}"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
RECIPE = "recipe.json"
DRILLS = "drills"
CORPUS_START = 1_000_000  # policies read problems from here on; the study's own train problems stand before


def corpus(mixture: dict[str, float], seed: int, care: float = 0.0) -> Iterator[tuple[str, str]]:
    """Endless (problem text, student's solution) pairs of the training split, families in the given proportions.

    The family "drills" is pages of bare sums, done right: without them calculation is learned last.
    """
    rng = random.Random(f"corpus/{seed}")
    positions = dict.fromkeys(mixture, CORPUS_START)
    while True:
        family = rng.choices(list(mixture), list(mixture.values()))[0]
        if family == DRILLS:
            yield drill(rng)
            continue
        problem, scene = next(scenes(family, "train", 1, positions[family]))
        positions[family] += 1
        yield problem.prompt, attempt(scene, random.Random(f"{problem.id}/{seed}"), care)


def train_tokenizer(texts: Sequence[str], vocabulary: int):
    """A byte-level BPE tokenizer of so many tokens, which can encode any text. Every digit is a token of its own, the
    first of a number together with the space before it.
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


def new_model(shape, tokenizer, seed: int):
    """A randomly initialised Mistral or Llama of the given shape (`profile.policy`)."""
    import torch
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


def transplant(model, tokenizer, source, source_tokenizer) -> None:
    """Begin `model` with the layers of `source`, which has the same width; both have tied embeddings.

    A token that both tokenizers know keeps its vector, another begins as the mean of the source's tokens that spell it.
    Layers beyond the source's begin as the identity: what they add to the residual stream is zero.
    """
    import torch

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


def batches(tokenizer, pairs: Iterator[tuple[str, str]], batch_tokens: int, seed: int, pool: int = 8192):
    """Endless batches (ids (B, T), loss mask (B, T)) of about `batch_tokens` tokens with hardly any padding.

    A pool of examples is sorted by length, cut into batches, and these are shuffled. Only solutions bear loss:
    a problem's numbers are drawn at random and cannot be learnt.
    """
    import torch

    rng = random.Random(f"batches/{seed}")
    while True:
        examples = [next(pairs) for _ in range(pool)]
        prompts = encode_prompts(tokenizer, [problem for problem, _ in examples])
        solutions = tokenizer([solution for _, solution in examples], add_special_tokens=False)["input_ids"]
        rows = sorted(zip(prompts, solutions, strict=True), key=lambda row: len(row[0]) + len(row[1]))
        cuts, start = [], 0
        for end in range(1, len(rows) + 1):
            longest = len(rows[min(end, len(rows) - 1)][0]) + len(rows[min(end, len(rows) - 1)][1]) + 1
            if end == len(rows) or (end + 1 - start) * longest > batch_tokens:
                cuts.append(rows[start:end])
                start = end
        rng.shuffle(cuts)
        for cut in cuts:
            length = max(len(prompt) + len(solution) + 1 for prompt, solution in cut)
            ids = torch.full((len(cut), length), tokenizer.pad_token_id)
            mask = torch.zeros((len(cut), length), dtype=torch.bool)
            for row, (prompt, solution) in enumerate(cut):
                whole = [*prompt.tolist(), *solution, tokenizer.eos_token_id]
                ids[row, : len(whole)] = torch.tensor(whole)
                mask[row, len(prompt) : len(whole)] = True
            yield ids, mask


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(
    settings,
    folder: Path,
    *,
    seed: int,
    start: Path | None = None,
    report: Callable[[dict], None] = lambda row: print(row, flush=True),
) -> list[dict]:
    """Train tokenizer and model by `settings` (`profile.policy`), save them in `folder`; the history, a list of rows.

    start: folder of the policy whose layers this one begins with (`transplant`); its recipe becomes part of the new
    one. The tokenizer is always trained anew, on the recipe's own corpus.
    A checkpoint is written every `settings.checkpoint_steps` steps beside the folder; training resumes from it.
    The data are drawn from the seed, so that a resumed run skips what it has seen by drawing it again.
    """
    import torch
    import torch.nn.functional as F
    from transformers import AutoModelForCausalLM

    pairs = corpus(settings.mixture, seed, settings.care)
    sample = corpus(settings.mixture, seed + 1, settings.care)
    tokenizer = train_tokenizer(["\n".join(next(sample)) for _ in range(20_000)], settings.vocab)
    model = new_model(settings, tokenizer, seed)
    if start is not None:
        source = load_weights(AutoModelForCausalLM, start, dtype=torch.float32)
        transplant(model, tokenizer, source, load_tokenizer(start))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    bf16 = bf16_pays(device)
    if device == "cpu" and bf16:
        use_fp32_attention(model)
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    steps = settings.tokens // settings.batch_tokens
    stream = batches(tokenizer, pairs, settings.batch_tokens, seed)
    checkpoint = folder.with_name(folder.name + ".checkpoint.pt")
    history, first = [], 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history, first = state["history"], state["step"]
        for _ in range(first):
            next(stream)
    began, seen, loss_sum, loss_count = time.monotonic(), 0, 0.0, 0
    for step in range(first, steps):
        ids, mask = (tensor.to(device) for tensor in next(stream))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, settings.learning_rate, round(settings.warmup * steps))
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = model.lm_head(hidden[:, :-1][mask[:, 1:]])
        loss = F.cross_entropy(logits.float(), ids[:, 1:][mask[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen, loss_sum, loss_count = seen + ids.numel(), loss_sum + loss.item(), loss_count + 1
        if (step + 1) % max(1, settings.checkpoint_steps // 10) == 0 or step + 1 == steps:
            speed = seen / (time.monotonic() - began)
            row = {"step": step + 1, "tokens": (step + 1) * settings.batch_tokens, "loss": loss_sum / loss_count}
            history.append(row)
            report({**row, "of": steps, "tokens_per_second": round(speed)})
            loss_sum, loss_count = 0.0, 0
        if (step + 1) % settings.checkpoint_steps == 0 and step + 1 < steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            temporary = checkpoint.with_suffix(".tmp")
            torch.save({**state, "history": history, "step": step + 1}, temporary)
            temporary.replace(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    recipe = settings.model_dump(exclude={"retrain"}) | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": seed,
        "device": device,
        "solution_loss": history[-1]["loss"],
        "history": history,
        "went_on_from": about(start) if start else None,
    }
    with atomic(folder / RECIPE) as temporary:
        temporary.write_text(json.dumps(recipe, indent=1))
    checkpoint.unlink(missing_ok=True)
    return history


def ensure_policies(run: Run) -> dict[str, str]:
    """Path of every policy of the profile; with `retrain` they are trained first, or found as an earlier try left them.

    A policy that begins with another's layers is trained after it.
    """
    if run.settings.retrain:
        waiting = {name: run.profile.recipe(name) for name in run.profile.policies}
        while waiting:
            ready = [name for name, recipe in waiting.items() if recipe.start not in waiting]
            if not ready:
                raise ValueError(
                    f"policy: {', '.join(waiting)} begin with each other's layers; expected one that does not"
                )
            for name in ready:
                _train_policy(run, name, waiting.pop(name))
    return {name: run.policy_path(name) for name in run.profile.policies}


def _train_policy(run: Run, name: str, recipe) -> None:
    start, sample, domain = None, run.profile.sample, run.profile.policies[name].domain
    key = {"recipe": recipe.model_dump(), "seed": run.seed, "sample": sample.model_dump(), "domain": domain}
    if recipe.start:
        start = Path(run.policy_path(recipe.start))
        key["start"] = digest(start)
    place = place_of(run.work(f"policy/{name}"), key, train)
    place.mkdir(exist_ok=True)
    weights = place / "weights"
    if not about(weights):
        train(recipe, weights, seed=run.seed, start=start)
    if "held_out" not in about(weights):
        record_quality(weights, sample, run.seed, domain=domain)
    with run.write_folder(f"policy/{name}", tokens=recipe.tokens) as folder:
        copy_folder(weights, folder)
    forget_others(place)


def record_quality(path: str | Path, sample, seed: int, count: int = 300, domain: Domain = "math") -> None:
    """Write what `held_out` finds on so many validation problems of each family into the policy's recipe."""
    problems = {family: load(family, "validation", count) for family in DOMAINS if DOMAINS[family] == domain}
    quality = held_out(load_engine(path), problems, sample, seed=seed)
    recipe = about(path) | {"held_out": quality.round(4).to_dict("records")}
    with atomic(Path(path) / RECIPE) as temporary:
        temporary.write_text(json.dumps(recipe, indent=1))


def about(path: str | Path) -> dict:
    """The recipe that made the policy in the folder: settings, seed, device, tokens seen, history of the loss. Empty
    where it was not made here, as those of the hub.
    """
    file = Path(path) / RECIPE
    return json.loads(file.read_text()) if file.is_file() else {}


def quality(recipes: Mapping[str, Mapping]) -> pd.DataFrame:
    """What the policies' recipes say of them on validation problems (`record_quality`): columns policy, problems, count
    and the shares of `held_out`. Policies that were not made here have no rows.
    """
    rows = [{"policy": name} | row for name, recipe in recipes.items() for row in recipe.get("held_out", [])]
    return pd.DataFrame(rows or None, columns=None if rows else ["policy", "problems", "greedy", "pass@16"])


def held_out(
    engine: Engine, problems: dict[str, list[Problem]], sample, *, seed: int, samples: int = 16
) -> pd.DataFrame:
    """How good the policy is: per set of problems its greedy accuracy, that of a single sample, pass@`samples`, and the
    share of greedy solutions that use only words of the problem and of its true solution ("copied").
    """
    rows = []
    for name, some in problems.items():
        prompts = encode_prompts(engine.tokenizer, [problem.prompt for problem in some])
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
        texts = [[engine.tokenizer.decode(c.ids, skip_special_tokens=True) for c in part] for part in (greedy, drawn)]
        first = np.array([grade(problem, text).correct for text, problem in zip(texts[0], some, strict=True)])
        right = np.array([grade(some[i // samples], text).correct for i, text in enumerate(texts[1])])
        right = right.reshape(len(some), samples)
        copied = np.mean([_copied(problem, text) for problem, text in zip(some, texts[0], strict=True)])
        rows.append((name, len(some), first.mean(), right.mean(), right.any(axis=1).mean(), copied))
    return pd.DataFrame(rows, columns=["problems", "count", "greedy", "single sample", f"pass@{samples}", "copied"])


def _copied(problem: Problem, text: str) -> bool:
    """Whether every word of the text stands in the problem, in its true solution, or may open a line or be part of any
    program.
    """
    words = {word.lower() for word in re.findall(r"[A-Za-z]+", text)}
    usual = programmer.VOCABULARY if problem.domain == "code" else {word.strip().lower() for word in ALTERNATIVES}
    return words <= usual | {word.lower() for word in re.findall(r"[A-Za-z]+", f"{problem.prompt} {problem.solution}")}
