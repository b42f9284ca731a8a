"""Attention between backbone and aggregator: (B, C, H, W) -> (B, C, H, W), maps of any size."""

from torch import nn

from vgray.models.attention.adaptive import AdaptiveAttention
from vgray.models.attention.cbam import CBAM
from vgray.models.attention.non_local import NonLocal
from vgray.models.attention.second_order import SecondOrderAttention

ATTENTION: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "adageo": AdaptiveAttention,
    "cbam": CBAM,
    "non_local": NonLocal,
    "soa": SecondOrderAttention,
}

__all__ = ["ATTENTION", "CBAM", "AdaptiveAttention", "NonLocal", "SecondOrderAttention"]
