"""jobs/extract.py as a person runs it, with a network that describes a city in seconds."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from vgray import Recipe
from vgray.models import Network, save_checkpoint

JOB = Path(__file__).parents[2] / "jobs" / "extract.py"


def save_model(folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint of an untrained network."""
    torch.manual_seed(seed)
    backbone = {"name": "resnet18", "weights": "none", "crop_last": 3}
    recipe = {"image_size": 32, "backbone": backbone, "precision": "float32"}
    return save_checkpoint(folder, Network(Recipe.from_dict(recipe)), {"history": []})


def start_extract(*arguments: object) -> subprocess.Popen[str]:
    """Start the job, in a process group of its own, as a shell does."""
    return subprocess.Popen(
        [sys.executable, str(JOB), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_extract(*arguments: object) -> tuple[str, str]:
    """Run the job to its good end; returns what it says on stdout and stderr."""
    process = start_extract(*arguments)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, said + errors
    return said, errors


def call_extract(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the job in this process; returns exit status, stdout and stderr."""
    spec = importlib.util.spec_from_file_location("extract_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = typer.Typer()
    app.command()(module.extract)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        app(module.spread_values([str(each) for each in arguments], {"--split"}))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err
