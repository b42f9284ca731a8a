"""Every command of the README is run: the two set-up commands by .ci/run, the others here."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith("python ")
]
# What makes a command small enough for a test; sweeps are checked and planned, not run.
SMALL = [
    "--set", "backbone.weights=none", "--set", "image_size=[32,32]", "--set", "batch.places=4",
    "--set", "backbone.crop_last=2",
]  # fmt: skip


def test_the_two_set_up_commands_are_what_ci_runs() -> None:
    set_up = [block for block in BLOCKS if block.startswith("python3 -m venv")]
    assert len(set_up) == 2
    assert "jobs/tune.py --space optimizers" in set_up[0]
    assert "pytest" in set_up[1]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    for mark in ("start", "tests"):
        assert f"<!-- {mark} -->" in README
        assert f"readme_command {mark}" in script


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 6
    jobs = {command[1] for command in COMMANDS}
    assert jobs <= {str(path.relative_to(ROOT)) for path in (ROOT / "jobs").glob("*.py")}


def test_every_space_and_every_method_is_in_the_readme() -> None:
    from vgray.models import AGGREGATORS, ATTENTION, BACKBONES
    from vgray.orchestration.spaces import known_spaces
    from vgray.recipe.augmentation import Augmentation
    from vgray.recipe.losses import Mining
    from vgray.settings import known_names, settings_in
    from vgray.training import LOSSES, MINERS, OPTIMIZERS, SCHEDULES

    mining = [name for member in settings_in(Mining) for name in known_names(member)]
    augmentation = [*Augmentation.model_fields.keys() - {"images"}]
    spaces = known_spaces()
    families = [AGGREGATORS, ATTENTION, LOSSES, MINERS, OPTIMIZERS, SCHEDULES]
    for names in [spaces, mining, augmentation, *families]:
        assert len(names) >= 4
        for name in names:
            assert f"`{name}`" in README, name
    row = next(line for line in README.splitlines() if line.startswith("| `backbone.name`"))
    for name in BACKBONES:
        assert name.partition("_")[0] in row or name.startswith("resnet"), name


def test_every_job_is_in_the_readme() -> None:
    for path in (ROOT / "jobs").glob("*.py"):
        assert f"`jobs/{path.name}`" in README


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, tiny_city: Path) -> Path:
    """Where a run NAME lies: four trials of an epoch."""
    storage = tmp_path_factory.mktemp("readme") / "runs"
    command = [
        sys.executable, "jobs/tune.py", "--space", "optimizers", "--data", str(tiny_city), *SMALL,
        "--num-trials", "4", "--epochs", "1", "--name", "NAME", "--storage", str(storage),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return storage


@pytest.fixture(scope="module")
def described(storage: Path, tiny_city: Path) -> Path:
    """Descriptors of two trials of the run, in folders DESCRIPTORS and OTHER."""
    folder = storage.parent
    for trial, name in enumerate(("DESCRIPTORS", "OTHER")):
        command = [
            sys.executable, "jobs/extract.py", "--model", f"{storage}/NAME#{trial}",
            "--data", str(tiny_city), "--out", str(folder / name),
        ]  # fmt: skip
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    shutil.copytree(storage / "NAME", storage / "OTHER")
    return folder


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MixVPR as its authors publish it, with random weights."""
    import torch
    import torchvision

    from vgray.models.aggregators import MixVPR

    backbone = torchvision.models.resnet18().state_dict()
    state = {
        f"backbone.model.{key}": tensor
        for key, tensor in backbone.items()
        if not key.startswith(("layer4", "fc"))
    }
    mixer = MixVPR(in_channels=256, in_h=4, in_w=4, out_channels=8)
    state |= {f"aggregator.{key}": tensor for key, tensor in mixer.state_dict().items()}
    file = tmp_path_factory.mktemp("official") / "mixvpr.ckpt"
    torch.save({"state_dict": state}, file)
    return file


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command(
    command: list[str],
    storage: Path,
    tiny_city: Path,
    official: Path,
    described: Path,
    tmp_path: Path,
) -> None:
    stand_ins = {
        "DATA": tiny_city, "FILE": official, "MODEL": tmp_path / "model",
        "runs/NAME#3": f"{storage}/NAME#3", "preview.png": tmp_path / "preview.png",
        "runs/NAME": storage / "NAME", "runs/OTHER": storage / "OTHER",
        "DESCRIPTORS": described / "DESCRIPTORS", "OTHER": described / "OTHER",
    }  # fmt: skip
    if command[1] == "jobs/extract.py":
        stand_ins["DESCRIPTORS"] = tmp_path / "new"
    arguments = [str(stand_ins.get(word, word)) for word in command[1:]]
    if command[1] == "jobs/tune.py":
        arguments += ["--storage", str(storage)]
        if not {"--resume", "--retry-failed", "--importance"} & {*command}:
            arguments += SMALL if "DATA" in command else ["--data", str(tiny_city), *SMALL]
        if not {"--dry-run", "--importance"} & {*command}:
            arguments += ["--dry-run"]
    elif command[1] == "jobs/train.py":
        arguments += ["--out", str(tmp_path / "trained")]
    elif command[1] == "jobs/report.py":
        arguments += ["--top", "1", "--descriptors", str(tmp_path), "--out", str(tmp_path / "r")]
    elif "preview" in command:
        arguments += ["--data", str(tiny_city)]
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout
