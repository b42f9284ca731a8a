"""Which augmentations, and how strong?

brief2022 (step 5) asks for techniques of one's own choice. Every kind is off in half of the trials
or less often: 0 is off, and so is a crop of the whole image. Brightness from day to night is in
``brightness``, which composes with this.
"""

from typing import Any

from search_spaces.literature import published

OFF: dict[str, Any] = {
    "augmentation.random_crop.min_scale": 1.0,
    "augmentation.perspective.p": 0.0,
    "augmentation.rotation.degrees": 0.0,
    "augmentation.flip.p": 0.0,
    "augmentation.colour_jitter.brightness": 0.0,
    "augmentation.colour_jitter.contrast": 0.0,
    "augmentation.colour_jitter.saturation": 0.0,
    "augmentation.colour_jitter.hue": 0.0,
    "augmentation.rand_augment.num_ops": 0,
    "augmentation.blur.p": 0.0,
    "augmentation.random_erasing.p": 0.0,
}

BASE: dict[str, Any] = OFF

PUBLISHED: list[dict[str, Any]] = [
    # RandAugment alone, which the code of all who train on GSV-Cities has.
    *({**OFF, **setting} for setting in published("augmentation.rand_augment")),
    # alidousti2023, its baseline: images as they are.
    OFF,
    # CosPlace's code, without figures here.
    {
        **OFF, "augmentation.random_crop.min_scale": 0.5,
        "augmentation.colour_jitter.brightness": 0.7, "augmentation.colour_jitter.contrast": 0.7,
        "augmentation.colour_jitter.saturation": 0.7, "augmentation.colour_jitter.hue": 0.5,
    },
]  # fmt: skip


def suggest(trial: Any) -> None:
    """Draw how strong, or how probable, each kind is; what has a probability has a strength too."""

    def draw(path: str, *values: float) -> float:
        return float(trial.suggest_categorical(f"augmentation.{path}", list(values)))

    draw("random_crop.min_scale", 1.0, 0.8, 0.6, 0.4)
    if draw("perspective.p", 0.0, 0.5):
        trial.suggest_float("augmentation.perspective.distortion", 0.1, 0.5)
    draw("rotation.degrees", 0.0, 5.0, 15.0)
    draw("flip.p", 0.0, 0.5)
    for part in ("brightness", "contrast", "saturation"):
        draw(f"colour_jitter.{part}", 0.0, 0.2, 0.4)
    draw("colour_jitter.hue", 0.0, 0.05, 0.1)
    # It mixes most of the other kinds.
    trial.suggest_categorical("augmentation.rand_augment.num_ops", [0, 1, 3])
    if draw("blur.p", 0.0, 0.5):
        trial.suggest_float("augmentation.blur.sigma_px", 0.5, 3.0)
    if draw("random_erasing.p", 0.0, 0.5):
        trial.suggest_float("augmentation.random_erasing.max_area", 0.05, 0.4)
