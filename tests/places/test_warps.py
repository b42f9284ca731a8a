"""Crop, perspective and rotation: torchvision's geometry, and no black corners."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from vgray.places import warps
from vgray.places.augmentation import augment
from vgray.recipe.augmentation import Augmentation

AT: dict[str, Any] = {"seed": 0, "epoch": 1, "step": 0}


@pytest.fixture
def image() -> Tensor:
    """Return one smooth image that is not square, (1, 3, 30, 44)."""
    small = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(small, (30, 44), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


def test_random_crop_is_a_box_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = torch.arange(40, dtype=torch.uint8).mul(6).expand(1, 3, 40, 40)
    settings = Augmentation.model_validate({"random_crop": {"min_scale": 0.25}})

    def fixed(num: int, low: float, high: float, generator: object) -> Tensor:
        return torch.full((num,), 0.25 if low == 0.25 else -1.0)  # the corner's quarter

    monkeypatch.setattr(warps, "uniform", fixed)
    out = augment(ramp, settings, **AT)
    expected = functional.resize(ramp[..., :20, :20], [40, 40], antialias=False)
    assert (out[..., 1:-1].int() - expected[..., 1:-1].int()).abs().max() <= 2


@pytest.mark.parametrize("degrees", [10.0, -25.0])
def test_rotation_is_torchvisions(
    image: Tensor, degrees: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warps, "uniform", lambda num, *args: torch.full((num,), degrees))
    ours = augment(image, Augmentation.model_validate({"rotation": {"degrees": 30}}), **AT)
    bilinear = InterpolationMode.BILINEAR
    theirs = functional.rotate(image, degrees, interpolation=bilinear)
    inside = functional.rotate(torch.full_like(image, 255), degrees, interpolation=bilinear) == 255
    assert inside.float().mean() > 0.5
    assert (ours.int() - theirs.int())[inside].abs().max() <= 1


def test_perspective_is_torchvisions(image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    inwards = torch.tensor([0.1, 0.3, 0.2, 0.0, 0.4, 0.25, 0.05, 0.15])

    def fixed(num: int, low: float, high: float, generator: object) -> Tensor:
        return inwards if num == 8 else torch.zeros(num)

    monkeypatch.setattr(warps, "uniform", fixed)
    settings = Augmentation.model_validate({"perspective": {"distortion": 0.5, "p": 1}})
    ours = augment(image, settings, **AT)
    start = [(0.0, 0.0), (44.0, 0.0), (44.0, 30.0), (0.0, 30.0)]
    toward = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    end = [
        (x + sign_x * dx * 22, y + sign_y * dy * 15)
        for (x, y), (sign_x, sign_y), (dx, dy) in zip(
            start, toward, inwards.view(4, 2).tolist(), strict=True
        )
    ]
    bilinear = InterpolationMode.BILINEAR
    theirs = functional.perspective(image, start, end, interpolation=bilinear)
    white = torch.full_like(image, 255)
    inside = functional.perspective(white, start, end, interpolation=bilinear) == 255
    assert inside.float().mean() > 0.5
    assert (ours.int() - theirs.int())[inside].abs().max() <= 2


def test_nothing_black_comes_in_from_outside() -> None:
    white = torch.full((100, 3, 16, 24), 255, dtype=torch.uint8)
    strong = {
        "random_crop": {"min_scale": 0.1},
        "perspective": {"distortion": 1, "p": 1},
        "rotation": {"degrees": 180},
    }
    for kinds in (*({kind: values} for kind, values in strong.items()), strong):
        assert (augment(white, Augmentation.model_validate(kinds), **AT) == 255).all(), kinds


def test_a_pixel_goes_back_through_rotation_perspective_and_crop() -> None:
    settings = {"random_crop": {}, "perspective": {"p": 1}, "rotation": {}}
    on = dict(Augmentation.model_validate(settings))

    def drawn(*kinds: str) -> Tensor:
        generators = {kind: torch.Generator().manual_seed(len(kind)) for kind in kinds}
        some = {kind: on[kind] for kind in kinds}
        matrices, moved = warps.draw_warps(4, some, 1.5, generators)
        assert moved.all()
        return matrices

    together = drawn("random_crop", "perspective", "rotation")
    one_by_one = drawn("random_crop") @ drawn("perspective") @ drawn("rotation")
    assert torch.allclose(together, one_by_one)
