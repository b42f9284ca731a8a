"""jobs/tune.py as a person runs it, on a network small enough to train in seconds."""

import subprocess
import sys
from pathlib import Path

JOB = Path(__file__).parents[2] / "jobs" / "tune.py"
SMALL = [
    "--set", "image_size=[32,32]", "--set", "backbone.weights=none",
    "--set", "backbone.crop_last=2", "--set", "batch.places=4",
]  # fmt: skip


def run_tune(*arguments: object, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(JOB), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def refused(*arguments: object) -> str:
    """Return the one line in which a mistake is said."""
    result = run_tune(*arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]
