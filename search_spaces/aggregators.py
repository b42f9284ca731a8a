"""Which aggregator, and how large?

All on one backbone, ResNet-18 without its last block, as in the studies. Learning rates that suit
one aggregator need not suit another: compose with ``optimizers`` for a fair comparison. Those that
need a class token (``salad``, ``cls``) are in ``backbones``.
"""

from typing import Any

BASE: dict[str, Any] = {"backbone.name": "resnet18", "backbone.crop_last": 1}

WHOLE = {"backbone.crop_last": 0}


def _setting(name: str, backbone: dict[str, int] | None = None, **more: float) -> dict[str, Any]:
    values = {"name": name, **more}
    return {f"aggregator.{key}": value for key, value in values.items()} | (backbone or {})


# Recall@1 on the test queries of SF-XS, best first; descriptor sizes as in the groups' code.
PUBLISHED: list[dict[str, Any]] = [
    # bracco2024, Figure 1: 53.1; curello2023, optimizers: 51.7
    _setting("mixvpr", out_channels=256, mix_depth=4, mlp_ratio=1.0, out_rows=4),
    _setting("convap", out_channels=256, s1=2, s2=2),  # bracco2024, Figure 1: 41.2
    _setting("netvlad", clusters_num=64),  # alidousti2023, Table 6: 36.6
    # curello2023, removed layers, none: 33.0
    _setting("mixvpr", WHOLE, out_channels=512, mix_depth=4, mlp_ratio=1.0, out_rows=4),
    _setting("convap", WHOLE, out_channels=512, s1=2, s2=2),  # curello2023, aggregators: 32.8
    _setting("gem", WHOLE, p=3.0),  # curello2023, aggregators: 31.0
    # curello2023, removed layers 3 and 4: 30.8
    _setting("mixvpr", {"backbone.crop_last": 2}, out_channels=128, mix_depth=4, out_rows=4),
    _setting("avg", WHOLE),  # curello2023, baseline: 30.6
    _setting("cosplace", WHOLE, out_dim=512),  # curello2023, aggregators: 30.1
    # dashti2024, Table 3: 28.8; bracco2024, Figure 1: 20.7; alidousti2023, Table 6: 12.0
    _setting("gem", p=3.0),
    _setting("avg"),  # bracco2024, Figure 1: 12.8
    _setting("crn", clusters_num=64),  # brief2022, variation c, proposed without figures
]

NAMES = [
    "avg", "max", "rmac", "gem", "netvlad", "crn", "cosplace", "convap", "mixvpr", "boq", "seqpool",
]  # fmt: skip


def suggest(trial: Any) -> None:
    """Draw an aggregator and the settings that it has."""
    name = trial.suggest_categorical("aggregator.name", NAMES)
    if name == "rmac":
        trial.suggest_int("aggregator.levels", 1, 4)
    elif name == "gem":
        trial.suggest_float("aggregator.p", 1.0, 8.0)
    elif name in ("netvlad", "crn"):
        trial.suggest_categorical("aggregator.clusters_num", [16, 32, 64, 128])
    elif name == "cosplace":
        trial.suggest_categorical("aggregator.out_dim", [128, 256, 512, 1024, 2048])
    elif name == "convap":
        trial.suggest_categorical("aggregator.out_channels", [128, 256, 512, 1024])
        trial.suggest_int("aggregator.s1", 1, 4)
        trial.suggest_int("aggregator.s2", 1, 4)
    elif name == "mixvpr":
        trial.suggest_categorical("aggregator.out_channels", [64, 128, 256, 512])
        trial.suggest_int("aggregator.mix_depth", 1, 8)
        trial.suggest_categorical("aggregator.mlp_ratio", [0.5, 1.0, 2.0])
        trial.suggest_int("aggregator.out_rows", 1, 8)
    elif name == "boq":
        trial.suggest_categorical("aggregator.proj_channels", [128, 256, 512])
        trial.suggest_categorical("aggregator.num_queries", [16, 32, 64])
        trial.suggest_int("aggregator.num_layers", 1, 3)
        trial.suggest_categorical("aggregator.row_dim", [8, 16, 32])
