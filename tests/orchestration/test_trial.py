"""What a trainer process keeps from one trial to the next."""

from pathlib import Path

import pytest

from vgray.orchestration import trial
from vgray.places import fingerprint, for_training, load_manifest
from vgray.recipe import Recipe


def test_the_data_of_the_last_image_sizes_is_kept(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_process", trial._Process())
    manifest = for_training(load_manifest(str(tiny_city)))
    name = fingerprint(manifest)
    sizes = [32 + i for i in range(trial.KEPT_DATA + 1)]
    recipes = [Recipe().with_settings({"image_size": size}) for size in sizes]
    data = [trial._training_data(manifest, name, recipe) for recipe in recipes[:-1]]
    assert trial._training_data(manifest, name, recipes[0]) is data[0]
    newest = trial._training_data(manifest, name, recipes[-1])
    assert newest.pixels.shape[1:3] == (sizes[-1], sizes[-1])
    kept = [size for _, (size, _), _ in trial._process.data]
    assert kept == [*sizes[2:-1], sizes[0], sizes[-1]]
    assert trial._training_data(manifest, name, recipes[1]) is not data[1]
