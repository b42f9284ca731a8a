"""Crop, perspective and rotation as 3x3 matrices: one resampling does all three.

Coordinates are those of grid_sample, in which an image reaches from -1 to 1. A matrix says where in
the image a pixel of the result comes from.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from vgray.places.draws import uniform
from vgray.recipe.augmentation import Perspective, RandomCrop, Rotation


def draw_warps(
    num: int, on: dict[str, Any], aspect: float, generators: dict[str, Generator]
) -> tuple[Tensor, Tensor]:
    """Draw how each image is moved.

    Args:
        num: how many images.
        on: the settings of the kinds that are on, by name; other kinds are passed over.
        aspect: width by height of the images.
        generators: one for each kind that is on.

    Returns:
        matrices (num, 3, 3) float64, and which images they move, (num,) bool.
    """
    still = torch.eye(3, dtype=torch.float64)
    matrices = still.expand(num, 3, 3)
    for kind, draw in _WARPS.items():
        if kind in on:
            matrices = matrices @ draw(num, on[kind], aspect, generators[kind]).double()
    return matrices, (matrices != still).flatten(1).any(1)


def resample(images: Tensor, matrices: Tensor) -> Tensor:
    """Take each pixel, bilinearly, from where its image's matrix says.

    Args:
        images: (B, C, H, W).
        matrices: (B, 3, 3).

    Returns:
        (B, C, H, W) float32; outside an image are the nearest pixels of its border.
    """
    _, _, height, width = images.shape
    x = (2 * torch.arange(width, device=images.device) + 1) / width - 1
    y = ((2 * torch.arange(height, device=images.device) + 1) / height - 1).unsqueeze(1)
    m = matrices.float().to(images.device)[..., None, None]
    # Not as a matrix product, in which a GPU may keep 10 bits only.
    across, down, depth = (m[:, i, 0] * x + m[:, i, 1] * y + m[:, i, 2] for i in range(3))
    return functional.grid_sample(
        images.float(),
        torch.stack([across / depth, down / depth], dim=-1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )


def _crop(num: int, settings: RandomCrop, aspect: float, generator: Generator) -> Tensor:
    """Boxes of the image's proportions, anywhere in it."""
    side = uniform(num, settings.min_scale, 1.0, generator).sqrt()
    x = uniform(num, -1.0, 1.0, generator) * (1 - side)
    y = uniform(num, -1.0, 1.0, generator) * (1 - side)
    zero, one = torch.zeros(num), torch.ones(num)
    return _matrices([side, zero, x], [zero, side, y], [zero, zero, one])


def _perspective(num: int, settings: Perspective, aspect: float, generator: Generator) -> Tensor:
    """The image's corners moved inwards, as torchvision's RandomPerspective moves them."""
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    inwards = uniform(num * 8, 0.0, settings.distortion, generator).view(num, 4, 2)
    x, y = (corners * (1 - inwards)).unbind(2)
    to_x, to_y = corners[:, 0], corners[:, 1]
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    # (a x + b y + c) / (g x + h y + 1) is the corner's x, and with d, e, f for a, b, c its y.
    equations = torch.cat(
        [
            torch.stack([x, y, one, zero, zero, zero, -x * to_x, -y * to_x], dim=2),
            torch.stack([zero, zero, zero, x, y, one, -x * to_y, -y * to_y], dim=2),
        ],
        dim=1,
    )
    solved = torch.linalg.solve(equations, torch.cat([to_x, to_y]).expand(num, 8))
    matrices = torch.cat([solved, one[:, :1]], dim=1).view(num, 3, 3)
    chosen = uniform(num, 0.0, 1.0, generator) < settings.p
    if not settings.distortion:  # solved only nearly
        chosen = torch.zeros_like(chosen)
    return torch.where(chosen.view(-1, 1, 1), matrices, torch.eye(3, dtype=torch.float64))


def _rotation(num: int, settings: Rotation, aspect: float, generator: Generator) -> Tensor:
    """Turns about the centre."""
    turn = torch.deg2rad(uniform(num, -settings.degrees, settings.degrees, generator))
    cos, sin = turn.cos(), turn.sin()
    zero, one = torch.zeros(num), torch.ones(num)
    return _matrices([cos, -sin / aspect, zero], [sin * aspect, cos, zero], [zero, zero, one])


def _matrices(*rows: list[Tensor]) -> Tensor:
    """Return (num, 3, 3) of rows of three (num,) each."""
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


_WARPS: dict[str, Callable[[int, Any, float, Generator], Tensor]] = {
    "random_crop": _crop,
    "perspective": _perspective,
    "rotation": _rotation,
}
