"""What is done to training images."""

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator

from vgray.recipe.settings import Fraction, Settings

BrightnessFactor: TypeAlias = Annotated[float, Field(gt=0, le=10)]


class RandomCrop(Settings):
    """A random part of the image, at least ``min_scale`` of its area, resized to the whole."""

    min_scale: float = Field(0.6, gt=0, le=1)


class Perspective(Settings):
    """A look from aside: corners move inwards by up to ``distortion`` of half the image."""

    distortion: Fraction = 0.3
    p: Fraction = 0.5


class Rotation(Settings):
    """A turn by up to ``degrees`` either way."""

    degrees: float = Field(10.0, ge=0, le=180)


class HorizontalFlip(Settings):
    """A mirror image, of all images of a place, or of a tuple, or of none of them."""

    p: Fraction = 0.5


class ColourJitter(Settings):
    """Random brightness, contrast, saturation and hue, drawn for each image."""

    brightness: Fraction = 0.3
    contrast: Fraction = 0.3
    saturation: Fraction = 0.3
    hue: float = Field(0.0, ge=0, le=0.5)


class RandAugment(Settings):
    """RandAugment; GSV-Cities uses 3 operations, and 0 of them change nothing."""

    num_ops: int = Field(3, ge=0, le=10)
    magnitude: int = Field(9, ge=0, le=30)


class Blur(Settings):
    """A Gaussian blur of up to ``sigma_px``."""

    sigma_px: float = Field(2.0, gt=0, le=100)
    p: Fraction = 0.5


class RandomErasing(Settings):
    """A grey rectangle of up to ``max_area`` of the image."""

    max_area: float = Field(0.2, gt=0, le=1)
    p: Fraction = 0.5


class Augmentation(Settings):
    """What is done to training images, in this order; each is off unless given."""

    images: Literal["all", "queries"] = "all"
    """``queries`` leaves positives and negatives of tuples as they are, as the benchmark does."""
    random_crop: RandomCrop | None = None
    perspective: Perspective | None = None
    rotation: Rotation | None = None
    flip: HorizontalFlip | None = None
    brightness: tuple[BrightnessFactor, BrightnessFactor] | None = None
    """Lowest and highest factor, drawn for each image: [0.1, 0.3] makes night of day."""
    colour_jitter: ColourJitter | None = None
    rand_augment: RandAugment | None = None
    blur: Blur | None = None
    random_erasing: RandomErasing | None = None

    @field_validator("brightness", mode="before")
    @classmethod
    def _pair_or_a_text(cls, value: Any) -> Any:
        # Search spaces draw texts, not lists: 0.1-0.3, or none.
        if value == "none":
            return None
        if isinstance(value, str) and (text := re.fullmatch(r"([\d.]{1,9})-([\d.]{1,9})", value)):
            value = text.groups()
        if value is not None and not (isinstance(value, list | tuple) and len(value) == 2):
            raise ValueError(
                f"found {value!r}; give the lowest and the highest factor, as in [0.1, 0.3]"
            )
        return value

    @field_validator("brightness")
    @classmethod
    def _low_before_high(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"found {list(value)}; give the lower factor first")
        return value
