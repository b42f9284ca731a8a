"""Which settings mattered in a run, by Optuna's importance."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vgray.console import say
from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.earlier import read_trials
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.spaces import absolute_space

MIN_TRIALS = 4
# With fewer trials another seed of the search could turn the order round.
FEW_TRIALS = 20
# The evaluator looks at what the best trials have in common; of fewer it says nothing steady.
_BEST = 5


@dataclass(frozen=True)
class Importance:
    """How much one parameter of a space mattered."""

    parameter: str
    """``optimizer.name``, or ``optimizer[sgd].lr`` of those with sgd."""
    percent: float
    """Of the importance of all parameters."""
    num_trials: int
    """How many trials drew it."""
    best: Any
    """Its value in the best trial that drew it."""


@dataclass(frozen=True)
class Importances:
    """What mattered for recall@1 at an epoch that all compared trials have reached."""

    epoch: int
    num_trials: int
    num_best: int
    """How many count as the best, whose settings are compared with those of all."""
    parameters: list[Importance]
    """The most important first."""


def find_importances(run: RunFolder) -> Importances:
    """Return how much each parameter mattered for a run's recall@1, by conditional PED-ANOVA.

    Trials that were stopped early count as well: all are compared at the last epoch that all have
    reached. Finalists, and trials of an earlier run, do not count. What a published setting has
    outside the ranges of the space is no value of a parameter, and a parameter that a single trial
    drew is left out: there is nothing to compare it with.

    Source: "Conditional PED-ANOVA: Hyperparameter Importance in Hierarchical & Dynamic Search
    Spaces" (2026), as Optuna implements it.

    Raises:
        UserError: there is no such run, too few of its trials have ended, or all are alike.
    """
    run.description()
    trials = [trial for trial in read_trials(run.journal) if _counts(trial)]
    if len(trials) < MIN_TRIALS:
        raise UserError(
            f"--importance {run.name}: {len(trials)} of its trials have ended; it takes at least "
            f"{MIN_TRIALS} to compare, so go on with it: --resume {run.name} --num-trials N"
        )
    epochs = set.intersection(*(set(trial.intermediate_values) for trial in trials))
    if not epochs:
        raise UserError(f"--importance {run.name}: its trials have no epoch in common")
    epoch = max(epochs)
    values = [trial.intermediate_values[epoch] for trial in trials]
    if len(set(values)) == 1:
        raise UserError(
            f"--importance {run.name}: all {len(trials)} trials have recall@1 {values[0]:.1f} at "
            f"epoch {epoch}, so nothing mattered there; run one with more epochs"
        )
    study = _study_of(trials, values)
    num_best = max(min(_BEST, len(trials) // 2), len(trials) // 10)
    percents = _percents(study, num_best / len(trials))
    if not percents:
        raise UserError(f"--importance {run.name}: its trials differ in no setting of the space")
    parameters = [
        _describe(parameter, percent, study.get_trials(deepcopy=False))
        for parameter, percent in sorted(percents.items(), key=lambda item: -item[1])
    ]
    return Importances(epoch, len(trials), num_best, parameters)


def show_importances(run: RunFolder, space: str | None, console: Console) -> None:
    """Print a table of what mattered in a run.

    Args:
        run: the run.
        space: what the user says that it searched, if he does.
        console: where to print.

    Raises:
        UserError: the run has searched another space; as :func:`find_importances`.
    """
    of_run = run.description()["options"]["space"]
    if space is not None and absolute_space(space) != of_run:
        raise UserError(
            f"--space {space}: {run.name} searched {of_run}; give that one, or leave it out"
        )
    found = find_importances(run)
    say(
        f"{run.name}: what the best {found.num_best} of {found.num_trials} trials have in common, "
        f"by recall@1 after epoch {found.epoch}, the last that all of them reached"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("parameter", no_wrap=True)
    table.add_column("importance", justify="right")
    table.add_column("trials", justify="right")
    table.add_column("best value")
    for each in found.parameters:
        value = f"{each.best:.3g}" if isinstance(each.best, float) else str(each.best)
        cells = [each.parameter, f"{each.percent:.0f} %", str(each.num_trials), value]
        table.add_row(*map(Text, cells))
    console.print(table)
    if found.num_trials < FEW_TRIALS:
        say(f"{found.num_trials} trials: a rough guide")


def _counts(trial: FrozenTrial) -> bool:
    return (
        trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        and bool(trial.intermediate_values)
        and not {studies.FINALIST_OF, studies.WARM_START} & trial.user_attrs.keys()
    )


def _study_of(trials: Sequence[FrozenTrial], values: Sequence[float]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        create_trial(value=value, params=trial.params, distributions=trial.distributions)
        for trial, value in zip(trials, values, strict=True)
    )
    return study


def _percents(study: optuna.Study, quantile: float) -> dict[str, float]:
    """Return the percentage of each parameter that more than one trial drew."""
    drawn = Counter(
        name
        for trial in study.get_trials(deepcopy=False)
        for name in {_plain(name) for name in trial.params}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study)
    merged: dict[str, float] = {}
    for name, value in found.items():
        if drawn[_plain(name)] > 1:
            merged[_plain(name)] = merged.get(_plain(name), 0.0) + value
    total = sum(merged.values())
    return {name: 100 * value / total for name, value in merged.items()} if total else {}


def _describe(parameter: str, percent: float, trials: Sequence[FrozenTrial]) -> Importance:
    drawn = [
        (trial.value or 0.0, value)
        for trial in trials
        for name, value in trial.params.items()
        if _plain(name) == parameter
    ]
    best = max(drawn, key=lambda pair: pair[0])[1]
    return Importance(parameter, percent, len(drawn), best)


def _plain(name: str) -> str:
    """Return a parameter's name without the choices that were left at the time."""
    return re.sub(r"\[[^]]*\]$", "", name)
