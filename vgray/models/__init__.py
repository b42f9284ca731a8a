"""Networks: backbones, attention, aggregators, their weights, and checkpoints of them."""

from vgray.models.aggregators import AGGREGATORS
from vgray.models.attention import ATTENTION
from vgray.models.backbones import BACKBONES
from vgray.models.checkpoint import load_model, save_checkpoint
from vgray.models.network import Network, ensure_network

__all__ = [
    "AGGREGATORS",
    "ATTENTION",
    "BACKBONES",
    "Network",
    "ensure_network",
    "load_model",
    "save_checkpoint",
]
