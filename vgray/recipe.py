"""The recipe: everything that decides one trained model, as plain, validated, frozen values.

A :class:`Recipe` and its seed reproduce a training run. Each family (optimizer, loss, ...) is a
union tagged by ``name``, so a setting can only be given to a method that has it. The class behind
a name is in the registry of the same family (``vgray.training.OPTIMIZERS``, ...): its constructor
takes the settings below as arguments, and a test holds the two together.

Dotted paths such as ``optimizer.lr`` name one setting. The command line, the search spaces and the
error messages all use them.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vgray.errors import UserError
from vgray.settings import explain, flatten_settings, merge_settings

PositiveFloat: TypeAlias = Annotated[float, Field(gt=0)]
NonNegativeFloat: TypeAlias = Annotated[float, Field(ge=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
ImageSide: TypeAlias = Annotated[int, Field(ge=32, le=4096)]


class Settings(BaseModel):
    """A group of settings: frozen, and without any key that it does not declare."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def arguments(self) -> dict[str, Any]:
        """Return the settings without ``name``: the constructor arguments of the class it names."""
        return {key: value for key, value in self if key != "name"}


# --- backbone ----------------------------------------------------------------------------------


class ResNet18(Settings):
    """ResNet-18; its blocks are the stem (0) and layer1 to layer4 (1 to 4)."""

    name: Literal["resnet18"] = "resnet18"
    weights: str = "imagenet"
    """``imagenet`` (downloaded), ``none`` (random), or a .safetensors or .pth file."""
    crop_last: int = Field(1, ge=0, le=3)
    """How many blocks are left out at the end: 1 crops before layer4, 2 before layer3."""
    train_from: int = Field(0, ge=0, le=5)
    """The first block that learns; the ones before it keep their weights."""

    @model_validator(mode="after")
    def _some_block_is_left(self) -> Self:
        blocks = 5 - self.crop_last
        if self.train_from > blocks:
            raise ValueError(
                f"train_from {self.train_from} with crop_last {self.crop_last}; only {blocks} "
                f"blocks are left, so train_from is 0 to {blocks} ({blocks} trains none of them)"
            )
        return self


Backbone: TypeAlias = ResNet18


# --- aggregator --------------------------------------------------------------------------------


class Average(Settings):
    """Mean of the feature map (SPoC)."""

    name: Literal["avg"] = "avg"


class GeM(Settings):
    """Generalised mean with a learned exponent."""

    name: Literal["gem"] = "gem"
    p: float = Field(3.0, ge=1, le=100)
    eps: PositiveFloat = 1e-6


Aggregator: TypeAlias = Annotated[Average | GeM, Field(discriminator="name")]


class Projection(Settings):
    """A linear layer behind the aggregator."""

    dim: int = Field(512, ge=2, le=65536)


# --- loss and miner ----------------------------------------------------------------------------


class Contrastive(Settings):
    """Contrastive loss; margins are Euclidean distances of unit vectors, so at most 2."""

    name: Literal["contrastive"] = "contrastive"
    pos_margin: float = Field(0.0, ge=0, le=2)
    neg_margin: float = Field(1.0, ge=0, le=2)


class Triplet(Settings):
    """Triplet margin loss over every triplet of the batch."""

    name: Literal["triplet"] = "triplet"
    margin: float = Field(0.1, gt=0, le=2)


class MultiSimilarity(Settings):
    """Multi-similarity loss. GSV-Cities: 1, 50, 0 (the default here); its library: 2, 50, 0.5."""

    name: Literal["multi_similarity"] = "multi_similarity"
    alpha: PositiveFloat = 1.0
    beta: PositiveFloat = 50.0
    base: float = Field(0.0, ge=-1, le=1)


Loss: TypeAlias = Annotated[Contrastive | Triplet | MultiSimilarity, Field(discriminator="name")]


class NoMiner(Settings):
    """Every pair or triplet of the batch enters the loss."""

    name: Literal["none"] = "none"


class MultiSimilarityMiner(Settings):
    """Keeps pairs that are within epsilon of violating the order of similarities."""

    name: Literal["multi_similarity"] = "multi_similarity"
    epsilon: float = Field(0.1, ge=-2, le=2)


