"""Where reports and descriptors go, from whatever part of a run is given."""

from pathlib import Path

import pytest

from vgray.reports.default_folders import default_folders


@pytest.mark.parametrize("file", ["trials.parquet", "run.json"])
@pytest.mark.parametrize("part", ["", "best", "trials/0003", "trials/0003/epoch-0004"])
def test_they_lie_outside_the_run(tmp_path: Path, file: str, part: str) -> None:
    run = tmp_path / "runs" / "A"
    (run / part).mkdir(parents=True)
    (run / file).write_text("")
    found = default_folders(run / part)
    assert found == (tmp_path / "runs", tmp_path / "descriptors")


def test_those_of_a_checkpoint_of_no_run_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_folders(Path("official")) == (tmp_path, tmp_path / "descriptors")
