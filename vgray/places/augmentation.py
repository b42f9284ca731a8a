"""Augmentation of training images, on the device where they are trained on.

Random numbers are drawn on the CPU from (seed, epoch, step) alone, one set for each image, so that
a batch is changed in the same way on every device and after every resume.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as image_functional

from vgray.recipe.augmentation import Augmentation, ColourJitter, RandAugment, RandomCrop


def augment(images: Tensor, settings: Augmentation, *, seed: int, epoch: int, step: int) -> Tensor:
    """Return a changed copy of ``images``, uint8 (B, 3, H, W), or the same if nothing is on."""
    if settings == Augmentation():
        return images
    entropy = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(entropy))
    if settings.random_crop is not None:
        images = _random_crop(images, settings.random_crop, generator)
    if settings.colour_jitter is not None:
        images = _colour_jitter(images, settings.colour_jitter, generator)
    if settings.rand_augment is not None:
        images = _rand_augment(images, settings.rand_augment, generator)
    return images.contiguous(memory_format=torch.channels_last)


def _random_crop(images: Tensor, settings: RandomCrop, generator: torch.Generator) -> Tensor:
    """Cut a box of the image's proportions and resize it to the whole, bilinearly."""
    num = len(images)
    area = _uniform(num, settings.min_scale, 1.0, generator)
    side = area.sqrt()
    # In the coordinates of grid_sample the image reaches from -1 to 1.
    x = _uniform(num, -1.0, 1.0, generator) * (1 - side)
    y = _uniform(num, -1.0, 1.0, generator) * (1 - side)
    zero = torch.zeros(num)
    boxes = torch.stack([side, zero, x, zero, side, y], dim=1).view(num, 2, 3).to(images.device)
    grid = functional.affine_grid(boxes, list(images.shape), align_corners=False)
    pixels = functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return _to_uint8(pixels)


def _colour_jitter(images: Tensor, settings: ColourJitter, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order.

    Each is torchvision's adjustment of that name, done for all images at once, with a factor for
    each of 1 plus or minus at most the setting (hue: a turn of at most the setting).
    """
    num, device = len(images), images.device

    def factors(width: float) -> Tensor:
        return _uniform(num, 1 - width, 1 + width, generator).to(device).view(-1, 1, 1, 1)

    x = images.float()
    if settings.brightness:
        x = (x * factors(settings.brightness)).clamp(0, 255)
    if settings.contrast:
        mean = image_functional.rgb_to_grayscale(x).mean((1, 2, 3), keepdim=True)
        x = torch.lerp(mean, x, factors(settings.contrast)).clamp(0, 255)
    if settings.saturation:
        grey = image_functional.rgb_to_grayscale(x)
        x = torch.lerp(grey, x, factors(settings.saturation)).clamp(0, 255)
    if settings.hue:
        turns = _uniform(num, -settings.hue, settings.hue, generator).tolist()
        x = x / 255
        x = torch.stack([image_functional.adjust_hue(i, t) for i, t in zip(x, turns, strict=True)])
        x = x * 255
    return _to_uint8(x)


def _rand_augment(images: Tensor, settings: RandAugment, generator: torch.Generator) -> Tensor:
    """Apply torchvision's RandAugment to each image by itself: its operations differ in kind."""
    transform = v2.RandAugment(
        num_ops=settings.num_ops,
        magnitude=settings.magnitude,
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    # torchvision draws from torch's global generator only.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        return torch.stack([transform(image) for image in images])


def _uniform(num: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(num, generator=generator)


def _to_uint8(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0, 255).to(torch.uint8)
