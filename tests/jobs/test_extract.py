"""jobs/extract.py from the command line: descriptors of a city, and every mistake in one line."""

import os
import re
import shlex
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from extract_command import call_extract, run_extract, save_model, start_extract
from PIL import Image

from vgray import load_model
from vgray.orchestration import cluster, extraction
from vgray.orchestration.extraction_request import Request
from vgray.orchestration.extraction_tally import Outcome
from vgray.places.images import read_image
from vgray.retrieval.descriptors import Descriptors


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("run") / "best")


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where Ray would be started."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("Ray was to be started")

    monkeypatch.setattr(cluster.ray, "init", refuse)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("no_ray")  # in this process, where all but the first are
def test_a_city_is_described_once(
    model: Path, tiny_city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    city = tmp_path / "city"
    shutil.copytree(tiny_city, city)
    database = city / "images" / "test" / "database"
    broken = min(database.rglob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:100])
    command = ["--model", model.parent, "--data", city, "--out", tmp_path / "out"]
    command += ["--query-method", "five_crops", "--set", "image_size=40x48"]
    said, _ = run_extract(*command)
    lines = said.splitlines()
    assert lines[0] == f"{model}: describing split test of {city}"
    described = Descriptors(tmp_path / "out")
    number = sum(described.description.parts.values())
    assert f"images: {number} new, 0 already there; of all 1 skipped ({tmp_path}/out/" in said
    assert " in all with a start of " in said
    assert lines[-2:] == [
        f"wrote:  {tmp_path}/out",
        f"next:   python jobs/evaluate.py --descriptors {tmp_path}/out",
    ]
    assert [path for path, _ in described.skipped()] == [str(broken)]
    assert str(broken) in (tmp_path / "out" / "skipped.csv").read_text()
    assert described.load("test", "queries").shape[1:] == (5, described.dimension)
    network = load_model(model, "cpu", settings={"image_size": [40, 48]})
    images = described.images("test", "database")
    expected = network.describe(images["path"].to_pylist())
    assert np.abs(described.load("test", "database") - expected.numpy()).max() < 2e-3
    first = read_image(images["path"][0].as_py(), (40, 48))
    assert images["brightness"][0].as_py() == pytest.approx(first.mean(), rel=1e-5)

    status, said, errors = call_extract(capsys, *command)
    assert (status, errors) == (0, "")
    assert f"images: 0 new, {number} already there; of all 1 skipped" in said
    assert "took:" not in said

    other = save_model(tmp_path / "other", seed=1)
    status, _, errors = call_extract(capsys, *command, "--model", other)
    assert status == 2 and "model_hash was" in errors and len(errors.splitlines()) == 1
    status, _, errors = call_extract(capsys, *command, "--strict")
    assert status == 2 and f"{broken}: cannot be read" in errors and len(errors.splitlines()) == 1


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    model: Path, tiny_city: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new descriptors"
    options = ["--model", model, "--data", tiny_city, "--out", out, "--split", "train", "val"]
    options += ["--shard-rows", "8", "--set", "image_size=640"]  # so that there is time
    process = start_extract(*options)
    deadline = time.monotonic() + 200
    while len(list(out.glob("[!.]*.parquet"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    finished = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert process.returncode == 130
    last = errors.splitlines()[-1]
    assert last.startswith("stopped; every finished shard is kept. Go on: python ")
    assert "Traceback" not in errors
    parts = Descriptors(out).description.parts
    assert 2 <= len(finished) < sum(-(-number // 8) for number in parts.values())
    assert not list(out.glob(".tmp-*"))

    again = shlex.split(last.partition("Go on: ")[2])
    assert again[0] == "python"
    said, _ = run_extract(*again[2:])
    new = re.search(r"images: ([\d,]+) new", said)
    assert new and int(new[1].replace(",", "")) <= sum(parts.values()) - 8 * len(finished)
    described = Descriptors(out)
    assert sum(len(described.load(*part.split("-"))) for part in parts) == sum(parts.values())
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


@pytest.mark.ray
@pytest.mark.slow
def test_photos_without_positions(model: Path, tmp_path: Path) -> None:
    for name in ("database/a.png", "database/b.png", "queries/c.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (len(name), 0, 200)).save(tmp_path / "photos" / name)
    out = tmp_path / "out"
    said, _ = run_extract("--model", model, "--data", tmp_path / "photos", "--no-labels",
                          "--out", out, "--dtype", "float32")  # fmt: skip
    assert said.splitlines()[-1].endswith(f"--descriptors {out} --no-labels")
    described = Descriptors(out)
    assert not described.description.labelled
    assert described.load("test", "database").shape == (2, described.dimension)
    assert np.isnan(described.images("test", "queries")["east_m"].to_numpy()).all()


MISTAKES = [
    ([], "--model is missing"),
    (["--model", "MODEL"], "--out is missing"),
    (["--model", "MODEL/../bset", "--out", "OUT"], "no such folder, did you mean 'best'"),
    (["--model", "MODEL/recipe.json", "--out", "OUT"], "found a file, expected a checkpoint"),
    (["--model", "CITY", "--out", "OUT"], "holds neither a checkpoint"),
    (["--model", "CITY#3", "--out", "OUT"], "is no run"),
    (["--split", "tset"], "no images in split 'tset'"),
    (["--data", "CITY/missing"], "no such folder"),
    (["--data", "CITY", "--no-labels", "--split", "train", "val", "x"], "split 'x'"),
    (["--no-labels", "--data", "MODEL"], "found no images"),
    (["--set", "optimizer.lr=1"], "optimizer.lr: .*trained already"),
    (["--set", "image_size"], "--set image_size: expected setting=value"),
    (["--set", "image_size=8"], "image_size.*8"),
    (["--train-images", "5"], "give --split train too"),
    (["--out", "CITY"], "has images in it but no descriptors"),
    (["--out", "MODEL/recipe.json"], "is a file"),
    (["--out", "s3://bucket/x"], "not to an address"),
]


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(
    options: list[str], message: str, model: Path, tiny_city: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {"MODEL": model, "CITY": tiny_city, "OUT": tmp_path / "out"}
    good = ["--model", "MODEL", "--data", "CITY", "--out", "OUT"]
    first, *rest = options or [""]
    given = options if first in ("", "--model") else [*good, first, *rest]
    filled = []
    for word in given:
        for name, path in places.items():
            word = word.replace(name, str(path))
        filled.append(word)
    status, _, errors = call_extract(capsys, *filled)
    assert status == 2, errors
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
    assert re.search(message, errors), errors
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_ray")
def test_a_damaged_model_and_a_run_without_finished_trials(
    model: Path, tiny_city: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = shutil.copytree(model, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"x" * 100)
    run = tmp_path / "run"
    run.mkdir()
    rows = [{"trial": 0, "status": "failed"}, {"trial": 1, "status": "running"}]
    pq.write_table(pa.Table.from_pylist(rows), run / "trials.parquet")
    for folder, message in (
        (damaged, "model.safetensors is damaged"),
        (run, "no finished trial, so no best model (1 failed, 1 running)"),
    ):
        status, _, errors = call_extract(
            capsys, "--model", folder, "--data", tiny_city, "--out", tmp_path / "out"
        )
        assert status == 2 and message in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_default_split_and_what_comes_next(
    model: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked: list[Request] = []

    def note(request: Request, **_: object) -> Outcome:
        asked.append(request)
        return Outcome(request.out, 5, 0, 0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0)

    monkeypatch.setattr(extraction, "extract", note)
    city = shutil.copytree(tiny_city, tmp_path / "city")
    command = ["--model", model, "--data", city, "--out", tmp_path / "out"]
    assert "split test of" in call_extract(capsys, *command)[1]
    assert "left out" not in call_extract(capsys, *command)[1]
    shutil.copy(min((city / "images" / "val").rglob("*.jpg")), city / "images" / "loose.jpg")
    said = call_extract(capsys, *command)[1]
    assert re.search(r"1 images left out \(.+\), such as .*loose.jpg", said), said
    asked[1:] = []
    shutil.rmtree(city / "images" / "test")
    assert "split val of" in call_extract(capsys, *command)[1]
    assert "next:" not in call_extract(capsys, *command, "--split", "train")[1]
    call_extract(capsys, *command, "--split", "train", "val", "val", "--train-images", "7")
    assert [request.splits for request in asked] == [
        ("test",), ("val",), ("train",), ("train", "val"),
    ]  # fmt: skip
    assert asked[-1].train_images == 7
    assert asked[-1].model == model and asked[-1].data == str(city)
