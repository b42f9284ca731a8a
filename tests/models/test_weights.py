"""Weights from files and from the network: what fits, what is refused, and that nothing is run."""

import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from vgray import Recipe, UserError
from vgray.models import ensure_weights, weights
from vgray.models.backbones import ResNet18
from vgray.recipe import absolute_weights


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return torchvision.models.resnet18().state_dict()


def write(path: Path, state: dict[str, torch.Tensor]) -> str:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_partial_file_fits_a_cropped_backbone(
    tmp_path: Path, state: dict[str, torch.Tensor], suffix: str
) -> None:
    partial = {k: v for k, v in state.items() if not k.startswith(("fc.", "layer4."))}
    file = write(tmp_path / f"partial{suffix}", partial)
    backbone = ResNet18(weights=file, crop_last=1)
    torch.testing.assert_close(backbone.blocks[0].conv1.weight.data, state["conv1.weight"])
    ResNet18(weights=file, crop_last=2)
    with pytest.raises(
        UserError, match=r"missing layer4\.0\.\S+, .* and \d+ more, unexpected noth"
    ):
        ResNet18(weights=file, crop_last=0)


def test_keys_that_matter_are_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    extra = {**state, "layer1.0.se.weight": torch.zeros(1)}
    file = write(tmp_path / "extra.safetensors", extra)
    with pytest.raises(UserError, match=r"missing nothing, unexpected layer1\.0\.se\.weight"):
        ResNet18(weights=file)
    lacks = {k: v for k, v in state.items() if k != "bn1.running_var"}
    file = write(tmp_path / "lacks.safetensors", lacks)
    with pytest.raises(UserError, match=r"missing bn1\.running_var"):
        ResNet18(weights=file)
    shaped = {**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}
    file = write(tmp_path / "shaped.safetensors", shaped)
    with pytest.raises(UserError, match=r"conv1\.weight has shape \(64, 1, 7, 7\), expected"):
        ResNet18(weights=file)


def test_what_does_not_matter_is_ignored(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    other = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    other |= {"fc.weight": torch.zeros(3, 512), "classifier.bias": torch.zeros(1)}
    backbone = ResNet18(weights=write(tmp_path / "other.safetensors", other))
    assert backbone.blocks[0].bn1.num_batches_tracked == 0


class Attack:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    torch.save({"conv1.weight": Attack(mark)}, tmp_path / "new.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"conv1.weight": Attack(mark)}))
    assert zipfile.is_zipfile(tmp_path / "new.pth")
    for name in ("new.pth", "plain.pth"):
        with pytest.raises(UserError) as caught:
            ResNet18(weights=str(tmp_path / name))
        assert "more than tensors" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", None])
def test_damaged_files_are_one_line(
    tmp_path: Path, state: dict[str, torch.Tensor], suffix: str, content: bytes | None
) -> None:
    file = Path(write(tmp_path / f"file{suffix}", state))
    file.write_bytes(file.read_bytes()[:5000] if content is None else content)
    with pytest.raises(UserError, match=re.escape(str(file))) as caught:
        ResNet18(weights=str(file))
    assert "\n" not in str(caught.value)


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        ResNet18(weights=str(tmp_path / "missing.pth"))
    (tmp_path / "weights.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"of kind '\.zip'"):
        ResNet18(weights=str(tmp_path / "weights.zip"))
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="no state dict"):
        ResNet18(weights=str(tmp_path / "list.pth"))
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(UserError, match="no state dict"):
        ResNet18(weights=str(tmp_path / "nested.pth"))


def test_the_keys_that_are_there_are_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    other = {"encoder.weight": state["conv1.weight"]}
    with pytest.raises(UserError, match=r"unexpected nothing, found encoder\.weight"):
        ResNet18(weights=write(tmp_path / "other.safetensors", other))


@pytest.mark.parametrize("prefix", ["module.", "backbone.model."])
def test_a_wrapper_s_prefix_is_left_out(
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrapped = {prefix + key: value for key, value in state.items()}
    wrapped["aggregator.p"] = torch.ones(1)
    with caplog.at_level("INFO"):
        backbone = ResNet18(weights=write(tmp_path / "wrapped.pth", wrapped))
    torch.testing.assert_close(backbone.blocks[0].conv1.weight.data, state["conv1.weight"])
    assert f"begin with {prefix}, left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}, "conv1.weight holds values that"),
        ({1: torch.zeros(1)}, "no state dict"),
    ],
)
def test_what_no_network_has_is_refused(
    tmp_path: Path, state: dict[str, torch.Tensor], change: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        ResNet18(weights=write(tmp_path / "odd.pth", {**state, **change}))


def test_homes_and_empty_names(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "w.pth", state)
    ResNet18(weights="~/w.pth")
    for name in ("~/w.pth", "w.pth", "./w.pth"):
        assert absolute_weights(name) == str(tmp_path / "w.pth")
    for name in ("imagenet", "none", ""):
        assert absolute_weights(name) == name
    for name in ("", "~nobody-of-this-name/w.pth"):
        with pytest.raises(UserError, match="no such file") as caught:
            ResNet18(weights=name)
        assert "\n" not in str(caught.value)


def test_failed_download_says_how_to_go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host\nand more")

    weights._download.cache_clear()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(UserError) as caught:
        ensure_weights(Recipe())
    message = str(caught.value)
    assert "\n" not in message
    assert "no route to host" in message
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in message
    assert "backbone.weights=/path/resnet18-f37072fd.pth" in message
    ensure_weights(Recipe().with_settings({"backbone.weights": "none"}))


def test_downloaded_weights_are_read_once(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]
) -> None:
    calls: list[tuple] = []

    def download(url: str, **options: object) -> dict[str, torch.Tensor]:
        calls.append((url, options["check_hash"], options["weights_only"]))
        return state

    weights._download.cache_clear()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    try:
        for _ in range(3):
            ResNet18(weights="imagenet")
    finally:
        weights._download.cache_clear()
    assert calls == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", True, True)]


def test_a_replaced_file_is_read_again(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    ResNet18(weights=write(path, state))
    changed = {**state, "conv1.weight": torch.zeros(64, 3, 7, 7)}
    path.unlink()
    backbone = ResNet18(weights=write(path, changed))
    assert backbone.blocks[0].conv1.weight.abs().sum() == 0
