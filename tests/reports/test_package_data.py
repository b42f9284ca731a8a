"""The printed results come with the package, wherever it is installed."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vgray.reports.published import FILE

ROOT = Path(__file__).parents[2]
BUILD = "import setuptools.build_meta as backend; backend.build_wheel('wheels')"


@pytest.mark.slow
def test_a_wheel_has_the_printed_results(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    # Building leaves folders behind in the sources.
    for name in ("vgray", "search_spaces"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run([sys.executable, "-c", BUILD], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("vgray-*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(tmp_path / "installed")
    here = (ROOT / "vgray" / "reports" / FILE).read_bytes()
    assert (tmp_path / "installed" / "vgray" / "reports" / FILE).read_bytes() == here
    # -P and the path keep the sources out.
    code = (
        "import sys; sys.path.insert(0, '.'); from vgray.reports import published\n"
        "print(published.__file__, len(published.printed_rows()), sep='\\n')"
    )
    printed = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path / "installed", check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert (tmp_path / "installed").resolve() in Path(printed[0]).resolve().parents
    assert printed[1] == "268"
