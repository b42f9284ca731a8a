"""DINOv2 against timm's and its published positions; CCT against a recomputation, step by step."""

import math
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from vgray import UserError
from vgray.models.backbones import Backbone, build_backbone


def build(
    name: str, weights: str, size: tuple[int, int], crop_last: int = 0, **options: bool
) -> Backbone:
    return build_backbone(
        name, image_size=size, weights=weights, crop_last=crop_last, train_from=0, **options
    ).eval()


def official_dinov2(side: int, registers: bool) -> tuple[dict[str, Tensor], torch.nn.Module]:
    """Return a state dict with the official keys and timm's model for it, of two blocks."""
    torch.manual_seed(0)
    name = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    model = timm.create_model(name, img_size=14 * side, depth=2, num_classes=0).eval()
    for key, parameter in model.named_parameters():
        if key.endswith("gamma") or "token" in key:
            torch.nn.init.normal_(parameter, std=0.3)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    state["mask_token"] = torch.zeros(1, 384)
    if registers:  # timm adds the class token's position to the class token, and has none for it
        state["register_tokens"] = state.pop("reg_token")
        position = 0.1 * torch.randn(1, 1, 384)
        state["cls_token"] = state["cls_token"] - position
        state["pos_embed"] = torch.cat([position, state["pos_embed"]], 1)
    return state, model


@pytest.mark.parametrize("registers", [False, True])
def test_dinov2_equals_timm(tmp_path: Path, registers: bool) -> None:
    state, model = official_dinov2(5, registers)
    torch.save(state, tmp_path / "official.pth")
    name = "dinov2_vits14_reg" if registers else "dinov2_vits14"
    backbone = build(name, str(tmp_path / "official.pth"), (70, 70), crop_last=10)
    assert not any("mask_token" in key for key in backbone.state_dict())
    images = torch.randn(2, 3, 70, 70)
    with torch.inference_mode():
        expected = model.forward_features(images)
        map_, token = backbone(images)
    torch.testing.assert_close(token, expected[:, 0], rtol=1e-4, atol=1e-4)
    patches = expected[:, 5 if registers else 1 :]
    torch.testing.assert_close(map_.flatten(2).mT, patches, rtol=1e-4, atol=1e-4)
    assert not torch.equal(map_[..., 0, 1], map_[..., 1, 0])
    assert map_[0, :, 1, 2].allclose(patches[0, 7], atol=1e-4)  # row by row


