"""An executor runs one transformers model over cache rows: it reads chunks of text and steps rows by one token.

It knows neither requests nor sampling. The local engine drives one for the policy, guided decoding a second for the
PRM: a PRM is the same backbone with a head of one output.

`Executor` goes through the model's own forward and so serves any causal language model with ordinary attention.
`asprm.engines.lean` does the same faster for Llama- and Mistral-style models; `load_executor` chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

from asprm.engines.graphs import Graphs
from asprm.engines.packed import reading_size
from asprm.engines.pieces import Piece, additive_mask, packs
from asprm.engines.rows import Rows, RowsCache, Shape

_KEPT = 0.9  # of the accelerator's free memory, for the cache


class Executor:
    """Runs `model` (a causal language model, or one with a token classification head) through its own forward.

    positions: how many tokens a sequence may have. block: this many neighbouring rows are attended over together, as
    far as the longest of them goes. ValueError: a model whose layers are not ordinary attention.
    """

    block = 2**31

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.eval()
        self.config = model.config.get_text_config()
        self.device = model.device
        self.positions = int(getattr(self.config, "max_position_embeddings", None) or 2**31)
        self.shape = self._shape()
        # The mask of each kind of layer, by how far back it sees; a model with one kind takes a plain tensor.
        window = getattr(self.config, "sliding_window", None) or self.positions
        kinds = set(getattr(self.config, "layer_types", None) or ())
        if not kinds:
            kinds = {"sliding_attention"} if window < self.positions else {"full_attention"}
        if kinds - {"full_attention", "sliding_attention"}:
            raise ValueError(f"executor: {type(model).__name__} has layers of kind {sorted(kinds)}, expected attention")
        self.windows = {kind: window if kind == "sliding_attention" else self.positions for kind in sorted(kinds)}
        self.pack = reading_size(self.device.type)
        self.graphs = Graphs() if self.device.type == "cuda" else None
        self._spare: list[Rows] = []  # memory of earlier caches

    @torch.inference_mode()
    def _shape(self) -> Shape:
        cache = DynamicCache()
        self.model(torch.zeros(1, 1, dtype=torch.long, device=self.device), past_key_values=cache, use_cache=True)
        layers = {(x.keys.shape[1], x.keys.shape[3], x.values.shape[3], x.keys.dtype) for x in cache.layers}
        if len(layers) != 1 or not all(type(x) is DynamicLayer for x in cache.layers):
            raise ValueError(
                f"executor: {type(self.model).__name__} does not keep keys and values of one shape in every layer; "
                "expected a model with ordinary attention"
            )
        ((heads, key_dim, value_dim, dtype),) = layers
        return Shape(len(cache.layers), heads, key_dim, value_dim, dtype, self.device)

    @contextmanager
    def lend(self) -> Iterator[Rows]:
        """A cache to use for a while. It may be one that was given back, as large as it was: new memory is slow."""
        rows = self._spare.pop() if self._spare else Rows(self.shape)
        try:
            yield rows
        finally:
            self._spare.append(rows)

    def fitting(self, length: int, held: int = 0) -> int:
        """How many rows of `length` tokens a GPU's memory holds, at least one; a CPU is taken to hold any number.

        held: bytes that will be given back. Half of what is free is left for forks, and for the cache of who guides.
        """
        if self.device.type != "cuda":
            return 2**31
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device) + held
        row = self.shape.layers * self.shape.width * self.shape.dtype.itemsize * length
        return max(1, int(_KEPT * free / 2) // row)

    @torch.inference_mode()
    def step(self, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, known: np.ndarray) -> torch.Tensor:
        """Append one token to each of the first B rows: the model's output for it, (B, V) float32.

        tokens, lengths: (B,) int64, the token and the row's length before it. known: lengths again, in host memory, so
        that the accelerator need not be asked. On CUDA the next step overwrites what this one returned.
        """
        longest = int(known.max()) + 1
        if self.graphs is not None:
            with self._kernels():
                return self.graphs.step(self._step, rows, tokens, lengths, longest)
        return self._step(rows, tokens, lengths, rows.visible(longest))

    def _step(self, rows: Rows, tokens: torch.Tensor, lengths: torch.Tensor, columns: int) -> torch.Tensor:
        """`step`, which reads the first `columns` columns."""
        count = len(tokens)
        at = torch.arange(count, device=self.device) * rows.length + lengths
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
    ) -> list[torch.Tensor] | None:
        """Append a chunk of ids to each row `index[i]`, which holds `starts[i]` tokens; chunks may be empty.

        branches: per row (M,) ids, each of which follows the chunk, sees it and what came before, and not the other
        branches. Returns the model's outputs for them, per row (M, V) float32; without branches, nothing. The row's
        length afterwards is starts[i] + len(chunks[i]): branches leave no trace.
        """
        nothing = np.empty(0, np.int32)
        pieces = [Piece(*x) for x in zip(index, starts, chunks, branches or [nothing] * len(chunks), strict=True)]
        rows.reserve(rows.count, max((x.start + len(x.ids) for x in pieces), default=0))
        outputs = [torch.empty(0)] * len(pieces)
        wanted = [i for i, piece in enumerate(pieces) if len(piece.ids)]
        for pack in packs([len(pieces[i].ids) for i in wanted], self.pack):
            with self._kernels():
                found = self._read(rows, [pieces[wanted[i]] for i in pack])
            for i, output in zip(pack, found, strict=True):
                outputs[wanted[i]] = output
        return None if branches is None else outputs

    def _read(self, rows: Rows, pieces: list[Piece]) -> Sequence[torch.Tensor]:
        # Rows are padded on the right; the padding lies beyond the row's length, where nothing looks.
        longest = max(len(piece.ids) for piece in pieces)
        batch = np.zeros((3, len(pieces), longest), np.int64)
        for i, piece in enumerate(pieces):
            batch[1:, i] = piece.start + np.arange(longest)
            batch[:, i, : len(piece.ids)] = piece.ids, piece.positions, piece.columns
        batch[1] = np.minimum(batch[1], self.positions - 1)
        columns = int(batch[2].max()) + 1
        rows.reserve(rows.count, columns)
        ids, positions, own = torch.from_numpy(batch).to(self.device)
        which = torch.tensor([piece.row for piece in pieces], device=self.device)
        at = (which[:, None] * rows.length + own).flatten()
        mask = self._mask(positions, own, rows.visible(columns))
        output = self._forward(rows, which, at, rows.visible(columns), ids, positions, mask)
        return [output[i, len(piece.chunk) : len(piece.ids)] for i, piece in enumerate(pieces)]

    def _kernels(self) -> AbstractContextManager:
        """On CUDA, attention by other kernels than cuDNN's: these are planned, even compiled, for each new shape, which
        took 0.07 to 1.4 seconds on an H100.
        """
        if self.device.type != "cuda":
            return nullcontext()
        return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])

    def _mask(
        self, positions: torch.Tensor, columns: torch.Tensor, visible: int
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Additive masks (B, 1, Q, visible): a token sees the columns before its position, and its own."""
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
    ) -> torch.Tensor:
        """The model's outputs (B, Q, V) in fp32 for ids (B, Q)."""
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=RowsCache(rows, rows_read, at, columns),
            use_cache=True,
        ).logits.float()
