"""Products with weights: right, and with the same bits for a row in any batch."""

import pytest
import torch

from asprm.engines.linear import linear


@pytest.fixture(autouse=True)
def one_thread():
    """One thread, as in the study's processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("outputs", "inputs"), [(192, 128), (128, 128), (768, 128), (128, 384), (1280, 128), (1, 128)])
@pytest.mark.parametrize("add", [False, True])
def test_a_row_is_the_same_in_any_batch(outputs, inputs, add):
    generator = torch.Generator().manual_seed(0)
    weight, x, plus = (
        torch.randn(shape, generator=generator) for shape in ((outputs, inputs), (700, inputs), (700, outputs))
    )
    whole = linear(x, weight, plus if add else None)
    exact = x.double() @ weight.double().t() + (plus.double() if add else 0)
    torch.testing.assert_close(whole.double(), exact, rtol=1e-5, atol=1e-4)
    for count in [*range(1, 70), 100, 333, 511]:
        for start in (0, 7):
            part = slice(start, start + count)
            # The same bits on the processors that were tried; on others the last digits may differ.
            found = linear(x[part], weight, plus[part] if add else None)
            torch.testing.assert_close(found, whole[part], rtol=1e-5, atol=1e-4)
