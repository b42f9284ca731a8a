"""Weights from files and from the network: what fits, what is refused, and that nothing is run."""

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from vgray import Recipe, UserError
from vgray.models import ensure_network, weights
from vgray.models.backbones import Backbone, build_backbone
from vgray.recipe import with_absolute_paths
from vgray.recipe.architectures import ARCHITECTURES


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return torchvision.models.resnet18().state_dict()


def resnet18(weights: str, crop_last: int = 1) -> Backbone:
    return build_backbone(
        "resnet18", image_size=(64, 64), weights=weights, crop_last=crop_last, train_from=0
    )


def write(path: Path, state: dict[str, torch.Tensor]) -> str:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".ckpt"])
def test_a_partial_file_fits_a_cropped_backbone(
    tmp_path: Path, state: dict[str, torch.Tensor], suffix: str
) -> None:
    partial = {k: v for k, v in state.items() if not k.startswith(("fc.", "layer4."))}
    file = write(tmp_path / f"partial{suffix}", partial)
    backbone = resnet18(file, crop_last=1)
    torch.testing.assert_close(backbone.blocks[0].conv1.weight.data, state["conv1.weight"])
    resnet18(file, crop_last=2)
    with pytest.raises(
        UserError, match=r"missing layer4\.0\.\S+, .* and \d+ more, unexpected noth"
    ):
        resnet18(file, crop_last=0)


def test_keys_that_matter_are_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    extra = {**state, "layer1.0.se.weight": torch.zeros(1)}
    file = write(tmp_path / "extra.safetensors", extra)
    with pytest.raises(UserError, match=r"missing nothing, unexpected layer1\.0\.se\.weight"):
        resnet18(file)
    lacks = {k: v for k, v in state.items() if k != "bn1.running_var"}
    file = write(tmp_path / "lacks.safetensors", lacks)
    with pytest.raises(UserError, match=r"missing bn1\.running_var"):
        resnet18(file)
    shaped = {**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}
    file = write(tmp_path / "shaped.safetensors", shaped)
    with pytest.raises(UserError, match=r"conv1\.weight has shape \(64, 1, 7, 7\), expected"):
        resnet18(file)


def test_what_does_not_matter_is_ignored(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    other = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    other |= {"fc.weight": torch.zeros(3, 512), "classifier.bias": torch.zeros(1)}
    backbone = resnet18(write(tmp_path / "other.safetensors", other))
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
            resnet18(str(tmp_path / name))
        assert "more than tensors and plain values" in str(caught.value)
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
        resnet18(str(file))
    assert "\n" not in str(caught.value)


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        resnet18(str(tmp_path / "missing.pth"))
    (tmp_path / "weights.pth").write_bytes(b"<html>Sign in</html>")
    with pytest.raises(UserError, match="found a web page"):
        resnet18(str(tmp_path / "weights.pth"))
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="no state dict"):
        resnet18(str(tmp_path / "list.pth"))


