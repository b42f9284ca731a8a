"""What an extraction is asked for, and who does the work; without Ray."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from extraction_models import request_for, small_model

from vgray.errors import UserError
from vgray.orchestration import describing, extraction_pipeline
from vgray.orchestration.extraction import extract
from vgray.orchestration.extraction_pipeline import Pool, size_pool
from vgray.orchestration.extraction_request import describe_request
from vgray.places import load_manifest
from vgray.retrieval import descriptors

GB = 10**9


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.mark.parametrize(
    ("resources", "pool"),
    [
        ({"CPU": 2, "memory": 16 * GB}, Pool(2, 0, 1, 2)),
        ({"CPU": 1, "memory": 16 * GB}, Pool(1, 0, 1, 1)),
        ({"CPU": 16, "memory": 8 * GB}, Pool(4, 0, 4, 16)),
        ({"CPU": 16, "memory": GB}, Pool(1, 0, 16, 16)),
        ({"CPU": 16, "GPU": 2, "memory": 64 * GB}, Pool(2, 1, 1, 16)),
    ],
)
def test_the_pool_is_sized_from_the_cluster(resources: dict[str, float], pool: Pool) -> None:
    assert size_pool(resources) == pool
    assert pool.device == (None if "GPU" in resources else "cpu")


def test_a_request_says_what_its_folder_will_be(
    model: Path, tiny_city: Path, tmp_path: Path
) -> None:
    manifest = load_manifest(tiny_city)
    request = request_for(model, tiny_city, tmp_path / "out")
    description = describe_request(request, manifest)
    assert sum(description.parts.values()) == sum(
        split != "test" for split in manifest["split"].to_pylist()
    )
    assert (description.dimension, description.dtype) == (128, "float16")
    larger = describe_request(replace(request, settings={"image_size": [64, 64]}), manifest)
    assert larger.recipe["image_size"] == [64, 64]
    assert larger.identity["model_hash"] != description.identity["model_hash"]


def test_training_images_are_taken_evenly(model: Path, tiny_city: Path, tmp_path: Path) -> None:
    manifest = load_manifest(tiny_city)
    request = request_for(model, tiny_city, tmp_path / "out", splits=("train",), train_images=10)
    assert describe_request(request, manifest).parts == {"train-database": 5, "train-queries": 5}
    all_parts = describe_request(replace(request, train_images=10**6), manifest).parts
    assert sum(all_parts.values()) == manifest["split"].to_pylist().count("train")


def test_a_split_that_is_not_there_is_named(model: Path, tiny_city: Path, tmp_path: Path) -> None:
    request = request_for(model, tiny_city, tmp_path / "out", splits=("night",))
    with pytest.raises(UserError, match=r"no images in split 'night', only in test, train, val"):
        extract(request)
    assert not (tmp_path / "out").exists() and not ray.is_initialized()


def test_a_fault_of_the_system_is_no_unreadable_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, *_: object) -> None:
        raise UserError(f"cannot read {path}: too many open files; see to that and start again")

    monkeypatch.setattr(describing, "read_views", fail)
    block = pa.table(
        {
            "request": [1] * 2,
            "part": ["val-database"] * 2,
            "row": [4, 5],
            "path": ["a.jpg", "b.jpg"],
        }
    )
    work = describing.Work(
        Path("model"), "0" * 64, {}, "float16", (32, 32), {"val-database": "resize"}
    )
    read = describing.Read([replace(work, methods={}), work])(block)
    assert read["is_fault"].to_pylist() == [True, True]
    assert "cannot read a.jpg: too many open files" in read["reason"][1].as_py()


def test_a_million_images_are_few_inputs_in_order() -> None:
    work = describing.Work(
        Path("model"), "0" * 64, {}, "float16", (480, 640), {"test-database": "resize"}
    )
    shards = descriptors.shards(Path("out"), "test-database", 10**6, 1024)
    missing = [extraction_pipeline.Missing(work, {}, shards)] * 2
    spans = extraction_pipeline._spans(missing, Pool(1, 0, 1, 1))
    inputs = extraction_pipeline._inputs(spans)
    assert len(inputs) <= extraction_pipeline._MOST_INPUTS + 2
    read = [row for table in inputs for row in table.to_pylist()]
    assert [(row["start"], row["stop"]) for row in read] == [span[2:] for span in spans]
    assert [row["request"] for row in read] == sorted(row["request"] for row in read)
    assert sum(row["stop"] - row["start"] for row in read) == 2 * 10**6
    assert max(row["stop"] - row["start"] for row in read) == 24 * 10**6 // (3 * 480 * 640)
