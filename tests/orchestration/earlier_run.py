"""A run folder as an earlier sweep leaves it, written without training anything."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from vgray.orchestration import study as studies
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.spaces import load_space
from vgray.recipe import Recipe

Played = tuple[Mapping[str, Any], Sequence[float]]


def write_run(
    folder: Path,
    space_name: str,
    played: Sequence[Played],
    *,
    base: Mapping[str, Any] | None = None,
    epochs: int = 3,
    fingerprint: str = "same",
    attributes: Mapping[int, Mapping[str, Any]] | None = None,
) -> RunFolder:
    """Write a run with a trial for each setting and its recall@1 of every epoch.

    One with ``epochs`` recalls has finished, one with fewer was stopped early, without any failed.
    ``attributes`` are more user attributes of trials, by number.
    """
    (folder / "trials").mkdir(parents=True)
    run, space = RunFolder(folder), load_space(space_name)
    recipe = Recipe().with_settings({**space.base, **(base or {}), "epochs": epochs})
    described = {
        "recipe": recipe.to_dict(),
        "data": {"fingerprint": fingerprint},
        "options": {"space": space_name, "data": "city", "warm_start": None},
    }
    (folder / "recipe.json").write_text(json.dumps(described))
    study = studies.open_study(run.journal)
    for number, (settings, recalls) in enumerate(played):
        studies.enqueue_given(study, [settings], space.names)
        trial = study.ask()
        studies.configure(trial, space, recipe)
        for key, value in (attributes or {}).get(number, {}).items():
            trial.set_user_attr(key, value)
        for epoch, recall in enumerate(recalls, start=1):
            trial.report(recall, epoch)
        if len(recalls) == epochs:
            study.tell(trial, max(recalls))
        else:
            study.tell(trial, state=TrialState.PRUNED if recalls else TrialState.FAIL)
    return run


def optimizer(name: str, lr: float, weight_decay: float = 1e-3, **more: float) -> dict[str, Any]:
    """Return a setting of the space ``optimizers``."""
    values = {"name": name, "lr": lr, "weight_decay": weight_decay, **more}
    return {f"optimizer.{key}": value for key, value in values.items()}