def cubic(distance: float) -> float:
    """Return the weight of a sample in cubic convolution with a = -0.75, torch's."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def interpolate(line: Tensor, size: int, scale: float) -> Tensor:
    """Interpolate (n, C) to (size, C); locations are 1 / ``scale`` apart."""
    out = []
    for i in range(size):
        centre = (i + 0.5) / scale - 0.5
        near = range(math.floor(centre) - 1, math.floor(centre) + 3)
        weights = [cubic(centre - j) for j in near]
        taken = [line[min(max(j, 0), len(line) - 1)] for j in near]
        out.append(sum(w * t for w, t in zip(weights, taken, strict=True)))
    return torch.stack(out)


def test_dinov2_positions_follow_the_official_offset(tmp_path: Path) -> None:
    state, _ = official_dinov2(7, registers=False)
    save_file(state, tmp_path / "official.safetensors")
    file = str(tmp_path / "official.safetensors")
    embedding = build("dinov2_vits14", file, (56, 126), crop_last=10).blocks[0]
    assert embedding.positions.shape == (1, 1 + 4 * 9, 384)
    torch.testing.assert_close(embedding.positions[:, 0], state["pos_embed"][:, 0])
    rows = state["pos_embed"][0, 1:].double().view(7, 7, 384)
    rows = interpolate(rows.flatten(1), 4, 4.1 / 7).view(4, 7, 384)
    expected = torch.stack([interpolate(row, 9, 9.1 / 7) for row in rows])
    found = embedding.positions[0, 1:].double().view(4, 9, 384)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_dinov2_positions_with_registers_are_antialiased(tmp_path: Path) -> None:
    state, _ = official_dinov2(6, registers=True)
    save_file(state, tmp_path / "official.safetensors")
    file = str(tmp_path / "official.safetensors")
    grid = state["pos_embed"][0, 1:].T.reshape(1, 384, 6, 6)
    for size in ((42, 42), (56, 126)):
        positions = build("dinov2_vits14_reg", file, size, 11).blocks[0].positions
        new = (size[0] // 14, size[1] // 14)
        expected = functional.interpolate(grid, new, mode="bicubic", antialias=True)
        torch.testing.assert_close(positions[0, 1:], expected[0].flatten(1).T)
    same = build("dinov2_vits14_reg", file, (84, 84), 11).blocks[0].positions
    assert torch.equal(same, state["pos_embed"])


def test_positions_that_fit_no_image_are_refused(tmp_path: Path) -> None:
    state, _ = official_dinov2(5, registers=False)
    state["pos_embed"] = state["pos_embed"][:, :-1]
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=r"pos_embed has shape \(1, 25, 384\), expected \(1, 17, "):
        build("dinov2_vits14", str(tmp_path / "odd.safetensors"), (56, 56), crop_last=10)


def test_dinov2_of_a_training_loads_cropped(tmp_path: Path) -> None:
    state, _ = official_dinov2(5, registers=False)
    trained = {f"backbone.model.{k}": v for k, v in state.items() if not k.startswith("blocks.1")}
    torch.save({"state_dict": trained, "epoch": 1}, tmp_path / "trained.ckpt")
    backbone = build("dinov2_vits14", str(tmp_path / "trained.ckpt"), (70, 70), crop_last=11)
    assert len(backbone.blocks) == 2
    assert torch.equal(backbone.norm.weight, state["norm.weight"])
    assert torch.equal(backbone.blocks[1].mlp.fc1.weight, state["blocks.0.mlp.fc1.weight"])


def published_cct() -> dict[str, Tensor]:
    """Return a state dict with the published keys and shapes of CCT-14/7x2, but four blocks."""
    shapes: dict[str, tuple[int, ...]] = {
        "tokenizer.conv_layers.0.0.weight": (64, 3, 7, 7),
        "tokenizer.conv_layers.1.0.weight": (384, 64, 7, 7),
        "classifier.positional_emb": (1, 196, 384),
        "classifier.attention_pool.weight": (1, 384),
        "classifier.attention_pool.bias": (1,),
        "classifier.norm.weight": (384,),
        "classifier.norm.bias": (384,),
        "classifier.fc.weight": (1000, 384),
        "classifier.fc.bias": (1000,),
    }
    for i in range(4):
        block = f"classifier.blocks.{i}."
        shapes |= {block + f"{n}.{w}": (384,) for n in ("pre_norm", "norm1") for w in WB}
        shapes |= {block + "self_attn.qkv.weight": (1152, 384)}
        shapes |= {
            block + "self_attn.proj.weight": (384, 384),
            block + "self_attn.proj.bias": (384,),
        }
        shapes |= {block + "linear1.weight": (1152, 384), block + "linear1.bias": (1152,)}
        shapes |= {block + "linear2.weight": (384, 1152), block + "linear2.bias": (384,)}
    torch.manual_seed(0)
    return {key: 0.05 * torch.randn(shape) for key, shape in shapes.items()}


WB = ("weight", "bias")


def cct(state: dict[str, Tensor], images: Tensor, positions: Tensor, depth: int) -> Tensor:
    """Compute the tokens (B, T, 384) behind ``depth`` blocks, one head at a time."""
    x = images
    for i in range(2):
        weight = state[f"tokenizer.conv_layers.{i}.0.weight"]
        x = functional.conv2d(x, weight, stride=2, padding=3).clamp(min=0)
        x = functional.max_pool2d(x, 3, 2, 1)
    x = x.flatten(2).mT + positions

    def norm(x: Tensor, key: str) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / (variance + 1e-5).sqrt() * state[f"{key}.weight"] + state[f"{key}.bias"]

    for i in range(depth):
        block = f"classifier.blocks.{i}."
        query, key, value = (
            norm(x, block + "pre_norm") @ state[block + "self_attn.qkv.weight"].T
        ).chunk(3, -1)
        heads = []
        for h in range(6):
            q, k, v = (t[..., 64 * h : 64 * h + 64] for t in (query, key, value))
            heads.append((q @ k.mT / 8).softmax(-1) @ v)
        attended = torch.cat(heads, -1) @ state[block + "self_attn.proj.weight"].T
        x = norm(x + attended + state[block + "self_attn.proj.bias"], block + "norm1")
        hidden = functional.gelu(
            x @ state[block + "linear1.weight"].T + state[block + "linear1.bias"]
        )
        x = x + hidden @ state[block + "linear2.weight"].T + state[block + "linear2.bias"]
    return norm(x, "classifier.norm")


@pytest.mark.parametrize("name", ["cct14_7x2_224", "cct14_7x2_384"])
def test_cct_equals_its_formulas(tmp_path: Path, name: str) -> None:
    state = published_cct()
    save_file(state, tmp_path / "cct.safetensors")
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        backbone = build(name, str(tmp_path / "cct.safetensors"), (224, 224), crop_last=11)
        map_, token = backbone(images)
        expected = cct(state, images, state["classifier.positional_emb"], 3)
    assert token is None
    assert map_.shape == (2, 384, 14, 14)
    torch.testing.assert_close(map_.flatten(2).mT, expected, rtol=1e-3, atol=1e-4)


def test_cct_at_another_size(tmp_path: Path) -> None:
    state = published_cct()
    save_file(state, tmp_path / "cct.safetensors")
    grid = state["classifier.positional_emb"].mT.reshape(1, 384, 14, 14)
    resized = functional.interpolate(grid, (4, 6), mode="bilinear").flatten(2).mT
    images = torch.randn(2, 3, 50, 96)  # rounded up, as its padded convolutions do
    with torch.inference_mode():
        backbone = build("cct14_7x2_224", str(tmp_path / "cct.safetensors"), (64, 96), crop_last=10)
        expected = cct(state, images, resized, 4)
        torch.testing.assert_close(
            backbone(images).map.flatten(2).mT, expected, rtol=1e-3, atol=1e-3
        )


def test_cct_drops_only_in_training() -> None:
    backbone = build("cct14_7x2_224", "none", (64, 64))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(backbone(images).map, backbone(images).map)
        backbone.train()
        assert not torch.equal(backbone(images).map, backbone(images).map)


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vits14_reg", "cct14_7x2_224"])
def test_random_weights_are_as_published(name: str) -> None:
    backbone = build(name, "none", (224, 224), crop_last=10)
    embedding = backbone.blocks[0]
    std = 0.2 if name.startswith("cct") else 0.02
    assert embedding.positions.std().item() == pytest.approx(std, rel=0.05)
    linear = [p for p in backbone.blocks[1:].parameters() if p.ndim == 2]
    assert len(linear) >= 4 * 2
    assert all(p.std().item() == pytest.approx(0.02, rel=0.05) for p in linear)
    for tokens in (embedding.class_token, embedding.registers):
        assert tokens is None or tokens.abs().max() < 1e-5


def test_dinov2_with_registers_is_none_without(tmp_path: Path) -> None:
    state, _ = official_dinov2(7, registers=True)
    save_file(state, tmp_path / "reg.safetensors")
    with pytest.raises(UserError, match=r"found register tokens.* backbone.name=dinov2_vits14_reg"):
        build_backbone(
            "dinov2_vits14", image_size=(98, 98), weights=str(tmp_path / "reg.safetensors"),
            crop_last=0, train_from=0,
        )  # fmt: skip
