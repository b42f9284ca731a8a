"""Augmentation: torchvision's adjustments, for each image by itself, from the seed alone."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from vgray.places import augmentation
from vgray.places.augmentation import augment
from vgray.recipe.augmentation import Augmentation, ColourJitter

# Every kind, such that (nearly) every image changes.
KINDS: dict[str, Any] = {
    "random_crop": {},
    "perspective": {"p": 1},
    "rotation": {},
    "flip": {"p": 1},
    "brightness": (0.3, 0.9),
    "colour_jitter": {"hue": 0.2},
    "rand_augment": {},
    "blur": {"p": 1},
    "random_erasing": {"p": 1},
}
# What leaves an image as it is.
NEUTRAL: dict[str, list[Any]] = {
    "random_crop": [{"min_scale": 1}],
    "perspective": [{"p": 0}, {"p": 1, "distortion": 0}],
    "rotation": [{"degrees": 0}],
    "flip": [{"p": 0}],
    "brightness": [(1.0, 1.0)],
    "colour_jitter": [{"brightness": 0, "contrast": 0, "saturation": 0}],
    "blur": [{"p": 0}],
    "random_erasing": [{"p": 0}],
}
WARPS = {"random_crop", "perspective", "rotation"}
AT: dict[str, Any] = {"seed": 5, "epoch": 2, "step": 3}


def settings_of(**kinds: Any) -> Augmentation:
    return Augmentation.model_validate(kinds)


@pytest.fixture
def images() -> Tensor:
    """Return eight copies of one smooth image, channels-last, as the trainer has them."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 4, 5, generator=generator)
    image = torch.nn.functional.interpolate(small, (24, 32), mode="bilinear")
    batch = (image * 255).to(torch.uint8).expand(8, -1, -1, -1)
    return batch.contiguous(memory_format=torch.channels_last)


def test_the_tests_know_every_kind() -> None:
    kinds = [name for name in Augmentation.model_fields if name != "images"]
    assert list(KINDS) == kinds
    assert set(NEUTRAL) == set(KINDS) - {"rand_augment"}  # its magnitude 0 still equalises


def test_nothing_is_done_unless_asked(images: Tensor) -> None:
    assert augment(images, Augmentation(), **AT) is images
    assert augment(images, Augmentation(images="queries"), **AT) is images


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_each_image_is_changed_by_itself_and_the_seed_decides(images: Tensor, kind: str) -> None:
    settings = settings_of(**(KINDS if kind == "all" else {kind: KINDS[kind]}))
    if kind == "flip":
        settings = settings_of(flip={"p": 0.5})
    original = images.clone()
    torch.manual_seed(1)
    once = augment(images, settings, seed=5, epoch=2, step=3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(augment(images, settings, seed=5, epoch=2, step=3), once)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, original)
    assert once.shape == images.shape
    assert once.dtype == torch.uint8
    assert once.is_contiguous(memory_format=torch.channels_last)
    different = len({tuple(image.flatten().tolist()) for image in once})
    assert different == 2 if kind == "flip" else different >= 7
    for seed, epoch, step in ((6, 2, 3), (5, 3, 3), (5, 2, 4)):
        other = augment(images, settings, seed=seed, epoch=epoch, step=step)
        assert not torch.equal(other, once)


@pytest.mark.parametrize(
    ("kind", "values"), [(kind, values) for kind, many in NEUTRAL.items() for values in many]
)
def test_neutral_settings_change_nothing(images: Tensor, kind: str, values: Any) -> None:
    assert torch.equal(augment(images, settings_of(**{kind: values}), **AT), images)


@pytest.mark.parametrize("kind", ["perspective", "flip", "blur", "random_erasing"])
def test_p_is_the_share_of_the_images(kind: str) -> None:
    many = torch.randint(0, 256, (200, 3, 12, 16), dtype=torch.uint8)
    always = augment(many, settings_of(**{kind: {"p": 1}}), **AT)
    often = augment(many, settings_of(**{kind: {"p": 0.7}}), **AT)
    same = (often == many).flatten(1).all(1)
    assert 35 <= same.sum() <= 85
    # Those that change do so as they would with any p.
    assert torch.equal(often[~same], always[~same])


