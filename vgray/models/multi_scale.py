"""Descriptors of an image at several scales, combined into one."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def resize_images(images: Tensor, size_px: tuple[int, int]) -> Tensor:
    """Resize images (B, 3, H, W) of floats bilinearly to ``size_px`` (height, width).

    Shrinking averages all pixels (antialiasing), as when photographs are read: without it a
    descriptor at half the scale would depend on one pixel in four or so, and be of an image that
    the network never saw in training. cnnimageretrieval-pytorch does without; enlarged images are
    the same.
    """
    if images.shape[2:] == size_px:
        return images
    # The CPU has no kernel for half precision.
    x = images if images.dtype == torch.float64 else images.float()
    resized = functional.interpolate(
        x, size_px, mode="bilinear", align_corners=False, antialias=True
    )
    return resized.to(images.dtype)


def combine(
    descriptors: list[Tensor],
    how: Literal["average", "power_mean", "concatenate"],
    p: float = 3.0,
) -> Tensor:
    """Combine the descriptors of the same images at several scales.

    ``power_mean`` keeps signs: with m the mean of sign(x) |x|^p it is sign(m) |m|^(1/p). Where no
    descriptor is negative, that is the combination of cnnimageretrieval-pytorch.

    Args:
        descriptors: L2-normalised (B, D), one for each scale. A single one is returned as it is.
        how: the way; ``average`` is ``power_mean`` with p = 1.
        p: the exponent of ``power_mean``, positive; nothing to the others.

    Returns:
        L2-normalised (B, D), or (B, D * number of scales) for ``concatenate``. Zero where all are
        zero or cancel each other.

    Raises:
        ValueError: there are no descriptors, ``how`` is none of these, or ``p`` is not positive
            and finite.
    """
    if not descriptors:
        raise ValueError("expected the descriptors of at least one scale, found none")
    if not (math.isfinite(p) and p > 0):
        raise ValueError(f"expected a positive p, found {p}")
    if how == "concatenate":
        joined = torch.cat(descriptors, dim=1)
    elif how == "average":
        joined = torch.stack(descriptors).mean(0)
    elif how == "power_mean":
        joined = _power_mean(torch.stack(descriptors), p)
    else:
        raise ValueError(f"expected average, power_mean or concatenate, found {how}")
    return descriptors[0] if len(descriptors) == 1 else functional.normalize(joined, dim=1)


def _power_mean(x: Tensor, p: float) -> Tensor:
    """Generalised mean of x (S, B, D) over S with the sign kept: (B, D)."""
    # Powers of ratios to the largest, because powers of small numbers underflow.
    largest = x.abs().amax(0)
    ratio = x / largest.clamp(min=torch.finfo(x.dtype).tiny)
    mean = (ratio.sign() * ratio.abs().pow(p)).mean(0)
    return largest * mean.sign() * mean.abs().pow(1 / p)
