"""CUDA graphs against steps that are launched kernel by kernel."""

import numpy as np
import pytest
import torch
from test_engines_local import SAMPLED, contexts, tiny

from asprm.engines.executors import load_executor
from asprm.engines.graphs import rounded
from asprm.engines.local import LocalEngine
from asprm.engines.protocol import Request, Sampling
from asprm.engines.rows import Rows

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def test_shapes_are_few_and_never_too_small():
    sizes = {rounded(n, 2) for n in range(1, 513)}
    assert sorted(sizes) == [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    assert all(n <= rounded(n, 2) <= max(2, 1.5 * n) for n in range(1, 2000))
    assert {rounded(n, 64) for n in range(1, 200)} == {64, 96, 128, 192, 256}


@needs_gpu
@pytest.mark.parametrize("kind", ["mistral", "mistral-window", "llama", "gpt_neox", "qwen2", "gemma2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_replayed_step_is_the_step(kind, dtype):
    executor = load_executor(tiny(kind).cuda().to(dtype))
    rng = np.random.default_rng(0)
    rows = Rows(executor.shape)
    rows.reserve(6, 64)
    for count in (5, 6, 3):
        for _ in range(6):
            state = np.stack([rng.integers(3, 40, count), rng.integers(1, 30, count)])
            tokens, lengths = torch.from_numpy(state).cuda()
            before = rows.store.clone()
            plain = executor._step(rows, tokens, lengths, rows.visible(32)).clone()
            written, rows.store[:] = rows.store.clone(), before
            found = executor.step(rows, tokens, lengths, state[1])
            torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 0.05)
            torch.testing.assert_close(rows.store[:, :count], written[:, :count])
    assert set(executor.graphs.made) == {(6, 64), (3, 64)}


@needs_gpu
def test_graphs_forget_memory_that_moved():
    engine = LocalEngine(tiny().cuda(), None, rows=4)
    some = [Request(c, len(c), i) for i, c in enumerate(contexts(*[5] * 12))]
    first = engine.generate(some, SAMPLED)
    graphs = engine.executor.graphs
    held = graphs.store
    assert graphs.made
    longer = [Request(c, len(c), i) for i, c in enumerate(contexts(*[40] * 12))]
    engine.generate(longer, Sampling(max_new_tokens=40))
    assert graphs.store is not held
    for a, b in zip(first, engine.generate(some, SAMPLED), strict=True):
        assert a.ids.tolist() == b.ids.tolist()


@needs_gpu
def test_fewer_rows_where_memory_holds_fewer(monkeypatch):
    engine = LocalEngine(tiny().cuda(), None, rows=64)
    shape = engine.executor.shape
    row = shape.layers * shape.width * 4 * 96
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (50 * row, 100 * row))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    with engine.batch(12) as batch:
        assert batch.limit == 22
    assert len(engine.generate([Request(c, 5, 0) for c in contexts(*[5] * 60)], SAMPLED)) == 60
