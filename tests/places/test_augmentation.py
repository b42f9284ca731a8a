"""Augmentation: torchvision's adjustments, for each image by itself, from the seed alone."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from vgray.places import augmentation
from vgray.places.augmentation import augment
from vgray.recipe.augmentation import Augmentation, ColourJitter, RandAugment, RandomCrop

EACH = [
    Augmentation(random_crop=RandomCrop()),
    Augmentation(colour_jitter=ColourJitter(hue=0.2)),
    Augmentation(rand_augment=RandAugment()),
    Augmentation(
        random_crop=RandomCrop(), colour_jitter=ColourJitter(), rand_augment=RandAugment()
    ),
]


@pytest.fixture
def images() -> Tensor:
    """Return eight copies of one smooth image, channels-last, as the trainer has them."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 4, 5, generator=generator)
    image = torch.nn.functional.interpolate(small, (24, 32), mode="bilinear")
    batch = (image * 255).to(torch.uint8).expand(8, -1, -1, -1)
    return batch.contiguous(memory_format=torch.channels_last)


def test_nothing_is_done_unless_asked(images: Tensor) -> None:
    assert augment(images, Augmentation(), seed=0, epoch=1, step=0) is images


@pytest.mark.parametrize("settings", EACH)
def test_each_image_is_changed_by_itself_and_the_seed_decides(
    images: Tensor, settings: Augmentation
) -> None:
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
    assert len({tuple(image.flatten().tolist()) for image in once}) >= 7
    for seed, epoch, step in ((6, 2, 3), (5, 3, 3), (5, 2, 4)):
        other = augment(images, settings, seed=seed, epoch=epoch, step=step)
        assert not torch.equal(other, once)


@pytest.mark.parametrize(
    ("setting", "adjust"),
    [
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ],
)
def test_colour_jitter_is_torchvisions(
    images: Tensor, setting: str, adjust: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = torch.linspace(0.6, 1.4, 8)
    monkeypatch.setattr(augmentation, "_uniform", lambda *args: factors)
    off = {"brightness": 0, "contrast": 0, "saturation": 0}
    settings = Augmentation(colour_jitter=ColourJitter(**{**off, setting: 0.4}))
    ours = augment(images, settings, seed=0, epoch=1, step=0)
    theirs = torch.stack(
        [adjust(image, factor) for image, factor in zip(images, factors.tolist(), strict=True)]
    )
    # torchvision cuts decimals off where this rounds.
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_colour_jitter_keeps_to_its_range(images: Tensor) -> None:
    grey = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)
    settings = Augmentation(colour_jitter=ColourJitter(brightness=0.5, contrast=0, saturation=0))
    out = augment(grey, settings, seed=0, epoch=1, step=0)
    assert 50 <= out.min() < 55
    assert 145 < out.max() <= 150


def test_random_crop_is_a_box_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = torch.arange(40, dtype=torch.uint8).mul(6).expand(1, 3, 40, 40)
    settings = Augmentation(random_crop=RandomCrop(min_scale=0.25))

    def fixed(num: int, low: float, high: float, generator: object) -> Tensor:
        return torch.full((num,), 0.25 if low == 0.25 else -1.0)  # the corner's quarter

    monkeypatch.setattr(augmentation, "_uniform", fixed)
    out = augment(ramp, settings, seed=0, epoch=1, step=0)
    expected = functional.resize(ramp[..., :20, :20], [40, 40], antialias=False)
    assert (out[..., 1:-1].int() - expected[..., 1:-1].int()).abs().max() <= 2
    monkeypatch.undo()
    whole = Augmentation(random_crop=RandomCrop(min_scale=1.0))
    assert torch.equal(augment(ramp, whole, seed=0, epoch=1, step=0), ramp)


def test_random_crop_stays_inside_the_image() -> None:
    white = torch.full((100, 3, 16, 16), 255, dtype=torch.uint8)
    settings = Augmentation(random_crop=RandomCrop(min_scale=0.1))
    assert (augment(white, settings, seed=0, epoch=1, step=0) == 255).all()


def test_an_empty_batch() -> None:
    empty = torch.empty(0, 3, 8, 8, dtype=torch.uint8)
    settings = Augmentation(colour_jitter=ColourJitter())
    assert augment(empty, settings, seed=0, epoch=1, step=0).shape == (0, 3, 8, 8)
