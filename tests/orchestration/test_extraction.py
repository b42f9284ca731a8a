"""Extraction on Ray: what the network says of every image, whatever dies on the way."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch
from extraction_models import request_for, small_model, start_extraction

from vgray.errors import UserError
from vgray.models import load_model
from vgray.orchestration import extraction_pipeline, extraction_request
from vgray.orchestration.cluster import disconnect
from vgray.orchestration.extraction import extract, extract_all
from vgray.orchestration.extraction_request import describe_request
from vgray.places import load_manifest
from vgray.places.views import QUERY_METHODS, read_views
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.writing import SKIPPED

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def city(tiny_city: Path) -> Path:
    return tiny_city


@pytest.fixture(scope="module")
def connected() -> Iterator[None]:
    """Leave Ray running from one test to the next."""
    yield
    disconnect()


@pytest.fixture(scope="module")
def described(
    connected: None, model: Path, city: Path, tmp_path_factory: pytest.TempPathFactory
) -> Descriptors:
    """All images of the city, in shards of 16."""
    out = tmp_path_factory.mktemp("described") / "all"
    outcome = extract(request_for(model, city, out, dtype="float32"))
    assert outcome.num_described == outcome.num_images == num_images(load_manifest(city))
    assert 0 < outcome.startup_s < outcome.seconds and outcome.blocks[:, 2].sum() > 0
    assert min(outcome.read_s, outcome.describe_s, outcome.write_s) > 0
    return Descriptors(out)


ROLES = [(split, role) for split in ("train", "val") for role in ("database", "queries")]


def num_images(manifest: pa.Table) -> int:
    return sum(split in ("train", "val") for split in manifest["split"].to_pylist())


def paths_of(descriptors: Descriptors, split: str, role: str) -> list[str]:
    return descriptors.images(split, role)["path"].to_pylist()


def by_network(model: Path, paths: list[str], method: str = "resize") -> np.ndarray:
    network = load_model(model, "cpu")
    with_views = [read_views(path, network.recipe.image_size, method).pixels for path in paths]
    return np.stack(
        [
            network.describe_views(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
            for pixels in with_views
        ]
    )


def test_descriptors_are_the_networks(described: Descriptors, model: Path) -> None:
    network = load_model(model, "cpu")
    for split, role in ROLES:
        paths = paths_of(described, split, role)
        assert paths == sorted(paths) and paths
        expected = network.describe(paths).numpy()
        np.testing.assert_allclose(described.load(split, role), expected, atol=1e-5)


def test_a_finished_folder_needs_no_ray(
    described: Descriptors, model: Path, city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str | None) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(extraction_pipeline, "join_cluster", refuse)
    outcome = extract(request_for(model, city, described.folder, dtype="float32"))
    assert outcome.num_described == 0 and outcome.images_per_s is None
    assert outcome.num_images == num_images(load_manifest(city))


@pytest.fixture(scope="module")
def taken(
    connected: None, model: Path, city: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Descriptors]:
    """Queries taken in every way, and described by another model, all by one pool."""
    folder = tmp_path_factory.mktemp("taken")
    other = small_model(folder / "model", seed=1)
    asked = [
        request_for(model, city, folder / method, splits=("val",), query_method=method)
        for method in QUERY_METHODS[1:]
    ]
    asked.insert(1, request_for(other, city, folder / "other", dtype="float32"))
    finished: list[Path] = []
    steps: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction_pipeline, "_MOST_INPUTS", 1)
        outcomes = extract_all(
            asked,
            finished=lambda request, _: finished.append(request.out),
            progress=lambda *step: steps.append(step),
        )
    assert [outcome.folder for outcome in outcomes] == [request.out for request in asked]
    assert sorted(finished) == sorted(request.out for request in asked)
    total = sum(outcome.num_described for outcome in outcomes)
    assert total == sum(outcome.num_images for outcome in outcomes)
    assert steps == sorted(steps) and steps[-1] == (total, total)
    return {request.out.name: Descriptors(request.out) for request in asked}


@pytest.mark.parametrize("method", QUERY_METHODS[1:])
def test_queries_are_taken_as_asked(
    taken: dict[str, Descriptors], model: Path, method: str
) -> None:
    found = taken[method]
    queries = found.load("val", "queries")
    expected = by_network(model, paths_of(found, "val", "queries"), method)
    if method == "five_crops":
        assert queries.shape[1:] == (5, 128)
    else:
        expected = expected[:, 0]
    np.testing.assert_allclose(queries, expected, atol=1e-3)
    database = by_network(model, paths_of(found, "val", "database"))[:, 0]
    np.testing.assert_allclose(found.load("val", "database"), database, atol=1e-3)
    assert next(found.blocks("val", "queries", 4)).dtype == np.float16


def test_each_request_has_its_own_model(
    taken: dict[str, Descriptors], described: Descriptors
) -> None:
    other = taken["other"]
    network = load_model(other.description.model, "cpu")
    for split, role in ROLES[2:]:
        expected = network.describe(paths_of(other, split, role)).numpy()
        np.testing.assert_allclose(other.load(split, role), expected, atol=1e-5)
        assert not np.allclose(described.load(split, role), expected, atol=1e-2)


def test_two_requests_do_not_share_a_folder(model: Path, city: Path, tmp_path: Path) -> None:
    request = request_for(model, city, tmp_path / "out")
    with pytest.raises(ValueError, match="the same folder"):
        extract_all([request, replace(request, splits=("val",))])


def test_a_cluster_that_others_hold_is_waited_for(
    connected: None, model: Path, city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other:
        def begin(self) -> None:
            pass

    extraction_pipeline.join_cluster(None)
    cpus = ray.cluster_resources()["CPU"]
    other = ray.remote(num_cpus=cpus)(Other).remote()
    ray.get(other.begin.remote())
    monkeypatch.setattr(extraction_pipeline, "_PATIENCE_S", 1.0)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        ray.kill(other)

    asked = request_for(model, city, tmp_path / "out", splits=("val",))
    outcome = extract(asked, say=say)
    assert said == [f"waiting for CPUs of the cluster: {cpus:g} of {cpus:g} in use"]
    assert outcome.num_described == outcome.num_images


def test_images_that_cannot_be_read(
    connected: None, described: Descriptors, model: Path, city: Path, tmp_path: Path
) -> None:
    harmed = tmp_path / "city"
    shutil.copytree(city, harmed)
    paths = [Path(path) for path in paths_of(described, "val", "database")]
    bad = [harmed / paths[row].relative_to(city) for row in (0, 3)]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(bad[1].read_bytes()[:300])
    strict = request_for(
        model, harmed, tmp_path / "out", splits=("val",), dtype="float32", strict=True
    )
    good = request_for(model, city, tmp_path / "good", splits=("val",))
    with pytest.raises(UserError, match=rf"{bad[0]}: cannot be read \(empty file\)") as error:
        extract_all([good, strict])
    assert len(str(error.value).splitlines()) == 1
    outcome = extract(replace(strict, strict=False))
    assert outcome.num_skipped == 2
    found = Descriptors(strict.out)
    assert [path for path, _ in found.skipped()] == [str(path) for path in bad]
    assert (strict.out / SKIPPED).read_text().count(str(harmed)) == 2
    kept = np.delete(described.load("val", "database"), [0, 3], axis=0)
    np.testing.assert_allclose(found.load("val", "database"), kept, atol=1e-5)
    # What was skipped before is no better the second time.
    with pytest.raises(UserError, match=r"empty file"):
        extract(strict)


def test_a_fault_of_a_worker_is_one_line(
    connected: None, city: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    gone = small_model(tmp_path / "gone")
    request = request_for(gone, city, tmp_path / "out", splits=("val",))
    description = describe_request(request, load_manifest(city))
    monkeypatch.setattr(extraction_request, "describe_request", lambda *_: description)
    shutil.rmtree(gone)
    with pytest.raises(UserError, match=r"gone: no such folder") as error:
        extract(request)
    assert len(str(error.value).splitlines()) == 1
    assert "Traceback" not in "".join(capfd.readouterr())


def test_damaged_and_deleted_shards_are_described_again(
    connected: None, described: Descriptors, model: Path, city: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(described.folder, out)
    files = sorted(out.glob("train-database-*.parquet"))
    files[0].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-5])
    before = files[1].stat().st_mtime_ns
    # A changed byte is found by reading alone, which says what to do.
    changed = min(out.glob("val-database-00000-*.parquet"))
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    with pytest.raises(UserError, match=f"{changed}: is damaged; delete this file"):
        Descriptors(out).load("val", "database")
    changed.unlink()
    num_missing = 32 + min(16, len(described.load("val", "database")))
    outcome = extract(request_for(model, city, out, dtype="float32"))
    assert outcome.num_described == num_missing and files[1].stat().st_mtime_ns == before
    for split in ("train", "val"):
        np.testing.assert_allclose(
            Descriptors(out).load(split, "database"), described.load(split, "database"), atol=1e-6
        )


def test_another_model_is_refused(described: Descriptors, city: Path, tmp_path: Path) -> None:
    other = small_model(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"model_hash was .*choose another --out"):
        extract(request_for(other, city, described.folder, dtype="float32"))


def test_a_killed_actor_loses_and_repeats_nothing(
    connected: None, described: Descriptors, model: Path, city: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one(_done: int, _total: int) -> None:
        if not killed:
            killed.append(next(describing_processes()))
            os.kill(killed[0], signal.SIGKILL)

    asked = request_for(model, city, tmp_path / "out", dtype="float32")
    outcome = extract(asked, progress=kill_one)
    assert killed and outcome.num_described == num_images(load_manifest(city))
    require_same(Descriptors(asked.out), described)


def describing_processes() -> Iterator[int]:
    """Yield the actors that this process started, by way of Ray."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"Describe" in (process / "cmdline").read_bytes() and is_ours(process):
                yield int(process.name)


def is_ours(process: Path) -> bool:
    while process.name not in ("0", "1"):
        if int(process.name) == os.getpid():
            return True
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        process = process.with_name(parent)
    return False


def require_same(one: Descriptors, other: Descriptors) -> None:
    for split, role in ROLES:
        assert one.images(split, role).equals(other.images(split, role))
        np.testing.assert_allclose(one.load(split, role), other.load(split, role), atol=2e-3)


def test_a_killed_job_is_gone_on_with(
    described: Descriptors, model: Path, city: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start_extraction(model, city, out)
    deadline = time.monotonic() + 200
    finished_files = "[!.]*.parquet"
    while not list(out.glob(finished_files)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    files = sorted(out.glob(finished_files))
    finished = {file: file.stat().st_mtime_ns for file in files}
    outcome = extract(request_for(model, city, out))
    assert outcome.num_described <= num_images(load_manifest(city)) - 2
    assert {file: file.stat().st_mtime_ns for file in files} == finished
    require_same(Descriptors(out), described)
