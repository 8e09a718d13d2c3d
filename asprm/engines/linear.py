"""Products with weights. On a CPU in fp32 they go through oneDNN, for speed and for sameness.

torch gives fp32 products to MKL, which on AMD processors uses half of the arithmetic units (measured on one core of an
EPYC with AVX-512: 108 GFLOP/s, oneDNN 250), and which rounds a row otherwise when few rows stand beside it. oneDNN
rounds a row the same whatever stands beside it, as long as there are two rows: so a single row is doubled.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: torch.Tensor, weight: torch.Tensor, plus: torch.Tensor | None = None) -> torch.Tensor:
    """x (N, in) times weight (out, in) transposed, (N, out); `plus` (N, out) is added."""
    if not (_ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 and len(x)):
        return F.linear(x, weight) if plus is None else torch.addmm(plus, x, weight.t())
    if len(x) == 1:
        return linear(x.expand(2, -1), weight, None if plus is None else plus.expand(2, -1))[:1]
    product = torch.ops.mkldnn._linear_pointwise
    if plus is None:
        return product(x, weight, None, "none", [], "")
    return product.binary(x, plus, weight, None, "add")