class PairMargin(Settings):
    """Keeps far positives and near negatives.

    Published twice: 0.2 and 0.8 on ``euclidean`` distance, 0.7 and 0.3 on ``cosine`` similarity.
    """

    name: Literal["pair_margin"] = "pair_margin"
    pos_margin: float = Field(0.2, ge=-1, le=2)
    neg_margin: float = Field(0.8, ge=-1, le=2)
    distance: Literal["euclidean", "cosine"] = "euclidean"


class TripletMargin(Settings):
    """Keeps triplets that violate the margin."""

    name: Literal["triplet_margin"] = "triplet_margin"
    margin: float = Field(0.1, ge=0, le=2)
    type_of_triplets: Literal["all", "hard", "semihard", "easy"] = "all"


Miner: TypeAlias = Annotated[
    NoMiner | MultiSimilarityMiner | PairMargin | TripletMargin, Field(discriminator="name")
]


# --- optimizer and schedule --------------------------------------------------------------------


class SGD(Settings):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.03, gt=0, le=10)
    weight_decay: float = Field(0.001, ge=0, le=10)
    momentum: float = Field(0.9, ge=0, lt=1)


class _AdamFamily(Settings):
    lr: float = Field(1e-4, gt=0, le=1)
    weight_decay: float = Field(0.0, ge=0, le=10)


class Adam(_AdamFamily):
    """Adam; weight decay is added to the gradient."""

    name: Literal["adam"] = "adam"


class AdamW(_AdamFamily):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"


class RAdam(_AdamFamily):
    """Rectified Adam; weight decay is added to the gradient."""

    name: Literal["radam"] = "radam"


Optimizer: TypeAlias = Annotated[SGD | Adam | AdamW | RAdam, Field(discriminator="name")]


class _Schedule(Settings):
    warmup_steps: int = Field(0, ge=0, le=1_000_000)
    """Steps of linear warm-up, a factor on whatever the schedule says."""


class Constant(_Schedule):
    """The optimizer's learning rate throughout."""

    name: Literal["none"] = "none"


class Cosine(_Schedule):
    """Half a cosine from the learning rate to ``eta_min`` in ``t_max`` epochs, then up again.

    ``t_max`` left out means all epochs. ``per: epoch`` with ``t_max`` below the number of epochs is
    the periodic schedule of the studies, which has an epoch at a learning rate of 0.
    """

    name: Literal["cosine"] = "cosine"
    t_max: int | None = Field(None, ge=1)
    per: Literal["epoch", "step"] = "epoch"
    eta_min: NonNegativeFloat = 0.0


