"""The per-query ranks of real photographs are those of ten lines of brute force."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from vgray import Recipe, load_manifest
from vgray.models import Network, ensure_network
from vgray.places import open_store
from vgray.retrieval.description import FILE, Description, part_images
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.evaluation import evaluate
from vgray.retrieval.shards import IMAGE_SCHEMA, shards, write_table

pytestmark = pytest.mark.photos


def brute_force_ranks(
    queries: dict[Path, np.ndarray], database: dict[Path, np.ndarray], distance_m: float
) -> dict[Path, int]:
    """Return the rank, from 0, of each query's first positive, or -1; by names of files alone."""
    ranks = {}
    position = {
        path: np.array(path.name.split("@")[1:3], float) for path in {**queries, **database}
    }
    for query, described in queries.items():
        squared = {path: np.sum((described - other) ** 2) for path, other in database.items()}
        order = sorted(database, key=lambda path: (squared[path], path))
        away_m = [np.linalg.norm(position[path] - position[query]) for path in order]
        near = [rank for rank, metres in enumerate(away_m) if metres <= distance_m]
        ranks[query] = near[0] if near else -1
    return ranks


@pytest.fixture(scope="module")
def described(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Descriptors:
    """The validation photographs, described by pretrained layers of a ResNet-18."""
    weights = photos / "weights" / "resnet18_imagenet_to_layer3.safetensors"
    recipe = Recipe().with_settings(
        {"backbone.weights": str(weights), "image_size": [64, 64], "precision": "float32"}
    )
    ensure_network(recipe)
    manifest = load_manifest(photos / "sf_night_small")
    parts = {f"val-{role}": part_images(manifest, "val", role) for role in ("database", "queries")}
    folder = tmp_path_factory.mktemp("described")
    network = Network(recipe)
    description = Description(
        model="made", model_hash="a" * 64, recipe=recipe.to_dict(), dimension=network.dimension,
        data=str(photos / "sf_night_small"), fingerprint="b" * 64, query_method="resize",
        parts={part: table.num_rows for part, table in parts.items()}, dtype="float32",
        decoder_version=1,
    )  # fmt: skip
    for part, table in parts.items():
        pixels = np.array(open_store(table, recipe.image_size).pixels)
        images = table
        for name, values in {
            "brightness": pixels.mean(axis=(1, 2, 3)),
            "height_px": [64] * len(pixels),
            "width_px": [64] * len(pixels),
        }.items():
            images = images.append_column(name, pa.array(values, IMAGE_SCHEMA.field(name).type))
        found = network.describe(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
        for shard in shards(folder, part, len(found), description.shard_rows):
            rows = slice(shard.start, shard.stop)
            write_table(shard, description, images.slice(shard.start, shard.stop - shard.start),
                        found[rows], [], shard.file)  # fmt: skip
    (folder / FILE).write_text(description.to_json())
    return Descriptors(folder)


def float64(described: Descriptors, role: str) -> dict[Path, np.ndarray]:
    paths = described.images("val", role)["path"].to_pylist()
    vectors = described.load("val", role).astype(np.float64)
    return dict(zip(map(Path, paths), vectors, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("distance_m", [10.0, 25.0])
def test_each_query_has_the_rank_of_brute_force(described: Descriptors, distance_m: float) -> None:
    queries, database = float64(described, "queries"), float64(described, "database")
    assert (len(queries), len(database)) == (381, 280)
    expected = brute_force_ranks(queries, database, distance_m)
    evaluation = evaluate(described, "val", max_n=len(database), threads=1)
    paths = map(Path, evaluation.queries["path"].to_pylist())
    ranks = dict(zip(paths, evaluation.ranking.ranks(distance_m).tolist(), strict=True))
    assert ranks == expected
    for n in (1, 5, 10):
        hits = sum(0 <= rank < n for rank in expected.values())
        assert evaluation.recall(n, distance_m).recall == pytest.approx(100 * hits / 381)
    # Weights that were never trained for places still find many; random vectors would not.
    assert evaluation.recall(1, 25.0).recall > 40
