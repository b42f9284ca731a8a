"""Fixtures for all tests: a cache of their own, the real photographs where there are any."""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests:
        import torch

        if not torch.cuda.is_available():
            for item in gpu_tests:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device and there is none"))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache out of the tests; processes that tests start inherit it."""
    os.environ["VGRAY_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def _test_data(part: str) -> Path:
    beside = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("VGRAY_TEST_DATA") or beside) / part
    if not folder.is_dir():
        pytest.skip(f"no folder {part}/ of real photographs; VGRAY_TEST_DATA names their parent")
    return folder


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photographs and weights; mark the test ``photos``."""
    return _test_data("data")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published names and numbers; mark the test ``photos``."""
    return _test_data("reference")


@pytest.fixture(scope="session")
def tiny_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo city that trains in seconds: 21 places to train on, 6 to validate."""
    from vgray.places.demo_city import CitySettings, generate

    settings = CitySettings(places=30, width=48, height=48, images_per_place=6)
    return generate(settings, tmp_path_factory.mktemp("city") / "tiny", workers=1)
