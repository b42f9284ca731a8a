"""NetVLAD's clusters: found by themselves, once, on the training split, and kept."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vgray import Recipe, UserError
from vgray.models import Network
from vgray.training import TrainingData, train
from vgray.training import trainer as trainer_module
from vgray.training.clusters import initialise_clusters


@pytest.fixture
def recipe(tiny: Recipe) -> Recipe:
    return tiny.with_settings({"aggregator.name": "netvlad", "aggregator.clusters_num": 6})


def loader(data: TrainingData, seen: list[int]) -> Callable[[NDArray[np.int64]], Tensor]:
    def load(rows: NDArray[np.int64]) -> Tensor:
        seen.extend(rows.tolist())
        return torch.from_numpy(data.pixels[rows]).permute(0, 3, 1, 2)

    return load


@pytest.mark.parametrize("name", ["netvlad", "crn"])
def test_clusters_are_of_the_training_images_local_features(
    recipe: Recipe, squares: TrainingData, name: str
) -> None:
    torch.manual_seed(0)
    network = Network(recipe.with_settings({"aggregator.name": name, "aggregator.clusters_num": 6}))
    statistics = {k: v.clone() for k, v in network.backbone.state_dict().items()}
    seen: list[int] = []
    assert initialise_clusters(network, loader(squares, seen), squares.train.rows, 0)
    assert set(seen) == set(squares.train.rows.tolist())  # fewer than 500: all of them, once
    assert len(seen) == len(squares.train.rows)
    assert network.training
    for key, value in network.backbone.state_dict().items():
        assert torch.equal(value, statistics[key]), key  # in evaluation mode
    # Maps of 4 x 4, fewer than 100 locations: all local features were clustered.
    with network.evaluating():
        maps = network.local_features(loader(squares, [])(squares.train.rows)).clone()
    local = functional.normalize(maps, dim=1).flatten(2).transpose(1, 2).reshape(-1, maps.shape[1])
    centroids = network.aggregator.centroids.detach()
    nearest = torch.cdist(local, centroids).argmin(dim=1)
    for k in range(6):  # a centroid is the mean of what is nearest to it
        torch.testing.assert_close(local[nearest == k].mean(0), centroids[k], atol=1e-2, rtol=0)
    directions = functional.normalize(centroids, dim=1)
    top = (local @ directions.T).sort(dim=1, descending=True).values
    alpha = -math.log(0.01) / (top[:, 0] - top[:, 1]).mean()
    torch.testing.assert_close(
        network.aggregator.conv.weight[:, :, 0, 0], alpha * directions, rtol=1e-3, atol=1e-3
    )


def test_the_seed_decides(recipe: Recipe, squares: TrainingData) -> None:
    def centroids(seed: int) -> Tensor:
        torch.manual_seed(0)
        network = Network(recipe)
        initialise_clusters(network, loader(squares, []), squares.train.rows, seed)
        return network.aggregator.centroids.detach()

    assert torch.equal(centroids(1), centroids(1))
    assert not torch.allclose(centroids(1), centroids(2))


def test_large_sets_are_sampled(recipe: Recipe, squares: TrainingData) -> None:
    network = Network(recipe)
    seen: list[int] = []
    many = np.concatenate([squares.train.rows] * 6)
    initialise_clusters(network, loader(squares, seen), many, 0)
    assert len(seen) == 500


def test_nothing_to_do_without_clusters(tiny: Recipe, squares: TrainingData) -> None:
    seen: list[int] = []
    assert not initialise_clusters(Network(tiny), loader(squares, seen), squares.train.rows, 0)
    assert not seen


def test_fewer_features_than_clusters(recipe: Recipe, squares: TrainingData) -> None:
    network = Network(recipe.with_settings({"aggregator.clusters_num": 17}))
    with pytest.raises(UserError, match=r"clusters_num: found 17, but .* only 16 local features"):
        initialise_clusters(network, loader(squares, []), squares.train.rows[:1], 0)


def test_clusters_are_found_once_and_a_resumed_training_has_them(
    tmp_path: Path, recipe: Recipe, squares: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*arguments: object) -> bool:
        calls.append(arguments)
        return initialise_clusters(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer_module, "initialise_clusters", counted)
    whole = list(train(recipe, squares, tmp_path / "whole", device="cpu"))
    assert len(calls) == 1
    interrupted = train(recipe, squares, tmp_path / "parts", device="cpu")
    for _ in range(2):
        next(interrupted)
    interrupted.close()
    assert len(calls) == 2
    resumed = list(train(recipe, squares, tmp_path / "parts", device="cpu"))
    assert len(calls) == 2
    for one, other in zip(whole, resumed, strict=True):
        assert one["loss"] == other["loss"]
        assert one["recall@1"] == other["recall@1"]
