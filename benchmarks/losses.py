"""Losses and tuple mining on the same data, network, epochs and seed: speed and recall, as a table.

    python benchmarks/losses.py
    python benchmarks/losses.py contrastive "tuples, full" --data DATA --set aggregator.name=netvlad

Recall is of the best epoch, with its 95 % interval. Images/s are those trained on, mining apart.
Batches of places have no miner, unless one is set.
"""

import tempfile
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import typer

from search_spaces.demo import DEMO_SETTINGS
from vgray.console import demo_city, parse_settings, say, user_errors
from vgray.errors import UserError
from vgray.places import load_training_data, open_store
from vgray.recipe import Recipe
from vgray.training import TrainingData, train

LOSSES: dict[str, dict[str, Any]] = {
    "contrastive": {"loss.name": "contrastive"},
    "triplet 0.1": {"loss.name": "triplet", "loss.margin": 0.1},
    "triplet 1.0": {"loss.name": "triplet", "loss.margin": 1.0},
    "multi-similarity 1, 50, 0": {"loss.name": "multi_similarity"},
    "multi-similarity 2, 50, 0.5": {
        "loss.name": "multi_similarity",
        "loss.alpha": 2.0,
        "loss.base": 0.5,
    },
    "sare joint": {"loss.name": "sare_joint"},
}
MINING: dict[str, dict[str, Any]] = {
    f"tuples, {name}": {"loss.name": "weak_triplet", "mining.name": name}
    for name in ("random", "partial", "full")
}


def compare(
    names: Annotated[list[str] | None, typer.Argument(help="Rows. Default: all.")] = None,
    data: Annotated[str | None, typer.Option(help="Default: the demo city.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A recipe setting.")] = None,
) -> None:
    """Train with each loss and kind of mining, and print a table."""
    with user_errors():
        rows = LOSSES | MINING
        unknown = sorted({*(names or [])} - rows.keys())
        if unknown:
            raise UserError(f"{unknown[0]}: no such row; known are {', '.join(rows)}")
        demo = DEMO_SETTINGS if data is None else {}
        given = {**demo, "miner.name": "none", **parse_settings(set_ or [])}
        chosen = {name: rows[name] for name in names or rows}
        # What is given holds for every row that has such a setting.
        recipes = {name: _recipe(given, settings) for name, settings in chosen.items()}
        base = next(iter(recipes.values()))
        manifest = load_training_data([data or demo_city()])
        store = open_store(manifest, base.image_size)
        prepared = TrainingData.prepare(manifest, store, base.evaluation.distance_m)
        say("| trained with | images/s | mining, s per epoch | s per epoch | R@1 [95 %] | epoch |")
        say("|---|---|---|---|---|---|")
        for name, recipe in recipes.items():
            with tempfile.TemporaryDirectory() as folder:
                say(f"| {name} | {_row(recipe, prepared, Path(folder))} |")


def _recipe(given: dict[str, Any], settings: dict[str, Any]) -> Recipe:
    is_mined = "mining.name" in settings
    fitting = {key: value for key, value in given.items() if is_mined or key[:7] != "mining."}
    return Recipe().with_settings({**fitting, **settings})


def _row(recipe: Recipe, data: TrainingData, folder: Path) -> str:
    epochs = list(train(recipe, data, folder))
    best = max(epochs, key=lambda metrics: metrics["recall@1"])
    recall = f"{best['recall@1']:.1f} [{best['recall@1_low']:.1f}, {best['recall@1_high']:.1f}]"
    mining = "–"
    if "mining_seconds" in best:
        mining = f"{fmean(metrics['mining_seconds'] for metrics in epochs):.1f}"
    speed, seconds = (median(m[key] for m in epochs) for key in ("images_per_s", "seconds"))
    return f"{speed:.0f} | {mining} | {seconds:.1f} | {recall} | {best['epoch']}"


if __name__ == "__main__":
    typer.run(compare)
