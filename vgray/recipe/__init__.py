"""The recipe: everything that decides one trained model, as plain, validated, frozen values.

A :class:`Recipe` and its seed reproduce a training run. Each family (optimizer, loss, ...) is a
union tagged by ``name``, so a setting can only be given to a method that has it. The class behind
a name is in the registry of the same family (``vgray.training.OPTIMIZERS``, ...): its constructor
takes the settings as arguments, and a test holds the two together. ``networks.py`` has the families
that a network is made of, ``losses.py`` what it learns from, ``augmentation.py`` what is done to
images, ``training.py`` what else trains and scores it.

Dotted paths such as ``optimizer.lr`` name one setting. The command line, the search spaces and the
error messages all use them.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, field_validator, model_validator

from vgray.errors import UserError
from vgray.recipe.augmentation import Augmentation
from vgray.recipe.fit import IMAGE_SIDES, Misfit, require_fit, require_training_fit
from vgray.recipe.losses import (
    Loss,
    Miner,
    Mining,
    MultiSimilarity,
    MultiSimilarityMiner,
    NoMining,
)
from vgray.recipe.networks import (
    Aggregator,
    Attention,
    Backbone,
    GeM,
    MultiScale,
    NoAttention,
    Projection,
    ResNet,
)
from vgray.recipe.settings import Settings
from vgray.recipe.training import (
    Adam,
    Batch,
    Constant,
    Evaluation,
    Optimizer,
    Schedule,
)
from vgray.settings import explain, flatten_settings, merge_settings

ImageSide: TypeAlias = Annotated[int, Field(ge=IMAGE_SIDES.start, lt=IMAGE_SIDES.stop)]


class MisfitError(UserError):
    """Settings that are valid each by itself, but make no network together."""


class Recipe(Settings):
    """Everything that decides one trained model."""

    seed: int = Field(0, ge=0, lt=2**32)
    image_size: tuple[ImageSide, ImageSide] = (224, 224)
    """Height and width in pixels; every image is squashed to it. ``480x640`` and 224 do as well."""
    init_from: str | None = None
    """A checkpoint whose weights training starts from; optimizer and schedule start anew."""
    backbone: Backbone = ResNet()
    attention: Attention = NoAttention()
    aggregator: Aggregator = GeM()
    projection: Projection | None = None
    multi_scale: MultiScale | None = None
    """Scales at which images are described; training uses the whole image only."""
    loss: Loss = MultiSimilarity()
    miner: Miner = MultiSimilarityMiner()
    mining: Mining = NoMining()
    """Anything but ``none`` trains on tuples of queries and database images, not on places."""
    optimizer: Optimizer = Adam()
    schedule: Schedule = Constant()
    batch: Batch = Batch()
    augmentation: Augmentation = Augmentation()
    evaluation: Evaluation = Evaluation()
    epochs: int = Field(10, ge=1, le=100_000)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto`` is settled by the device when training starts, and the checkpoint says which."""

    @field_validator("image_size", mode="before")
    @classmethod
    def _one_side_or_a_text(cls, value: Any) -> Any:
        # Search spaces draw numbers and texts, not lists.
        if isinstance(value, str) and (text := re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", value)):
            return int(text[1]), int(text[2] or text[1])
        if isinstance(value, int) and not isinstance(value, bool):
            return value, value
        if not (isinstance(value, list | tuple) and len(value) == 2):
            raise ValueError(f"found {value!r}; give height and width, as in 480x640, or 224")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        require_fit(
            self.backbone, self.attention, self.aggregator, self.multi_scale, self.image_size
        )
        require_training_fit(self.loss, self.miner, self.mining, self.augmentation)
        return self

    @model_validator(mode="after")
    def _training_is_longer_than_its_warm_up(self) -> Self:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs: found {self.schedule.warmup_epochs:g}, but training has "
                f"{self.epochs} epochs; lower it or train longer"
            )
        return self

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
            is_misfit = isinstance(error.errors()[0].get("ctx", {}).get("error"), Misfit)
            raise (MisfitError if is_misfit else UserError)(explain(error, cls)) from None
        understood = flatten_settings(recipe.to_dict())
        for path, value in flatten_settings(values).items():
            # pydantic takes true and false for 1 and 0.
            if _has_bool(value) and not _has_bool(understood[path]):
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


def is_misfit(error: UserError) -> bool:
    """Return whether a recipe was refused for parts that do not fit, each being valid by itself."""
    return isinstance(error, MisfitError)


def _has_bool(value: Any) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(part, bool) for part in parts)


def with_absolute_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted path with those of files made absolute.

    These are ``backbone.weights`` and ``init_from``; trials run in other folders.
    """
    changed = dict(settings)
    for path in ("backbone.weights", "init_from"):
        value = changed.get(path)
        if isinstance(value, str) and value not in ("pretrained", "imagenet", "none", ""):
            changed[path] = os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111 (~nobody is no error)
    return changed