class MultiStep(_Schedule):
    """The learning rate times ``gamma`` after each of the ``milestones`` (epochs)."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = (5, 10, 15, 25)
    gamma: float = Field(0.3, gt=0, le=1)


class Plateau(_Schedule):
    """The learning rate times ``factor`` if recall@1 did not rise for over ``patience`` epochs."""

    name: Literal["plateau"] = "plateau"
    factor: float = Field(0.1, gt=0, lt=1)
    patience: int = Field(1, ge=0)


Schedule: TypeAlias = Annotated[
    Constant | Cosine | MultiStep | Plateau, Field(discriminator="name")
]


# --- batches, augmentation, evaluation ---------------------------------------------------------


class Batch(Settings):
    """Batches of ``places`` x ``images_per_place``."""

    places: int = Field(32, ge=2, le=4096)
    images_per_place: int = Field(4, ge=2, le=64)
    min_images_per_place: int = Field(4, ge=2, le=64)
    """Places with fewer images are not trained on."""
    min_distance_m: NonNegativeFloat = 25.0
    """Places closer than this never share a batch: they would be false negatives. 0 allows it."""


class ColourJitter(Settings):
    """Random brightness, contrast, saturation and hue, drawn for each image."""

    brightness: Fraction = 0.3
    contrast: Fraction = 0.3
    saturation: Fraction = 0.3
    hue: float = Field(0.0, ge=0, le=0.5)


class RandomCrop(Settings):
    """A random part of the image, at least ``min_scale`` of its area, resized to the whole."""

    min_scale: float = Field(0.6, gt=0, le=1)


class RandAugment(Settings):
    """RandAugment; GSV-Cities uses 3 operations."""

    num_ops: int = Field(3, ge=1, le=10)
    magnitude: int = Field(9, ge=0, le=30)


class Augmentation(Settings):
    """What is done to training images, in this order; each is off unless given."""

    random_crop: RandomCrop | None = None
    colour_jitter: ColourJitter | None = None
    rand_augment: RandAugment | None = None


class Evaluation(Settings):
    """How a model is scored on the validation split."""

    distance_m: float = Field(25.0, gt=0, le=100_000)
    recall_at: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = (1, 5, 10, 20)

    @field_validator("recall_at")
    @classmethod
    def _recall_at_1_selects(cls, ns: tuple[int, ...]) -> tuple[int, ...]:
        if 1 not in ns:
            raise ValueError("recall_at must contain 1: models are selected by recall@1")
        return tuple(sorted(set(ns)))


class Recipe(Settings):
    """Everything that decides one trained model."""

    seed: int = Field(0, ge=0, lt=2**32)
    image_size: tuple[ImageSide, ImageSide] = (224, 224)
    """Height and width in pixels; every image is squashed to it."""
    backbone: Backbone = ResNet18()
    aggregator: Aggregator = GeM()
    projection: Projection | None = None
    loss: Loss = MultiSimilarity()
    miner: Miner = MultiSimilarityMiner()
    optimizer: Optimizer = Adam()
    schedule: Schedule = Constant()
    batch: Batch = Batch()
    augmentation: Augmentation = Augmentation()
    evaluation: Evaluation = Evaluation()
    epochs: int = Field(10, ge=1, le=100_000)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto`` is settled by the device when training starts, and the checkpoint says which."""

    @model_validator(mode="after")
    def _places_fill_a_batch(self) -> Self:
        if self.batch.min_images_per_place < self.batch.images_per_place:
            raise ValueError(
                f"batch.min_images_per_place {self.batch.min_images_per_place} is below "
                f"batch.images_per_place {self.batch.images_per_place}; images are drawn without "
                "replacement, so raise the first or lower the second"
            )
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Validate nested ``values``.

        Raises:
            UserError: a key, name or value is not allowed; names the dotted path, what was found
                and what is allowed.
        """
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            raise UserError(explain(error, cls)) from None
        for path, value in flatten_settings(values).items():
            # No setting is true or false, and pydantic takes them for 1 and 0.
            parts = value if isinstance(value, list | tuple) else [value]
            if any(isinstance(part, bool) for part in parts):
                raise UserError(f"{path}: found {value!r}; give a number, or leave it out")
        return recipe

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a recipe from a JSON file.

        Raises:
            UserError: the file is missing, is no JSON object, or holds an invalid recipe.
        """
        try:
            values = json.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise UserError(
                f"recipe {path}: cannot be read ({error.strerror}); give a recipe's JSON file"
            ) from None
        except ValueError as error:
            raise UserError(
                f"recipe {path}: not JSON ({error}); a recipe is a JSON object such as "
                '{"optimizer": {"name": "adam", "lr": 0.0001}}'
            ) from None
        if not isinstance(values, dict):
            raise UserError(
                f"recipe {path}: found a {type(values).__name__}, expected a JSON object"
            )
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; ``from_dict`` of them is an equal recipe."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Return indented JSON; ``from_dict`` of its values is an equal recipe."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Return the recipe with ``settings``, whose keys are dotted paths, put into it.

        A new ``name`` starts its family from that method's defaults, so that no setting of the
        method before is carried over. Names are put in first, whatever the order of the keys.

        Raises:
            UserError: as :meth:`from_dict`.
        """
        return type(self).from_dict(merge_settings(self.to_dict(), settings))


def absolute_weights(weights: str) -> str:
    """Return ``backbone.weights`` with a file's path made absolute: trials run in other folders."""
    if weights in ("imagenet", "none", ""):
        return weights
    return os.path.abspath(os.path.expanduser(weights))  # noqa: PTH100, PTH111 (~nobody is no error)
