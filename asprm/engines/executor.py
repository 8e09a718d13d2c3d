"""An executor runs one transformers model over cache rows: it reads chunks of text and steps rows by one token.

It knows neither requests nor sampling. The local engine uses one for the policy, guided decoding a second one for the
PRM, which is a backbone with a head of one output.

`Executor` calls the model's own forward, and so serves any causal language model with ordinary attention.
`asprm.engines.lean` gives the same faster for models like Llama, Mistral and Qwen2; `load_executor` chooses.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

from asprm.engines.graphs import Graphs
from asprm.engines.packed import reading_size
from asprm.engines.pieces import Piece, additive_mask, batches
from asprm.engines.rows import Rows, RowsCache, Shape

_KEPT = 0.9  # share of the accelerator's free memory that the cache may take


class Executor:
    """Runs `model` (a causal language model, or one with a token classification head) through its own forward.

    positions: how many tokens a sequence may have.
    block: this many neighbouring rows attend together, each as far as the longest of them goes.
    windows: how many tokens each kind of attention layer sees.
    graphs: CUDA graphs of the step, on a GPU.
    ValueError: a model whose layers are not ordinary attention.
    """

    block = 2**31  # all rows

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.eval()
        self.config = model.config.get_text_config()
        self.device = model.device
        self.positions = int(getattr(self.config, "max_position_embeddings", None) or 2**31)
        self.shape = self._shape()
        window = getattr(self.config, "sliding_window", None) or self.positions
        kinds = set(getattr(self.config, "layer_types", None) or ())
        if not kinds:
            kinds = {"sliding_attention"} if window < self.positions else {"full_attention"}
        if kinds - {"full_attention", "sliding_attention"}:
            raise ValueError(f"executor: {type(model).__name__} has layers of kind {sorted(kinds)}, expected attention")
        self.windows = {kind: window if kind == "sliding_attention" else self.positions for kind in sorted(kinds)}
        self._chooses = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.pack = reading_size(self.device.type)
        self.graphs = Graphs() if self.device.type == "cuda" else None
        self._spare: list[Rows] = []  # caches that were given back

    @torch.inference_mode()
    def _shape(self) -> Shape:
        """The shape of a token in the cache, from reading one."""
        cache = DynamicCache()
        self.model(torch.zeros(1, 1, dtype=torch.long, device=self.device), past_key_values=cache, use_cache=True)
        shapes = {_layer_shape(layer) for layer in cache.layers}
        shape = shapes.pop() if len(shapes) == 1 else None
        if shape is None:
            raise ValueError(
                f"executor: {type(self.model).__name__} does not keep keys and values of one shape in every layer; "
                "expected a model with ordinary attention"
            )
        return Shape(len(cache.layers), *shape, self.device)

    @contextmanager
    def lend(self) -> Iterator[Rows]:
        """A cache to use for a while, if possible one that was given back, at its size: new memory is slow."""
        rows = self._spare.pop() if self._spare else Rows(self.shape)
        try:
            yield rows
        finally:
            self._spare.append(rows)

    def fitting(self, length: int, held: int = 0) -> int:
        """How many rows of `length` tokens a GPU's memory holds, at least one; on a CPU no number is too large.

        held: bytes that will be given back. Half of the free memory stays for forks and for the PRM's cache.
        """
        if self.device.type != "cuda":
            return 2**31
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device) + held
        row = self.shape.layers * self.shape.width * self.shape.dtype.itemsize * length
        return max(1, int(_KEPT * free / 2) // row)

    @torch.inference_mode()
    def step(self, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, known: np.ndarray) -> torch.Tensor:
        """Append one token to each of the first B rows; returns the model's outputs for it, (B, V) float32.

        tokens, lengths: (B,) int64, each row's token and the length before it. known: the lengths again, in host
        memory, so that nobody waits for the accelerator. On CUDA the next step overwrites the outputs.
        """
        longest = int(known.max()) + 1
        if self.graphs is not None:
            with self._kernels():
                return self.graphs.step(self._step, rows, tokens, lengths, longest)
        return self._step(rows, tokens, lengths, rows.visible(longest))

    def _step(self, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, columns: int) -> torch.Tensor:
        """`step` over the first `columns` columns. On CUDA a graph replays it: it must not wait for the accelerator."""
        count = len(tokens)
        at = torch.arange(count, device=self.device) * rows.length + lengths  # (B,), in `Rows.flat`
        mask = self._mask(lengths[:, None], lengths[:, None], columns)
        return self._forward(rows, slice(0, count), at, columns, tokens[:, None], lengths[:, None], mask)[:, 0]

    @torch.inference_mode()
    def read(
        self,
        rows: Rows,
        index: Sequence[int],
        starts: Sequence[int],
        chunks: Sequence[np.ndarray],
        branches: Sequence[np.ndarray] | None = None,
    ) -> list[torch.Tensor]:
        """Append a chunk of ids to each of several rows; returns the model's outputs for branches after the chunks.

        index: the rows, all different. starts: how many tokens each row holds before.
        chunks: per row (L,) ids to append, none or more.
        branches: per row (W,) ids, alternatives for the token after the chunk: a branch sees no other branch. They
            leave no trace: the row's length afterwards is start + L.
        Returns per row (W, V) float32, an empty tensor where there are no branches.
        """
        none = [np.empty(0, np.int32)] * len(chunks)
        pieces = [Piece(*x) for x in zip(index, starts, chunks, branches or none, strict=True)]
        rows.reserve(rows.count, max((x.start + len(x.ids) for x in pieces), default=0))
        outputs = [torch.empty(0)] * len(pieces)
        wanted = [i for i, piece in enumerate(pieces) if len(piece.ids)]
        for batch in batches([len(pieces[i].ids) for i in wanted], self.pack):
            with self._kernels():
                read = self._read(rows, [pieces[wanted[i]] for i in batch])
            for i, output in zip(batch, read, strict=True):
                outputs[wanted[i]] = output
        return outputs

    def _read(self, rows: Rows, pieces: list[Piece]) -> Sequence[torch.Tensor]:
        """The outputs for the branches of each piece, (W, V), from one forward."""
        # 1. Ids, positions and columns, (P, Q) each. The padding on the right is written beyond the row's length.
        longest = max(len(piece.ids) for piece in pieces)
        batch = np.zeros((3, len(pieces), longest), np.int64)
        for i, piece in enumerate(pieces):
            batch[1:, i] = piece.start + np.arange(longest)
            batch[:, i, : len(piece.ids)] = piece.ids, piece.positions, piece.columns
        batch[1] = np.minimum(batch[1], self.positions - 1)
        columns = int(batch[2].max()) + 1
        rows.reserve(rows.count, columns)
        ids, positions, own = torch.from_numpy(batch).to(self.device)
        # 2. The forward, with outputs at the places of branches only: a large vocabulary makes them costly.
        places = sorted({k for piece in pieces for k in range(len(piece.chunk), len(piece.ids))}) or [0]
        which = torch.tensor([piece.row for piece in pieces], device=self.device)
        at = (which[:, None] * rows.length + own).flatten()  # (P · Q,), in `Rows.flat`
        mask = self._mask(positions, own, rows.visible(columns))
        output = self._forward(rows, which, at, rows.visible(columns), ids, positions, mask, places)
        index = {place: k for k, place in enumerate(places)}
        return [
            output[i, [index[k] for k in range(len(piece.chunk), len(piece.ids))]] for i, piece in enumerate(pieces)
        ]

    def _kernels(self) -> AbstractContextManager:
        """On CUDA, attention without cuDNN's kernels: to plan or compile them took 0.07 to 1.4 seconds on an H100, for
        every new shape.
        """
        if self.device.type != "cuda":
            return nullcontext()
        return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])

    def _mask(
        self, positions: torch.Tensor, columns: torch.Tensor, visible: int
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Additive masks (B, 1, Q, visible): one, or one for each kind of layer where a model has several."""
        masks = {}
        for kind, window in self.windows.items():
            masks[kind] = additive_mask(positions, columns, visible, window, self.shape.dtype)[:, None]
        return masks if len(masks) > 1 else masks.popitem()[1]

    def _forward(
        self,
        rows: Rows,
        rows_read: slice | torch.Tensor,
        at: torch.Tensor,
        columns: int,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | dict[str, torch.Tensor],
        places: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """The model's outputs (B, P, V) in fp32 for ids and positions (B, Q), at P places of the Q (None: all).

        Other arguments as for `RowsCache`.
        """
        chosen = None if places is None else torch.tensor(places, device=self.device)
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=RowsCache(rows, rows_read, at, columns),
            use_cache=True,
            **({"logits_to_keep": chosen} if self._chooses and chosen is not None else {}),
        ).logits
        return (output if self._chooses or chosen is None else output[:, chosen]).float()


def _layer_shape(layer: object) -> tuple[int, int, int, torch.dtype] | None:
    """Heads, key and value dimensions and number format of a layer; None for a layer other than ordinary attention."""
    if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
        return None
    return layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3], layer.keys.dtype