def test_one_kind_does_not_change_the_draws_of_another(images: Tensor) -> None:
    pairs = list(itertools.combinations(KINDS, 2))
    assert len(pairs) == 36
    for first, second in pairs:
        both = augment(images, settings_of(**{k: KINDS[k] for k in (first, second)}), **AT)
        steps = augment(images, settings_of(**{first: KINDS[first]}), **AT)
        steps = augment(steps, settings_of(**{second: KINDS[second]}), **AT)
        if {first, second} <= WARPS:  # resampled once, not twice: equal but for the border
            far = (both.int() - steps.int()).abs()[..., 6:-6, 8:-8].float()
            assert far.mean() < 3, (first, second)
        else:
            assert torch.equal(both, steps), (first, second)


@pytest.mark.parametrize("num", [0, 1])
def test_batches_of_none_and_one(images: Tensor, num: int) -> None:
    out = augment(images[:num], settings_of(**KINDS), **AT, groups=np.zeros(num, np.int64))
    assert out.shape == (num, 3, 24, 32) and out.dtype == torch.uint8


def test_only_queries_change(images: Tensor) -> None:
    queries = np.array([True, False, False, True, False, False, False, False])
    kinds = {kind: values for kind, values in KINDS.items() if kind != "flip"}
    settings = settings_of(images="queries", **kinds)
    out = augment(images, settings, **AT, queries=queries)
    changed = (out != images).flatten(1).any(1)
    assert changed.tolist() == queries.tolist()
    as_tensor = augment(images, settings, **AT, queries=torch.from_numpy(queries))
    assert torch.equal(as_tensor, out)
    nothing = augment(images, settings, **AT, queries=np.zeros(8, np.bool_))
    assert torch.equal(nothing, images)


def test_a_flip_takes_the_whole_group_of_a_query() -> None:
    many = torch.randint(0, 256, (200, 3, 4, 6), dtype=torch.uint8)
    groups = np.arange(200) // 5 * 7
    settings = settings_of(images="queries", flip={"p": 0.5}, brightness=(0.5, 0.5))
    out = augment(many, settings, **AT, groups=groups, queries=np.arange(200) % 5 == 0)
    mirrored = []
    for start in range(0, 200, 5):
        group = many[start : start + 5].clone()
        group[0] = (group[0] * 0.5).round()
        found = out[start : start + 5]
        mirrored.append(torch.equal(found, group.flip(3)))
        assert mirrored[-1] or torch.equal(found, group)
    assert 8 <= sum(mirrored) <= 32


