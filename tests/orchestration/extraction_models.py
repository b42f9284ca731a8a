"""A small model for extraction, and an extraction started as a process of its own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from vgray.models.checkpoint import save_checkpoint
from vgray.models.network import Network
from vgray.orchestration.extraction_request import Request
from vgray.recipe import Recipe


def small_model(folder: Path, seed: int = 0, precision: str = "float32") -> Path:
    """Write a checkpoint of an untrained network for 32 px."""
    recipe = Recipe().with_settings(
        {"image_size": [32, 32], "backbone.weights": "none", "backbone.crop_last": 2,
         "aggregator.name": "gem", "precision": precision}
    )  # fmt: skip
    torch.manual_seed(seed)
    return save_checkpoint(folder, Network(recipe), {})


def request_for(model: Path, city: Path, out: Path, **changed: object) -> Request:
    """Return a request for the splits train and val, in shards of 16 images."""
    made = Request(model, str(city), ("train", "val"), out, shard_rows=16)
    return replace(made, **changed)


EXTRACT = """
import sys
from pathlib import Path
from vgray.orchestration.extraction import extract
from vgray.orchestration.extraction_request import Request

if __name__ == "__main__":
    model, data, out = sys.argv[1:]
    request = Request(Path(model), data, ("train", "val"), Path(out), shard_rows=16)
    print(extract(request).num_described)
"""


def start_extraction(model: Path, data: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start one of shards of 16 images, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", EXTRACT, str(model), str(data), str(out)], start_new_session=True
    )
