"""Whatever interrupts a training, it ends with the same numbers."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from histories import TUPLES, epochs_in, numbers
from safetensors.torch import load_file

from vgray import Recipe, UserError
from vgray.models import load_model
from vgray.training import TrainingData, best_checkpoint, train


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer.name": "sgd", "optimizer.lr": 0.01, "schedule.name": "plateau"},
        {
            "optimizer.name": "radam",
            "schedule.name": "cosine",
            "schedule.per": "step",
            "schedule.warmup_steps": 4,
            "augmentation": {"random_crop": {}, "colour_jitter": {}, "rand_augment": {}},
        },
        {**TUPLES, "augmentation.images": "queries", "augmentation.flip": {}},
    ],
)
@pytest.mark.slow
def test_resumed_training_equals_an_uninterrupted_one(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, settings: dict
) -> None:
    recipe = tiny.with_settings(settings)
    whole = list(train(recipe, squares, tmp_path / "whole", device="cpu"))

    killed = train(recipe, squares, tmp_path / "killed", device="cpu")
    first = [next(killed), next(killed)]
    killed.close()
    torch.manual_seed(999)  # the process lives on and draws numbers
    again = list(train(recipe, squares, tmp_path / "killed", device="cpu"))

    assert again[:2] == first  # the same dicts, to the clock's last digit
    assert numbers(again) == numbers(whole)
    weights = [
        load_file(tmp_path / name / "epoch-0004" / "model.safetensors")
        for name in ("whole", "killed")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.slow
def test_a_killed_process_has_what_it_yielded(
    tmp_path: Path, tiny: Recipe, squares: TrainingData, trained: tuple[Path, list[dict]]
) -> None:
    (tmp_path / "recipe.json").write_text(tiny.to_json())
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from conftest import make_data\n"
        "from vgray import Recipe\n"
        "from vgray.training import train\n"
        "folder = Path(sys.argv[1])\n"
        "recipe = Recipe.from_file(folder / 'recipe.json')\n"
        "run = train(recipe, make_data(), folder / 'killed', device='cpu', threads=1)\n"
        "for metrics in run:\n"
        "    if metrics['epoch'] == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = str(Path(__file__).parent)
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path), here], check=False)
    assert ended.returncode == -9
    again = list(train(tiny, squares, tmp_path / "killed", device="cpu"))
    assert numbers(again) == numbers(trained[1])


@pytest.mark.parametrize("damage", ["cut", "changed", "no metrics", "no state", "half-written"])
def test_damaged_newest_checkpoint_costs_one_epoch(
    trained: tuple[Path, list[dict]], tiny: Recipe, squares: TrainingData, damage: str
) -> None:
    folder, history = trained
    newest = folder / "epoch-0004"
    model = newest / "model.safetensors"
    if damage == "cut":
        model.write_bytes(model.read_bytes()[:-100])
    elif damage == "changed":
        content = bytearray(model.read_bytes())
        content[-1] ^= 1
        model.write_bytes(content)
    elif damage == "no metrics":
        (newest / "metrics.json").unlink()
    elif damage == "no state":
        (newest / "training_state.pt").unlink()
    else:
        newest.rename(folder / ".tmp-epoch-0004-1")
    again = list(train(tiny, squares, folder, device="cpu"))
    assert again[:3] == history[:3]
    assert numbers(again) == numbers(history)
    assert not list(folder.glob(".tmp-*"))
    assert load_model(folder / "epoch-0004").recipe == tiny


def test_with_every_checkpoint_damaged_it_starts_again(
    trained: tuple[Path, list[dict]], tiny: Recipe, squares: TrainingData
) -> None:
    folder, history = trained
    for name in epochs_in(folder):
        (folder / name / "recipe.json").write_text("{}")
    with pytest.raises(UserError, match="no checkpoint"):
        best_checkpoint(folder)
    assert numbers(list(train(tiny, squares, folder, device="cpu"))) == numbers(history)
