"""Losses and tuple mining on the same data, network, epochs and seed: speed and recall, as a table.

    python benchmarks/losses.py
    python benchmarks/losses.py contrastive "tuples full" --data DATA --set aggregator.name=netvlad

What is given with --set holds for every row that has such a setting and does not settle it itself:
of loss.margin the losses with a margin, of mining the rows of tuples, of miner those of places,
which have none unless one is set. Recall is of the best epoch, with its 95 % interval. Images/s are
those trained on, mining apart.
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
from vgray.settings import flatten_settings
from vgray.training import TrainingData, train

LOSSES: dict[str, dict[str, Any]] = {
    "contrastive": {"loss.name": "contrastive"},
    "triplet 0.1": {"loss.name": "triplet", "loss.margin": 0.1},
    "triplet 1.0": {"loss.name": "triplet", "loss.margin": 1.0},
    "multi-similarity 1/50/0": {"loss.name": "multi_similarity"},
    "multi-similarity 2/50/0.5": {
        "loss.name": "multi_similarity",
        "loss.alpha": 2.0,
        "loss.base": 0.5,
    },
    "sare joint": {"loss.name": "sare_joint"},
}
MINING: dict[str, dict[str, Any]] = {
    f"tuples {name}": {"loss.name": "weak_triplet", "mining.name": name, "miner.name": "none"}
    for name in ("random", "partial", "full")
}
_FAMILIES = ("loss", "miner", "mining")
_NO_MINER = {"miner.name": "none"}


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
        given = parse_settings(set_ or [])
        for key in ("loss.name", "mining.name"):
            if key in given:
                raise UserError(f"--set {key}: the rows settle it; name the rows to train instead")
        demo = DEMO_SETTINGS if data is None else {}
        chosen = {name: rows[name] for name in names or rows}
        nowhere = given.keys() - {key for row in chosen.values() for key in _open(row, given)}
        if nowhere:
            raise UserError(f"--set {min(nowhere)}: none of the rows has it open; leave it out")
        recipes = {name: _recipe(row, {**demo, **given}) for name, row in chosen.items()}
        base = next(iter(recipes.values()))
        manifest = load_training_data([data or demo_city()])
        store = open_store(manifest, base.image_size)
        prepared = TrainingData.prepare(manifest, store, base.evaluation.distance_m)
        say("| trained with | images/s | mining, s per epoch | s per epoch | R@1 [95 %] | epoch |")
        say("|---|---|---|---|---|---|")
        for name, recipe in recipes.items():
            with tempfile.TemporaryDirectory() as folder:
                say(f"| {name} | {_row(recipe, prepared, Path(folder))} |")


def _recipe(row: dict[str, Any], given: dict[str, Any]) -> Recipe:
    return Recipe().with_settings({**_NO_MINER, **_open(row, given), **row})


def _open(row: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return what is given that a row's methods have and the row does not settle."""
    miner = {key: given[key] for key in given.keys() & _NO_MINER.keys()}
    known = flatten_settings(Recipe().with_settings({**_NO_MINER, **miner, **row}).to_dict())
    return {
        key: value
        for key, value in given.items()
        if key not in row and (key in known or key.partition(".")[0] not in _FAMILIES)
    }


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
