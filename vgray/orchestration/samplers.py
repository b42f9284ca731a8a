"""What draws the settings of a sweep's trials."""

import logging
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial, TrialState

SamplerName: TypeAlias = Literal["tpe", "random", "grid", "gp"]


class SharedGPSampler(GPSampler):
    """A Gaussian process over the parameters that all finished trials share, else TPE.

    TPE draws what only some methods have, and everything until ten trials have finished. Trials
    that were stopped early teach the process nothing. As Optuna's, but trials without parameters
    (published settings outside the ranges) are left aside: beside them nothing would be shared. So
    are those of an earlier run that lack what the run's own share.
    """

    def __init__(self, seed: int) -> None:
        # Of a kernel that cannot be fitted to few trials it tells at length, and goes on.
        logging.getLogger("optuna._gp").setLevel(logging.ERROR)
        super().__init__(
            seed=seed,
            independent_sampler=TPESampler(seed=seed),
            warn_independent_sampling=False,
        )

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that all finished trials with parameters share."""
        from vgray.orchestration.study import WARM_START  # which imports this

        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        telling = [trial for trial in finished if trial.params]
        own = [trial for trial in telling if WARM_START not in trial.user_attrs]
        shared = intersection_search_space(own or telling)
        return {name: values for name, values in shared.items() if not values.single()}

    def _sample_relative_impl(
        self,
        study: optuna.Study,
        completed_trials: list[FrozenTrial],
        running_trials: list[FrozenTrial],
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        with_all = [
            trial for trial in completed_trials if search_space.keys() <= trial.params.keys()
        ]
        return super()._sample_relative_impl(study, with_all, running_trials, search_space)


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed)


def _random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


# The points of a grid are all given; what is left to draw is of no consequence.
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "grid": _random,
    "gp": SharedGPSampler,
}


def build_sampler(name: str, seed: int) -> BaseSampler:
    """Return Optuna's sampler of a name: ``tpe``, ``random``, ``grid`` or ``gp``.

    A study that is sampled by a new one for each trial is sampled as well as by one for all.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in SAMPLERS:
        raise ValueError(f"no sampler {name!r}; known are {', '.join(SAMPLERS)}")
    return SAMPLERS[name](seed)
