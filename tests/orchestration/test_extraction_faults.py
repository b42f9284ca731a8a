"""What kills workers or is a bug in them ends an extraction, with one line or one traceback."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from extraction_models import request_for, small_model

from vgray.errors import UserError
from vgray.orchestration import extraction_pipeline
from vgray.orchestration.cluster import disconnect
from vgray.orchestration.describing import Describe
from vgray.orchestration.extraction import WorkerError, extract
from vgray.orchestration.reading import Read
from vgray.places import load_manifest

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def connected() -> Iterator[None]:
    """Leave Ray running from one test to the next."""
    yield
    disconnect()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("models") / "small")


def path_of(city: Path, row: int) -> str:
    rows = load_manifest(city).to_pylist()
    paths = [each["path"] for each in rows if (each["split"], each["role"]) == ("val", "database")]
    return str(paths[row])


def test_an_image_that_kills_whoever_reads_it_is_named(
    connected: None, model: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly, deaths = path_of(tiny_city, 5), tmp_path / "deaths"

    class Killed(Read):
        def __call__(self, block: pa.Table) -> pa.Table:
            if deadly in block["path"].to_pylist():
                with deaths.open("a") as file:
                    file.write(f"{len(block)}\n")
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(block)

    monkeypatch.setattr(extraction_pipeline, "Read", Killed)
    with pytest.raises(UserError, match=f"{deadly}: reading it killed a worker 3 times") as error:
        extract(request_for(model, tiny_city, tmp_path / "out", splits=("val",)))
    assert len(str(error.value).splitlines()) == 1
    sizes = [int(line) for line in deaths.read_text().splitlines()]
    assert len(sizes) == 3 and sizes[0] > 1 and sizes[1:] == [1, 1]


def test_images_that_kill_whoever_describes_them_are_named(
    connected: None, model: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = tmp_path / "deaths"

    class Killed(Describe):
        def __call__(self, block: pa.Table) -> pa.Table:
            if block["part"][0].as_py() == "val-database" and 5 in block["row"].to_pylist():
                with deaths.open("a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(block)

    monkeypatch.setattr(extraction_pipeline, "Describe", Killed)
    with pytest.raises(UserError, match=f"one of {path_of(tiny_city, 0)} to .*killed a worker 3"):
        extract(request_for(model, tiny_city, tmp_path / "out", splits=("val",)))
    assert deaths.read_text() == "xxx"


def test_a_model_that_kills_whoever_loads_it_is_said(
    connected: None, model: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Describe):
        def __init__(self, *_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(extraction_pipeline, "Describe", Killed)
    with pytest.raises(UserError, match="a worker died 3 times while loading the model"):
        extract(request_for(model, tiny_city, tmp_path / "out", splits=("val",)))


def test_a_bug_is_told_once_without_rays_part(
    connected: None, model: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    class Wrong(Describe):
        def _describe(self, *_: object) -> None:
            raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(extraction_pipeline, "Describe", Wrong)
    with pytest.raises(WorkerError) as error:
        extract(request_for(model, tiny_city, tmp_path / "out", splits=("val",)))
    text = str(error.value)
    assert text.count("Traceback") == 1 and "ZeroDivisionError: in the middle" in text
    assert "site-packages/ray/" not in text and "Traceback" not in "".join(capfd.readouterr())
    assert error.value.__cause__ is None and error.value.__context__ is None


def test_data_that_go_away_end_the_job(
    connected: None, model: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    city, away = shutil.copytree(tiny_city, tmp_path / "city"), tmp_path / "away"
    join_cluster = extraction_pipeline.join_cluster

    def unmount(address: str | None) -> extraction_pipeline.Pool:
        city.rename(away)
        return join_cluster(address)

    request = request_for(model, city, tmp_path / "out", splits=("val",))
    monkeypatch.setattr(extraction_pipeline, "join_cluster", unmount)
    with pytest.raises(UserError, match=r"was there when the data were listed; see that every"):
        extract(request)
    away.rename(city)
    monkeypatch.setattr(extraction_pipeline, "join_cluster", join_cluster)
    outcome = extract(request)
    assert outcome.num_skipped == 0 and outcome.num_described == outcome.num_images
