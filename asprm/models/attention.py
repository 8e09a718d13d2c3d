"""Attention in fp32 under bf16 autocast, for training on CPUs.

On CPUs bf16 matrix products are five times faster than fp32's, but the bf16 backward of fused attention is five times
slower than fp32's. This makes both fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

NAME = "sdpa_fp32"  # under which transformers knows it


def use_fp32_attention(model: PreTrainedModel) -> None:
    """Make a transformers model compute attention in fp32, also under autocast; the results are those of `sdpa`."""
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def forward(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        with torch.autocast(query.device.type, enabled=False):
            return sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **options)

    AttentionInterface.register(NAME, forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
