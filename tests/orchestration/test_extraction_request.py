"""What an extraction is asked for, and who does the work; without Ray."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray
import torch
from extraction_models import request_for, small_model

from vgray.errors import UserError
from vgray.models import checkpoint
from vgray.orchestration import describing, extraction_pipeline, reading
from vgray.orchestration.extraction import WorkerError, _reasons, extract
from vgray.orchestration.extraction_pipeline import Pool, size_pool
from vgray.orchestration.extraction_request import describe_request
from vgray.orchestration.extraction_tally import Outcome, Tally
from vgray.places import load_manifest
from vgray.retrieval.shards import shards

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


WORK = reading.Work(Path("model"), "0" * 64, {}, "float16", (32, 32), {"val-database": "resize"})


def block_of(*paths: object, size_bytes: int = 100) -> pa.Table:
    number = len(paths)
    return pa.table(
        {
            "request": [0] * number,
            "part": ["val-database"] * number,
            "row": range(4, 4 + number),
            "path": [str(path) for path in paths],
            "size_bytes": [size_bytes] * number,
        }
    )


def test_an_image_that_was_there_is_a_fault_and_not_skipped(tiny_city: Path) -> None:
    there = load_manifest(tiny_city)["path"][0].as_py()
    for gone in (tiny_city / "gone.jpg", Path(there) / "below.jpg"):
        read = reading.Read([WORK])(block_of(there, gone))
        assert read["is_fault"].to_pylist() == [True, True]
        message = read["reason"][0].as_py()
        assert message.startswith(f"{gone}: ") and "was there when the data were listed" in message
        # A manifest file may name what was never there.
        read = reading.Read([WORK])(block_of(there, gone, size_bytes=-1))
        assert read["is_fault"].to_pylist() == [False, False]
        assert read["reason"][0].as_py() is None and read["reason"][1].as_py()


def test_a_bug_is_the_workers_traceback(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(reading, "read_views", fail)
    block = reading.Read([WORK])(block_of("a.jpg"))
    assert block["is_bug"].to_pylist() == [True]
    work = replace(WORK, checkpoint=model)
    described = describing.Describe([work], "cpu", 1)(block)
    assert described["is_fault"].to_pylist() == described["is_bug"].to_pylist() == [True]
    assert described["reason"][0].as_py().endswith("ZeroDivisionError: in the middle\n")
    assert described["reason"][0].as_py().count("Traceback") == 1
    with pytest.raises(WorkerError, match="in the middle"):
        _reasons(described)


def test_a_gpu_that_is_too_small_for_one_image(
    monkeypatch: pytest.MonkeyPatch, model: Path, tiny_city: Path
) -> None:
    work = replace(WORK, checkpoint=model)
    paths = load_manifest(tiny_city)["path"][:3].to_pylist()
    block = reading.Read([work])(block_of(*paths))
    describe = describing.Describe([work], "cpu", 1)
    whole = describe(block)
    (network,) = describe._loaded.values()
    views = network.describe_views
    most = 1

    def short(pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return views(pixels)

    monkeypatch.setattr(network, "describe_views", short)
    halved = describe(block)
    assert not any(halved["is_fault"].to_pylist())
    assert [len(each) for each in halved["descriptor"].to_pylist()] == [256] * 3
    assert halved["row"].equals(whole["row"])
    most = 0
    failed = describe(block)
    assert failed["is_fault"].to_pylist() == [True] * 3 and not any(failed["is_bug"].to_pylist())
    message = failed["reason"][0].as_py()
    assert "no memory for a single image of 32 x 32 pixels; give a smaller" in message


def test_a_worker_without_the_precision_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_city: Path
) -> None:
    half = small_model(tmp_path / "half", precision="bfloat16")
    work = replace(WORK, checkpoint=half)
    block = reading.Read([work])(block_of(load_manifest(tiny_city)["path"][0].as_py()))
    for has, faults in ((False, [True]), (True, [False])):
        monkeypatch.setattr(checkpoint, "has_bfloat16", lambda _, has=has: has)
        described = describing.Describe([work], "cpu", 1)(block)
        assert described["is_fault"].to_pylist() == faults
        if not has:
            assert "--set precision=float32" in described["reason"][0].as_py()


def test_weights_are_hashed_once(
    monkeypatch: pytest.MonkeyPatch, model: Path, tiny_city: Path, tmp_path: Path
) -> None:
    hashed: list[str] = []
    sha256 = checkpoint._sha256
    monkeypatch.setattr(
        checkpoint, "_sha256", lambda file: hashed.append(file.name) or sha256(file)
    )
    describe_request(request_for(model, tiny_city, tmp_path / "out"), load_manifest(tiny_city))
    assert hashed.count(checkpoint.MODEL) == 1


def test_a_speed_needs_blocks_enough() -> None:
    def outcome(blocks: int) -> Outcome:
        tally = Tally(time.perf_counter(), 100)
        tally.expect(100)
        for _ in range(blocks):
            rows = pa.table({"read_s": [0.1] * 5, "describe_s": [0.1] * 5, "read_at": [9.0] * 5})
            tally.count(rows, 0.0)
        return tally.outcome(Path("out"), 0)

    assert outcome(10).images_per_s is None and outcome(0).images_per_s is None
    known = outcome(11)
    assert known.images_per_s is not None and known.images_per_s > 0
    assert known.blocks[:, 0].tolist() == [9.0] * 11 and known.blocks[:, 2].sum() == 55


def test_strict_looks_at_headers_before_the_folder_is_begun(
    model: Path, tiny_city: Path, tmp_path: Path
) -> None:
    city = shutil.copytree(tiny_city, tmp_path / "city")
    bad = Path(load_manifest(city).filter(pc.field("split") == "val")["path"][3].as_py())
    bad.write_bytes(bad.read_bytes()[:10])
    request = request_for(model, city, tmp_path / "out", splits=("val",), strict=True)
    with pytest.raises(UserError, match=rf"{bad.name}: cannot be read .*leave --strict out"):
        extract(request)
    assert not (tmp_path / "out").exists() and not ray.is_initialized()


def test_a_fault_of_the_system_is_no_unreadable_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, *_: object) -> None:
        raise UserError(f"cannot read {path}: too many open files; see to that and start again")

    monkeypatch.setattr(reading, "read_views", fail)
    block = block_of("a.jpg", "b.jpg")
    block = block.set_column(0, "request", [[1, 1]])
    read = reading.Read([replace(WORK, methods={}), WORK])(block)
    assert read["is_fault"].to_pylist() == [True, True]
    assert "cannot read a.jpg: too many open files" in read["reason"][1].as_py()


def test_a_million_images_are_few_inputs_in_order() -> None:
    work = replace(WORK, size_px=(480, 640), methods={"test-database": "resize"})
    of_part = shards(Path("out"), "test-database", 10**6, 1024)
    missing = [extraction_pipeline.Missing(work, {}, of_part)] * 2
    spans = extraction_pipeline._spans(missing, Pool(1, 0, 1, 1))
    inputs = extraction_pipeline._inputs(spans)
    assert len(inputs) <= extraction_pipeline._MOST_INPUTS + 2
    read = [row for table in inputs for row in table.to_pylist()]
    assert [(row["start"], row["stop"]) for row in read] == [span[2:] for span in spans]
    assert [row["request"] for row in read] == sorted(row["request"] for row in read)
    assert sum(row["stop"] - row["start"] for row in read) == 2 * 10**6
    assert max(row["stop"] - row["start"] for row in read) == 24 * 10**6 // (3 * 480 * 640)


def test_a_folder_is_of_this_machine(
    model: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/her")
    for text, folder in {"~/x": Path("/home/her/x"), "run:1/x": tmp_path / "run:1" / "x"}.items():
        assert request_for(model, tiny_city, Path(text)).out == folder
    for text in ("s3://bucket/x", "gs://bucket/x", "file:///x"):
        with pytest.raises(UserError, match=r":/.*not to an address; give a path"):
            request_for(model, tiny_city, Path(text))
