"""What a report compares: trained models, and settings that were trained with several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from vgray.errors import UserError
from vgray.recipe import Recipe
from vgray.reports.results import RunSource


@dataclass(frozen=True)
class Model:
    """One training's best checkpoint."""

    checkpoint: Path
    recipe: Recipe
    val_recall: float | None
    """Recall@1 on the validation split, in percent; None where the checkpoint does not say."""

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.recipe.seed


@dataclass(frozen=True)
class Candidate:
    """A setting: one model, or those of several seeds."""

    short: str
    """The name without the number of its seeds, such as ``A#10``."""
    models: tuple[Model, ...]
    settings: str
    """In one short line."""
    chosen: str
    """How it came into the report."""
    is_finalist: bool = False
    """Whether it was trained anew after a search had chosen its setting, so that its recall on
    validation is no longer the highest of many."""
    best_of_trials: int | None = None
    """Of a search's trial, which is among the best of so many; None of other models."""

    @property
    def name(self) -> str:
        """What it is called in a report, such as ``A#3``; of a finalist ``A#10 x3``."""
        return f"{self.short} x{len(self.models)}" if self.is_finalist else self.short

    @property
    def val_recall(self) -> float | None:
        """The mean of its models' recall@1 on the validation split."""
        known = [model.val_recall for model in self.models if model.val_recall is not None]
        return mean(known) if len(known) == len(self.models) else None

    @property
    def representative(self) -> Model:
        """The model that is a member of ensembles: the best on the validation split."""
        return max(self.models, key=lambda model: model.val_recall or 0.0)

    @property
    def member(self) -> str:
        """What the representative is called."""
        return self.name_of(self.representative)

    def name_of(self, model: Model) -> str:
        """Return what one of its models is called."""
        return self.name if len(self.models) == 1 else f"{self.short} seed {model.seed}"


@dataclass(frozen=True)
class Run:
    """What a folder of trained models gives to a report."""

    source: RunSource
    candidates: tuple[Candidate, ...]
    """The finalists, then the other models, each the best first."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""


def read_runs(folders: Sequence[Path], top: int) -> list[Run]:
    """Read the candidates of several runs.

    Args:
        folders: each that of a sweep, of one training, or a checkpoint.
        top: how many trials of a sweep's search, finalists apart.

    Raises:
        UserError: one of them is none of these, has no trained model, or is given twice.
    """
    from vgray.reports.run_folders import read_checkpoint, read_sweep, read_training

    runs = []
    for folder, name in zip(folders, unique_names(folders, "--runs"), strict=True):
        if (folder / "metrics.json").is_file():
            runs.append(read_checkpoint(folder, name))
        elif (folder / "run.json").is_file():
            runs.append(read_training(folder, name))
        else:
            runs.append(read_sweep(folder, name, top))
    return runs


def unique_names(folders: Sequence[Path], option: str) -> list[str]:
    """Return a short name for each folder: its own, behind those of its parents where need be.

    Raises:
        UserError: a folder is given twice.
    """
    real = [folder.expanduser().resolve() for folder in folders]
    for folder, path in zip(folders, real, strict=True):
        if real.count(path) > 1:
            raise UserError(f"{option}: {folder} is given twice; give it once")
    depth = dict.fromkeys(real, 1)
    while True:
        names = ["/".join(path.parts[-depth[path] :]) for path in real]
        alike = {path for path, name in zip(real, names, strict=True) if names.count(name) > 1}
        if not alike:
            return names
        depth = {path: count + (path in alike) for path, count in depth.items()}
