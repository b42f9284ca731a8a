"""Every aggregator on the same data, backbone, epochs and seed: cost and recall, as a table.

    python benchmarks/aggregators.py
    python benchmarks/aggregators.py gem netvlad --data DATA --set backbone.weights=resnet18.pth

Recall is of the best epoch, with its 95 % interval. The time for one image is a forward pass in
evaluation, of 64 images at once, on all cores.
"""

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import torch
import typer

from search_spaces.demo import DEMO_SETTINGS
from vgray.console import demo_city, parse_settings, say, user_errors
from vgray.models import AGGREGATORS, Network, load_model
from vgray.places import load_training_data, open_store
from vgray.recipe import Recipe
from vgray.training import TrainingData, best_checkpoint, train

_BLOCK = 64
_REPEATS = 5


def compare(
    names: Annotated[
        list[str] | None, typer.Argument(help="Default: all that need no class token.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Default: the demo city.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A recipe setting.")] = None,
) -> None:
    """Train each aggregator and print a table."""
    with user_errors():
        base = Recipe().with_settings(
            {**(DEMO_SETTINGS if data is None else {}), **parse_settings(set_ or [])}
        )
        names = names or [name for name, cls in AGGREGATORS.items() if not cls.needs_token]
        recipes = [base.with_settings({"aggregator.name": name}) for name in names]
        manifest = load_training_data([data or demo_city()])
        store = open_store(manifest, base.image_size)
        prepared = TrainingData.prepare(manifest, store, base.evaluation.distance_m)
        say("| aggregator | dimension | parameters | ms per image | R@1 [95 %] | s per epoch |")
        say("|---|---|---|---|---|---|")
        for recipe in recipes:
            with tempfile.TemporaryDirectory() as folder:
                say(_row(recipe, prepared, Path(folder)))


def _row(recipe: Recipe, data: TrainingData, folder: Path) -> str:
    epochs = list(train(recipe, data, folder))
    best = max(epochs, key=lambda metrics: metrics["recall@1"])
    network = load_model(best_checkpoint(folder))
    parameters = sum(p.numel() for p in network.aggregator.parameters())
    recall = f"{best['recall@1']:.1f} [{best['recall@1_low']:.1f}, {best['recall@1_high']:.1f}]"
    seconds = median(metrics["seconds"] for metrics in epochs)
    return (
        f"| {recipe.aggregator.name} | {network.dimension:,} | {parameters:,} | "
        f"{_ms_per_image(network):.2f} | {recall} | {seconds:.1f} |"
    )


def _ms_per_image(network: Network) -> float:
    """Return the median over a few passes, after one to warm up."""
    images = torch.randint(0, 256, (_BLOCK, 3, *network.recipe.image_size), dtype=torch.uint8)
    images = images.to(network.device, memory_format=torch.channels_last)
    seconds = []
    with network.evaluating():
        for _ in range(_REPEATS + 1):
            started = perf_counter()
            network(images)
            if network.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(perf_counter() - started)
    return 1000 * median(seconds[1:]) / _BLOCK


if __name__ == "__main__":
    typer.run(compare)
