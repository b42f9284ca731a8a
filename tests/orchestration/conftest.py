"""A sweep to compare with those that are killed and stopped."""

from pathlib import Path

import pytest
from started_sweeps import finish


@pytest.fixture(scope="module")
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_city: Path
) -> Path:
    """The storage in which the sweep of the test file's ``OPTIONS`` was left in peace."""
    storage = tmp_path_factory.mktemp("undisturbed") / "runs"
    finish(storage, *request.module.OPTIONS, "--data", str(tiny_city))
    return storage