def test_a_flip_is_of_the_group_as_its_first_image_would_be(images: Tensor) -> None:
    settings = settings_of(flip={"p": 0.5})
    alone = augment(images, settings, **AT)
    groups = torch.tensor([9, 9, 2, 5, 2, 9, 5, 1])
    out = augment(images, settings, **AT, groups=groups)
    assert torch.equal(out, alone[[0, 0, 2, 3, 2, 0, 3, 7]])
    assert torch.equal(augment(images, settings_of(flip={"p": 1}), **AT), images.flip(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "say which they are"),
        ({"queries": np.ones(3, np.bool_)}, "queries of shape"),
        ({"queries": np.ones(8, np.bool_), "groups": torch.zeros(8, 1)}, "groups of shape"),
    ],
)
def test_groups_and_queries_are_one_for_each_image(
    images: Tensor, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        augment(images, settings_of(images="queries", **KINDS), **AT, **arguments)


def test_brightness_is_torchvisions_with_the_factors_drawn(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = torch.tensor([0.1, 0.17, 0.3, 0.5, 0.9, 1.0, 1.7, 3.0])
    monkeypatch.setattr(augmentation, "uniform", lambda *args: factors)
    ours = augment(images, settings_of(brightness=(0.1, 3)), **AT)
    theirs = torch.stack(
        [
            functional.adjust_brightness(image, factor)
            for image, factor in zip(images, factors.tolist(), strict=True)
        ]
    )
    # torchvision cuts decimals off where this rounds.
    difference = ours.int() - theirs.int()
    assert difference.min() >= 0 and difference.max() <= 1


def test_brightness_keeps_to_its_range() -> None:
    grey = torch.full((500, 3, 2, 2), 200, dtype=torch.uint8)
    out = augment(grey, settings_of(brightness=(0.1, 0.3)), **AT)
    assert 20 <= out.min() <= 21
    assert 59 <= out.max() <= 60
    assert 38 < out.float().mean() < 42


@pytest.mark.parametrize(
    ("setting", "adjust"),
    [
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ],
)
def test_colour_jitter_is_torchvisions(
    images: Tensor, setting: str, adjust: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = torch.linspace(0.6, 1.4, 8)
    monkeypatch.setattr(augmentation, "uniform", lambda *args: factors)
    off = {"brightness": 0, "contrast": 0, "saturation": 0}
    settings = Augmentation(colour_jitter=ColourJitter(**{**off, setting: 0.4}))
    ours = augment(images, settings, **AT)
    theirs = torch.stack(
        [adjust(image, factor) for image, factor in zip(images, factors.tolist(), strict=True)]
    )
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_colour_jitter_keeps_to_its_range() -> None:
    grey = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)
    settings = settings_of(colour_jitter={"brightness": 0.5, "contrast": 0, "saturation": 0})
    out = augment(grey, settings, **AT)
    assert 50 <= out.min() < 55
    assert 145 < out.max() <= 150


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_blur_is_torchvisions(
    images: Tensor, sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "uniform", lambda num, *args: torch.zeros(num))
    ours = augment(images, settings_of(blur={"sigma_px": sigma, "p": 1}), **AT)
    theirs = functional.gaussian_blur(images, [21, 21], [sigma, sigma])
    edge = 8  # torchvision mirrors the image there
    inside = (..., slice(edge, -edge), slice(edge, -edge))
    assert (ours[inside].int() - theirs[inside].int()).abs().max() <= 1


def test_blur_keeps_an_even_image_however_strong_it_is() -> None:
    even = torch.full((50, 3, 8, 12), 77, dtype=torch.uint8)
    assert torch.equal(augment(even, settings_of(blur={"sigma_px": 100, "p": 1}), **AT), even)
    noise = torch.randint(0, 256, (50, 3, 8, 12), dtype=torch.uint8)
    out = augment(noise, settings_of(blur={"sigma_px": 100, "p": 1}), **AT).float()
    assert out.std((2, 3)).median() < 5
    assert (out.mean((2, 3)) - noise.float().mean((2, 3))).abs().median() < 2


def test_erasing_is_a_grey_rectangle_of_at_most_the_area() -> None:
    white = torch.full((300, 3, 20, 30), 255, dtype=torch.uint8)
    out = augment(white, settings_of(random_erasing={"max_area": 0.3, "p": 1}), **AT)
    assert set(out.unique().tolist()) == {128, 255}
    erased = (out == 128).all(1)
    assert torch.equal(erased, (out == 128).any(1))
    shares = erased.float().mean((1, 2))
    assert shares.max() <= 0.3 and shares.max() > 0.25 and 0.1 < shares.mean() < 0.16
    rows, columns = erased.any(2), erased.any(1)
    assert torch.equal(erased, rows.unsqueeze(2) & columns.unsqueeze(1))
    for line in (rows, columns):  # in one piece, and anywhere
        assert (line.int().diff(dim=1) == 1).sum(1).max() <= 1
        assert line.any(0).all()
    all_of_it = augment(white, settings_of(random_erasing={"max_area": 1, "p": 1}), **AT)
    assert (all_of_it == 128).float().mean() > 0.3


@pytest.mark.gpu
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rand_augment"}))  # it has thresholds
def test_a_gpu_does_the_same(images: Tensor, kind: str) -> None:
    settings = settings_of(**{kind: KINDS[kind]})
    here = augment(images, settings, **AT)
    there = augment(images.cuda(), settings, **AT, groups=torch.arange(8).cuda())
    assert there.is_cuda and there.is_contiguous(memory_format=torch.channels_last)
    far = (here.int() - there.cpu().int()).abs()
    assert far.float().mean() < 0.5 and (far > 2).float().mean() < 0.01
