"""What a training is of: as it is asked for, as it was begun, or as a trial of a run had it."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgray.errors import UserError
from vgray.places.files import local_or_uri
from vgray.provenance import data_sets
from vgray.recipe import Recipe, with_absolute_paths
from vgray.training.run_folder import require_same
from vgray.training.trials import Trial, read_trial


@dataclass(frozen=True)
class Request:
    """A training that is to begin or to go on."""

    recipe: Recipe
    data: list[str]
    """Absolute paths and addresses; none means the demo city."""
    val: str | None
    threads: int | None
    earlier: Mapping[str, Any] | None
    """``run.json`` of the training that goes on."""
    trial: Trial | None
    """What is trained again."""

    @property
    def trial_name(self) -> str | None:
        """The trial's run and number, to be found from any folder."""
        return str(Path(self.trial.name).absolute()) if self.trial is not None else None

    def require_same_data(self, fingerprint: str) -> None:
        """Refuse to go on with another recipe, or with data that has changed since then.

        Raises:
            UserError: one of them differs.
        """
        if self.earlier is not None:
            require_same(self.earlier, self.recipe, fingerprint)
        elif self.trial is not None:
            self.trial.require_same_data(fingerprint)


def settle(
    recipe: Recipe | None,
    settings: Mapping[str, Any],
    *,
    data: Sequence[str] | None = None,
    val: str | None = None,
    threads: int | None = None,
    earlier: Mapping[str, Any] | None = None,
    trial: str | None = None,
) -> Request:
    """Settle what is trained; what is not given is as ``earlier`` or the trial has it.

    Args:
        recipe: to begin with; None only with one of the other two.
        settings: dotted paths and values that are put into it.
        data: data sets to train on.
        val: another one to validate on.
        threads: to compute with; None leaves it to torch.
        earlier: ``run.json`` of the training to go on with.
        trial: the trial to train again, such as ``runs/NAME#3``.

    Raises:
        UserError: the recipe is invalid, or there is no such trial.
    """
    known = None
    if earlier is not None:
        recipe = recipe or Recipe.from_dict(earlier["recipe"])
        data = data or data_sets(earlier["data"]["uri"])
        val = val or earlier["data"].get("val")
        threads = threads or earlier.get("threads")
        if earlier.get("trial"):
            with contextlib.suppress(UserError):  # its run may be gone by now
                known = read_trial(earlier["trial"])
    elif trial is not None:
        known = read_trial(trial)
        recipe, data, val = known.recipe, known.data, known.val
        threads = threads or known.threads
    if recipe is None:
        raise ValueError("neither a recipe, nor a training that has one")
    recipe = recipe.with_settings(settings)
    files = {"backbone.weights": recipe.backbone.weights, "init_from": recipe.init_from}
    return Request(
        recipe=recipe.with_settings(with_absolute_paths(files)),
        data=[local_or_uri(uri) for uri in data or ()],
        val=local_or_uri(val) if val is not None else None,
        threads=threads,
        earlier=earlier,
        trial=known,
    )
