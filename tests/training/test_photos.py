"""Real photographs and real weights: numbers that must not move."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vgray import Recipe, load_manifest, load_model
from vgray.models import Network, ensure_network, save_checkpoint
from vgray.places import open_store
from vgray.retrieval import nearest, recall_at_n
from vgray.training import TrainingData

pytestmark = pytest.mark.photos


@pytest.mark.slow
def test_untrained_recall_with_partial_weights(photos: Path, tmp_path: Path) -> None:
    weights = photos / "weights" / "resnet18_imagenet_to_layer3.safetensors"
    recipe = Recipe().with_settings(
        {"backbone.weights": str(weights), "image_size": [128, 128], "precision": "float32"}
    )
    ensure_network(recipe)
    manifest = load_manifest(photos / "sf_night_small")
    split = np.array(manifest["split"].to_pylist())
    # One training image is enough: nothing is trained.
    table = manifest.take(np.append(np.flatnonzero(split == "val"), np.argmax(split == "train")))
    store = open_store(table, recipe.image_size)
    data = TrainingData.prepare(table, store)
    network = Network(recipe)
    images = torch.from_numpy(np.array(store.pixels)).permute(0, 3, 1, 2)
    descriptors = network.describe(images).numpy()
    ranked = nearest(descriptors[data.database_rows], descriptors[data.query_rows], 10)
    recall = recall_at_n(ranked, data.positives, [1, 5, 10])
    # At 160 px these weights are known to start near 72, 87 and 94.
    assert 66 < recall[1] < 77
    assert 80 < recall[5] < recall[10] < 97

    # Files give what the decoded store gives, and a checkpoint gives what the network gives.
    save_checkpoint(tmp_path / "model", network, {})
    model = load_model(tmp_path / "model", "cpu")
    again = model.describe(table["path"].to_pylist()[:8])
    torch.testing.assert_close(again, torch.from_numpy(descriptors[:8]), atol=1e-5, rtol=0)