def test_the_keys_that_are_there_are_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    other = {"encoder.weight": state["conv1.weight"]}
    with pytest.raises(UserError, match=r"unexpected nothing, found encoder\.weight"):
        resnet18(write(tmp_path / "other.safetensors", other))


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
        backbone = resnet18(write(tmp_path / "wrapped.pth", wrapped))
    torch.testing.assert_close(backbone.blocks[0].conv1.weight.data, state["conv1.weight"])
    assert f"begin with {prefix}, left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}, "conv1.weight holds values that"),
        ({"bn1.weight": torch.ones(64).to_sparse()}, "bn1.weight is torch.sparse_coo, expected a"),
        ({"bn1.weight": torch.ones(64) * 1j}, "bn1.weight is torch.complex64, expected a dense"),
        ({1: torch.zeros(1)}, "no state dict"),
    ],
)
def test_what_no_network_has_is_refused(
    tmp_path: Path, state: dict[str, torch.Tensor], change: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resnet18(write(tmp_path / "odd.pth", {**state, **change}))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (torch.Tensor.to_sparse, "torch.sparse_coo"),
        (torch.Tensor.to_sparse_csr, "torch.sparse_csr"),
        (lambda t: t * 1j, "torch.complex64"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "torch.qint8"),
        (lambda t: t.to("meta"), "a meta tensor, which has no values"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch warns of making the kinds that are refused
def test_only_dense_tensors_of_real_numbers_are_weights(
    make: Callable[[torch.Tensor], torch.Tensor], found: str
) -> None:
    for refuse in (weights.require_dense, weights.require_finite):
        refuse({"a": torch.eye(2), "count": torch.tensor(3)}, "FILE")
        with pytest.raises(UserError, match=f"^FILE: b is {found}, expected a dense tensor of r"):
            refuse({"a": torch.eye(2), "b": make(torch.eye(2))}, "FILE")


def test_positions_that_are_sparse_are_named(tmp_path: Path) -> None:
    key = "classifier.positional_emb"
    file = write(tmp_path / "cct.pth", {key: torch.ones(1, 4, 384).to_sparse()})
    with pytest.raises(UserError, match=f"{key} is torch.sparse_coo"):
        build_backbone(
            "cct14_7x2_384", image_size=(64, 64), weights=file, crop_last=0, train_from=0
        )


def test_homes_and_empty_names(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "w.pth", state)
    resnet18("~/w.pth")
    for name in ("~/w.pth", "w.pth", "./w.pth"):
        for path in ("backbone.weights", "init_from"):
            assert with_absolute_paths({path: name}) == {path: str(tmp_path / "w.pth")}
    for settings in ({"backbone.weights": "pretrained"}, {"init_from": None}, {"epochs": 3}):
        assert with_absolute_paths(settings) == settings
    for name in ("", "~nobody-of-this-name/w.pth"):
        with pytest.raises(UserError, match="no such file") as caught:
            resnet18(name)
        assert "\n" not in str(caught.value)


def test_failed_download_says_how_to_go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host\nand more")

    weights._download.cache_clear()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(UserError) as caught:
        ensure_network(Recipe())
    message = str(caught.value)
    assert "\n" not in message
    assert "no route to host" in message
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in message
    assert "backbone.weights=/path/resnet18-f37072fd.pth" in message
    ensure_network(Recipe().with_settings({"backbone.weights": "none"}))


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
            resnet18("pretrained")
    finally:
        weights._download.cache_clear()
    assert calls == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", True, True)]


def test_a_replaced_file_is_read_again(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    resnet18(write(path, state))
    changed = {**state, "conv1.weight": torch.zeros(64, 3, 7, 7)}
    path.unlink()
    backbone = resnet18(write(path, changed))
    assert backbone.blocks[0].conv1.weight.abs().sum() == 0


def test_weights_in_the_checkpoint_of_a_training(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    wrapped = {f"module.backbone.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "last.ckpt")
    backbone = resnet18(str(tmp_path / "last.ckpt"))
    torch.testing.assert_close(backbone.blocks[0].conv1.weight.data, state["conv1.weight"])


def test_where_published_weights_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    urls = {}
    for name in ARCHITECTURES:
        with pytest.raises(UserError, match="cannot be downloaded") as caught:
            build_backbone(
                name, image_size=(224, 224), weights="pretrained", crop_last=0, train_from=0
            )
        urls[name] = re.search(r"fetch (\S+) on", str(caught.value))[1]
    dinov2 = "https://dl.fbaipublicfiles.com/dinov2/"
    assert urls["dinov2_vits14"] == f"{dinov2}dinov2_vits14/dinov2_vits14_pretrain.pth"
    assert urls["dinov2_vitb14_reg"] == f"{dinov2}dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth"
    assert urls["cct14_7x2_384"].endswith("/finetuned/cct_14_7x2_384_imagenet.pth")
    # The default weights of ResNet-50 are others (IMAGENET1K_V2), which no published method uses.
    assert urls["resnet50"] == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    torchvisions = [url for url in urls.values() if "download.pytorch.org" in url]
    assert len(torchvisions) == 23
    assert len(set(urls.values())) == len(ARCHITECTURES) == 29
