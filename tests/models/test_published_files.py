"""Files of published models: every way to pack one, and files that hold none."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_models import prefixed, smallest_model
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import vgray
from vgray import UserError
from vgray.models.published import import_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def official() -> State:
    return smallest_model()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)


@pytest.fixture(scope="module")
def expected(official: State, images: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    folder = tmp_path_factory.mktemp("plain")
    torch.save(official, folder / "official.pth")
    return describe(folder, images)


def import_it(folder: Path, file: str = "official.pth", **options: Any) -> Any:
    settings = {"model": "convap", "image_size": "32", "out": folder / "model", **options}
    return import_weights(folder / file, **settings)


def describe(folder: Path, images: Tensor, file: str = "official.pth") -> Tensor:
    import_it(folder, file)
    return vgray.load_model(folder / "model", device="cpu").describe(images)


def compiled(state: State) -> State:
    return {key.replace("backbone.", "backbone._orig_mod."): t for key, t in state.items()}


LIGHTNING = {
    "epoch": 9, "global_step": 12000, "pytorch-lightning_version": "1.8.6",
    "callbacks": {"ModelCheckpoint{'monitor': 'R1'}": {"best_model_score": torch.tensor(0.9)}},
    "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": []}],
    "hyper_parameters": {"backbone_arch": "resnet50", "agg_config": {"in_channels": 1024}},
}  # fmt: skip
BENCHMARK = {
    "epoch_num": 7, "recalls": np.array([80.1, 90.2]), "best_r5": np.float64(90.2),
    "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}},
}  # fmt: skip
PACKED: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "Lightning": lambda s: {**LIGHTNING, "state_dict": s},
    "benchmark, DataParallel": lambda s: {**BENCHMARK, "model_state_dict": prefixed(s, "module.")},
    "DataParallel": lambda s: prefixed(s, "module."),
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "compiled inside": compiled,
    "both wrappers": lambda s: prefixed(s, "module.", "_orig_mod."),
    "another prefix": lambda s: prefixed(s, "vpr_model."),
    "nested twice": lambda s: {"epoch": 1, "model": {"lr": 0.1, "state_dict": prefixed(s, "m.")}},
    "half precision": lambda s: {k: t.bfloat16() if t.is_floating_point() else t
                                 for k, t in s.items()},
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("pack", PACKED.values(), ids=list(PACKED))
def test_however_it_is_packed(
    tmp_path: Path, official: State, images: Tensor, expected: Tensor,
    pack: Callable[[State], Any], suffix: str,
) -> None:  # fmt: skip
    torch.save(pack(official), tmp_path / f"official{suffix}")
    described = describe(tmp_path, images, f"official{suffix}")
    exact = pack is not PACKED["half precision"]
    torch.testing.assert_close(described, expected, atol=0 if exact else 0.02, rtol=0)


@pytest.mark.parametrize("name", ["bare", "DataParallel", "compiled inside", "another prefix"])
def test_as_safetensors(
    tmp_path: Path, official: State, images: Tensor, expected: Tensor, name: str
) -> None:
    save_file(PACKED[name](official), tmp_path / "official.safetensors")
    assert torch.equal(describe(tmp_path, images, "official.safetensors"), expected)


def test_what_is_not_needed_is_counted(
    tmp_path: Path, official: State, images: Tensor, expected: Tensor
) -> None:
    more = {
        "backbone.model.fc.weight": torch.zeros(10, 512),
        "backbone.model.fc.bias": torch.zeros(10),
        "loss_fn.W": torch.zeros(4),
        "miner.margin": torch.zeros(1),
    }
    torch.save({**official, **more}, tmp_path / "official.pth")
    done = import_it(tmp_path)
    assert done.ignored == 4
    network = vgray.load_model(done.folder, device="cpu")
    assert torch.equal(network.describe(images), expected)
    learned = [t for key, t in official.items() if "running" not in key and "batches" not in key]
    assert done.parameters == sum(tensor.numel() for tensor in learned)


def test_the_folder_says_where_it_is_from_and_describes_a_photo(
    tmp_path: Path, official: State
) -> None:
    torch.save(official, tmp_path / "official.pth")
    done = import_it(tmp_path, image_size=None)
    said = json.loads((done.folder / "metrics.json").read_text())["imported"]
    digest = hashlib.sha256((tmp_path / "official.pth").read_bytes()).hexdigest()
    assert said == {"model": "convap", "file": "official.pth", "sha256": digest}
    network = vgray.load_model(done.folder)
    assert network.recipe.image_size == (320, 320)
    assert network.recipe.backbone.weights == "none" and network.recipe.precision == "float32"
    Image.new("RGB", (60, 40), "green").save(tmp_path / "photo.jpg")
    described = network.describe(tmp_path / "photo.jpg")
    assert described.shape == (1, 12)
    assert described.norm().item() == pytest.approx(1)


class Payload:
    """What a malicious file holds."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


def test_a_payload_does_not_run(tmp_path: Path, official: State) -> None:
    mark = tmp_path / "mark"
    torch.save({"state_dict": official, "extra": Payload(mark)}, tmp_path / "official.ckpt")
    with pytest.raises(UserError, match="not opened, because a pickle can run any code") as caught:
        import_it(tmp_path, "official.ckpt")
    assert "\n" not in str(caught.value)
    assert not mark.exists() and not (tmp_path / "model").exists()
    torch.load(tmp_path / "official.ckpt", weights_only=False)
    assert mark.exists()  # it would have run


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.pth", b"\n<!DOCTYPE html><html><title>Quota exceeded</title>", "a web page"),
        ("page.safetensors", b"<html><body>Sign in</body></html>", "a web page"),
        ("pointer.pth", b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        ("text.pth", b"some words", "begins with some words, which neither torch.save nor"),
        ("empty.pth", b"", "an empty file"),
        ("empty.safetensors", b"", "an empty file"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        import_it(tmp_path, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_cut_file(tmp_path: Path, official: State, suffix: str) -> None:
    file = tmp_path / f"official{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(official, file)
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(UserError, match="fetch the file again") as caught:
        import_it(tmp_path, file.name)
    assert "\n" not in str(caught.value)


def test_folders(tmp_path: Path, official: State) -> None:
    with pytest.raises(UserError, match="no such file"):
        import_it(tmp_path)
    torch.save(official, tmp_path / "official.pth")
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        import_it(tmp_path, out=tmp_path)
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        import_it(tmp_path, out=tmp_path / "official.pth")
    with pytest.raises(UserError, match="cannot be written"):
        import_it(tmp_path, out=tmp_path / "official.pth" / "inside")
    (tmp_path / "model").mkdir()
    import_it(tmp_path)
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        import_it(tmp_path)
