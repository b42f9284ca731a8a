"""`jobs/prepare.py import-weights` as a person runs it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from vgray.models.published import MODELS

pytestmark = pytest.mark.slow  # all together

JOB = Path(__file__).parents[2] / "jobs" / "prepare.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), "import-weights", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NetVLAD of the deep-visual-geo-localization-benchmark, as it is saved there."""
    network = torchvision.models.resnet18()
    layers = torch.nn.Sequential(*list(network.children())[:-3])
    state = {f"module.backbone.{key}": tensor for key, tensor in layers.state_dict().items()}
    state["module.aggregation.centroids"] = torch.randn(4, 256)
    state["module.aggregation.conv.weight"] = torch.randn(4, 256, 1, 1)
    file = tmp_path_factory.mktemp("published") / "best model.pth"
    torch.save({"epoch_num": 3, "model_state_dict": state}, file)
    return file


def test_it_says_what_it_found_and_what_comes_next(tmp_path: Path, official: Path) -> None:
    out = tmp_path / "it's here"
    done = run("--from", official, "--as", "netvlad", "--out", out, "--image-size", "48x64")
    assert (done.returncode, done.stderr) == (0, "")
    found, wrote, following = done.stdout.splitlines()
    for words in ("netvlad", "resnet18", "1,024 dimensions", "48x64", "parameters"):
        assert words in found
    assert wrote == f"wrote {out}"
    Image.new("RGB", (60, 40), "green").save(tmp_path / "PHOTO.jpg")
    command = following.removeprefix("next: ")
    assert command != following
    shown = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert shown.returncode == 0 and shown.stdout.startswith("tensor([[")


def test_a_mistake_is_one_line(tmp_path: Path, official: Path) -> None:
    done = run("--from", official, "--as", "convap", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and "give --as netvlad" in done.stderr
    assert not (tmp_path / "out").exists()


def test_its_help_names_every_model() -> None:
    said = " ".join(run("--help").stdout.replace("│", " ").split())
    assert len(MODELS) >= 9
    for model in MODELS:
        assert model in said
