"""Aggregators: from a map of features to one descriptor of length 1.

Constructor arguments and state-dict keys are those of the published implementations, so that
published weights load.
"""

from vgray.models.aggregators.base import Aggregator
from vgray.models.aggregators.boq import BoQ
from vgray.models.aggregators.mixvpr import MixVPR
from vgray.models.aggregators.netvlad import CRN, NetVLAD
from vgray.models.aggregators.pooling import RMAC, Average, GeM, Maximum
from vgray.models.aggregators.projected import ConvAP, CosPlace
from vgray.models.aggregators.salad import SALAD
from vgray.models.aggregators.tokens import ClassToken, SequencePool

AGGREGATORS: dict[str, type[Aggregator]] = {
    "avg": Average,
    "max": Maximum,
    "rmac": RMAC,
    "gem": GeM,
    "netvlad": NetVLAD,
    "crn": CRN,
    "cosplace": CosPlace,
    "convap": ConvAP,
    "mixvpr": MixVPR,
    "boq": BoQ,
    "salad": SALAD,
    "cls": ClassToken,
    "seqpool": SequencePool,
}

__all__ = [
    "AGGREGATORS",
    "CRN",
    "RMAC",
    "SALAD",
    "Aggregator",
    "Average",
    "BoQ",
    "ClassToken",
    "ConvAP",
    "CosPlace",
    "GeM",
    "Maximum",
    "MixVPR",
    "NetVLAD",
    "SequencePool",
]
