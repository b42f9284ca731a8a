"""Networks: backbones, attention, aggregators, their weights, and checkpoints of them."""

from vgray.models.aggregators import AGGREGATORS
from vgray.models.attention import ATTENTION
from vgray.models.backbones import BACKBONES
from vgray.models.checkpoint import load_model, save_checkpoint
from vgray.models.initial import InitialWeights, ensure_network, load_initial
from vgray.models.network import Network

__all__ = [
    "AGGREGATORS",
    "ATTENTION",
    "BACKBONES",
    "InitialWeights",
    "Network",
    "ensure_network",
    "load_initial",
    "load_model",
    "save_checkpoint",
]
