"""How a network is trained and scored, from the loss to the evaluation."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator

from vgray.recipe.settings import Fraction, NonNegativeFloat, PositiveFloat, Settings

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
