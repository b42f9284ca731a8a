"""A city of 34 places made of coloured squares, 32 px: small enough to train on in a second."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vgray import Recipe
from vgray.places.train_split import TrainSplit
from vgray.training import TrainingData, train

SIZE = 32


def make_data(fingerprint: str = "squares", size: int = SIZE) -> TrainingData:
    """24 places with 3 database images and 2 queries to train on; 10 with 2 and 1 to score."""
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (34, 4, 4, 3))

    def photo(place: int) -> np.ndarray:
        image = np.kron(squares[place], np.ones((size // 4, size // 4, 1)))
        image = np.roll(image, rng.integers(-3, 4), axis=1) * rng.uniform(0.7, 1.2)
        return np.clip(image + rng.normal(0, 20, image.shape), 0, 255).astype(np.uint8)

    train = np.repeat(np.arange(24), 5)
    val = np.concatenate([np.repeat(np.arange(24, 34), 2), np.arange(24, 34)])
    return TrainingData(
        pixels=np.stack([photo(place) for place in (*train, *val)]),
        train=TrainSplit(
            rows=np.arange(120),
            place_ids=train,
            positions_m=np.stack([train * 100.0, np.zeros(120)], axis=1),
            is_query=np.arange(120) % 5 >= 3,
            is_database=np.arange(120) % 5 < 3,
            is_night=np.arange(120) % 10 == 4,
            is_sideways=np.zeros(120, bool),
        ),
        database_rows=np.arange(120, 140),
        query_rows=np.arange(140, 150),
        positives=[np.array([2 * i, 2 * i + 1]) for i in range(10)],
        distance_m=25.0,
        fingerprint=fingerprint,
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread: on busy cores, threads that wait for each other cost minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def squares() -> TrainingData:
    return make_data()


@pytest.fixture
def tiny() -> Recipe:
    """A recipe that trains two batches of 32 px a second or so."""
    return Recipe.from_dict(
        {
            "image_size": [SIZE, SIZE],
            "backbone": {"name": "resnet18", "weights": "none", "crop_last": 2},
            "batch": {"places": 8},
            "epochs": 4,
            "precision": "float32",
        }
    )


@pytest.fixture
def trained(tmp_path: Path, tiny: Recipe, squares: TrainingData) -> tuple[Path, list[dict]]:
    """The folder of a training that has ended, and its metrics."""
    folder = tmp_path / "trained"
    return folder, list(train(tiny, squares, folder, device="cpu"))
