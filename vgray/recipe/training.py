"""How a network is trained and scored: optimizer, schedule, batches, evaluation."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from vgray.recipe.settings import NonNegativeFloat, Settings

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
    warmup_epochs: NonNegativeFloat = 0.0
    """The same in epochs, which suits data of any size; one of the two is 0."""

    @model_validator(mode="after")
    def _one_warm_up(self) -> Self:
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError(
                f"found warmup_steps {self.warmup_steps} and warmup_epochs "
                f"{self.warmup_epochs:g}; give one of them"
            )
        return self


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


# --- batches and evaluation --------------------------------------------------------------------


class Batch(Settings):
    """Batches of ``places`` x ``images_per_place``."""

    places: int = Field(32, ge=2, le=4096)
    images_per_place: int = Field(4, ge=2, le=64)
    min_images_per_place: int = Field(4, ge=2, le=64)
    """Places with fewer images are not trained on."""
    min_distance_m: NonNegativeFloat = 25.0
    """Places closer than this never share a batch: they would be false negatives. 0 allows it."""


class Evaluation(Settings):
    """How a model is scored on the validation split."""

    distance_m: float = Field(25.0, gt=0, le=100_000)
    recall_at: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = (1, 5, 10, 20)
    night_below: float | None = Field(None, ge=0, le=255)
    """Mean brightness below which a query was taken at night; from the queries unless given."""

    @field_validator("recall_at")
    @classmethod
    def _recall_at_1_selects(cls, ns: tuple[int, ...]) -> tuple[int, ...]:
        if 1 not in ns:
            raise ValueError("recall_at must contain 1: models are selected by recall@1")
        return tuple(sorted(set(ns)))
