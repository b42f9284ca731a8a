"""`jobs/prepare.py preview` as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

JOB = Path(__file__).parents[2] / "jobs" / "prepare.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), "preview", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_recipe_is_shown(tiny_city: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.json", tmp_path / "sheet"
    values = {"image_size": [40, 48], "augmentation": {"brightness": [0.1, 0.3]}}
    recipe.write_text(json.dumps(values))
    out.write_text("an older one")
    arguments = ["--recipe", recipe, "--set", "augmentation.flip.p=1", "--data", tiny_city]
    done = run(*arguments, "--out", out, "--images", 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "augmentation: flip p=1, brightness=[0.1, 0.3]",
        f"wrote {out}",
    ]
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        assert sheet.size == (4 * (4 * 48 + 6) + 6, 6 + 2 * 18 + 2 * (4 * 40 + 6))
        pixels = np.asarray(sheet).astype(float)
    original, changed = pixels[42:202, 6:198], pixels[42:202, 204:396][:, ::-1]
    assert 0.09 < changed.mean() / original.mean() < 0.31
    assert np.corrcoef(original.ravel(), changed.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "/no/such.json"], "recipe /no/such.json: cannot be read"),
        (["--set", "augmentation.brightness=3-0"], "augmentation.brightness"),
        ([], "nothing is on"),
        (["--set", "augmentation.flip.p=1", "--data", "/no/such"], "no such folder"),
        (["--set", "augmentation.flip.p=1", "--out", "/no/such/sheet.png"], "--out"),
    ],
)
@pytest.mark.slow
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tiny_city: Path, tmp_path: Path
) -> None:
    data = [] if "--data" in arguments else ["--data", tiny_city]
    out = [] if "--out" in arguments else ["--out", tmp_path / "sheet.png"]
    done = run(*arguments, *data, *out)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr
    assert not list(tmp_path.iterdir())
