"""Products with weights. In fp32 on a CPU: by the faster library, and with the same bits for a row in any batch.

torch gives fp32 products to MKL, which uses AVX-512 on Intel's processors and not on AMD's. On one core of an EPYC that
has AVX-512, MKL reached 108 GFLOP/s and oneDNN 250: there oneDNN computes. Elsewhere MKL is as fast or faster. With
AVX2 both reach 85 to 90 GFLOP/s per core from 128 rows on, with Intel's AVX-512 about 150; at 8 to 32 rows MKL does two
to three times as much as oneDNN, which also keeps code for every new shape.

From a least number of rows on, both round a row the same whatever the other rows are (measured on an EPYC with AVX2 and
a Xeon with AVX-512); fewer rows are padded up to that number. The exception is MKL with a single output, a matrix times
a vector: this goes to oneDNN everywhere. On an Intel processor with AVX2 alone the last digits may depend on the batch.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F


def _made_by_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux: a Mac, whose only processors with AVX-512 are Intel's
        return True


_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_WIDE = torch.backends.cpu.get_cpu_capability() == "AVX512" and not _made_by_intel()
_FEW = 16  # rows; MKL rounds otherwise below (on the EPYC below 4), oneDNN below 2


def linear(x: torch.Tensor, weight: torch.Tensor, plus: torch.Tensor | None = None) -> torch.Tensor:
    """x (N, in) times the transpose of weight (out, in), plus `plus` (N, out): (N, out)."""
    if not (_ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 and len(x)):
        return F.linear(x, weight) if plus is None else torch.addmm(plus, x, weight.t())
    if len(x) < _FEW:
        padded = x.new_zeros(_FEW, x.shape[1])
        padded[: len(x)] = x
        product = linear(padded, weight)[: len(x)]
        return product if plus is None else product + plus
    if _WIDE or len(weight) == 1:
        product = torch.ops.mkldnn._linear_pointwise
        if plus is not None:
            return product.binary(x, plus, weight, None, "add")
        return product(x, weight, None, "none", [], "")
    product = F.linear(x, weight)
    return product if plus is None else product.add_(plus)
