"""Which aggregator, and how large?

All on one backbone, ResNet-18 without its last block, of which everything learns. Learning rates
that suit one aggregator need not suit another: compose with ``optimizers`` for a fair comparison.
Those that need a class token (``salad``, ``cls``) are in ``backbones``, and so are the published
networks that are cut or frozen otherwise.
"""

from typing import Any

BASE: dict[str, Any] = {"backbone.name": "resnet18", "backbone.crop_last": 1}


def _setting(name: str, **more: float) -> dict[str, Any]:
    return {f"aggregator.{key}": value for key, value in {"name": name, **more}.items()}


# By recall@1 on the test queries of SF-XS, best first; descriptor sizes as in the groups' code.
PUBLISHED: list[dict[str, Any]] = [
    # bracco2024, Figure 1: 53.1, freezing not printed; curello2023, optimizers: 51.7
    _setting("mixvpr", out_channels=256, mix_depth=4, mlp_ratio=1.0, out_rows=4),
    _setting("convap", out_channels=256, s1=2, s2=2),  # bracco2024, Figure 1: 41.2
    # dashti2024, Table 3: 28.8, cut at "con3", which may also mean one block earlier;
    # bracco2024, Figure 1: 20.7
    _setting("gem", p=3.0),
    _setting("avg"),  # bracco2024, Figure 1: 12.8
    # Without figures here: those of the first two are of networks frozen or cut otherwise.
    _setting("netvlad", clusters_num=64),  # alidousti2023, Table 6
    _setting("cosplace", out_dim=512),  # curello2023, aggregators
    _setting("crn", clusters_num=64),  # brief2022, variation c
]

NAMES = [
    "avg", "max", "rmac", "gem", "netvlad", "crn", "cosplace", "convap", "mixvpr", "boq", "seqpool",
]  # fmt: skip


def suggest(trial: Any) -> None:
    """Draw an aggregator and the settings that it has."""
    suggest_settings(trial, trial.suggest_categorical("aggregator.name", NAMES))


def suggest_settings(trial: Any, name: str) -> None:
    """Draw the settings of one aggregator."""
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
