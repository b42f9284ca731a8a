"""How fast a recipe trains here, to say beforehand what it will cost."""

from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from vgray.models.devices import default_device
from vgray.models.network import Network
from vgray.recipe import Recipe
from vgray.training.batches import Batch, tuple_batch
from vgray.training.losses import LOSSES, TupleShape, compute_loss
from vgray.training.miners import MINERS
from vgray.training.optimizers import build_optimizer
from vgray.training.precision import settle_precision
from vgray.training.process import limited_threads

# On a CPU a few images tell as much as a whole batch, which may take a minute.
_PLACES_ON_CPU, _TUPLES_ON_CPU = 8, 2


class Speed(NamedTuple):
    """Images per second."""

    training: float
    describing: float


def measure_speed(recipe: Recipe, *, threads: int) -> Speed:
    """Time one step of training and one of describing on random images, after one to warm up.

    Args:
        recipe: its weights are not loaded.
        threads: for torch.
    """
    device = default_device()
    recipe = settle_precision(recipe.with_settings({"backbone.weights": "none"}), device)
    batch = _batch(recipe, few=device.type == "cpu")
    labels = torch.from_numpy(batch.labels).to(device)
    images = torch.randint(0, 256, (len(labels), 3, *recipe.image_size), dtype=torch.uint8)
    images = images.to(device, memory_format=torch.channels_last)
    network = Network(recipe).to(device)
    optimizer = build_optimizer(network, recipe)
    loss = LOSSES[recipe.loss.name](**recipe.loss.arguments()).to(device)
    miner = MINERS[recipe.miner.name](**recipe.miner.arguments())

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        mined = compute_loss(loss, miner, network(images), labels, batch.shape)
        mined.value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def describe() -> None:
        with torch.inference_mode(), network.evaluating():
            network(images)

    speeds = []
    with limited_threads(threads):
        for step in (train, describe):
            step()
            started = perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            speeds.append(len(labels) / (perf_counter() - started))
    return Speed(*speeds)


def _batch(recipe: Recipe, *, few: bool) -> Batch:
    """Return a batch as the recipe's, of as many images or of a few."""
    mining = recipe.mining
    if mining.name == "none":
        places = min(recipe.batch.places, _PLACES_ON_CPU) if few else recipe.batch.places
        labels = np.arange(places).repeat(recipe.batch.images_per_place)
        return Batch(np.arange(len(labels)), labels, labels)
    tuples = min(mining.tuples_per_batch, _TUPLES_ON_CPU) if few else mining.tuples_per_batch
    shape = TupleShape(mining.positives, mining.negatives, int(recipe.loss.name == "hphn"))
    return tuple_batch(np.arange(tuples * shape.size), shape)
