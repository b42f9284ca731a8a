"""Every setting of a finite search space."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

import optuna

from vgray.errors import UserError
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe, is_misfit

MAX_SETTINGS = 10_000


class _RangeError(UserError):
    """A space draws from a range without steps."""


class _GridTrial(optuna.trial.FixedTrial):
    """Takes a given value at each question, then the first; notes how many there were."""

    def __init__(self, picks: Sequence[int]) -> None:
        super().__init__({})
        self._given = picks
        self.picks: list[int] = []
        self.counts: list[int] = []

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is None and low < high:
            path = re.sub(r"\[[^]]*\]", "", name)
            raise _RangeError(
                f"--sampler grid: {path} is drawn from a range ({low:g}..{high:g}); give a finite "
                "space, or tpe, random or gp"
            )
        # As Optuna has them: in decimals, for 0.5 + 2 * 0.2 is a little more than 0.9.
        first, last, width = (Decimal(str(value)) for value in (low, high, step or 1))
        return float(first + self._pick(int((last - first) // width) + 1) * width)

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return low + step * self._pick((high - low) // step + 1)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[self._pick(len(choices))]

    def _pick(self, count: int) -> int:
        position = len(self.picks)
        self.picks.append(self._given[position] if position < len(self._given) else 0)
        self.counts.append(count)
        return self.picks[-1]

    def next_picks(self) -> list[int] | None:
        """Return the picks of the setting after this one; None at last."""
        for i in range(len(self.picks) - 1, -1, -1):
            if self.picks[i] + 1 < self.counts[i]:
                return [*self.picks[:i], self.picks[i] + 1]
        return None


def grid_settings(space: SearchSpace, base: Recipe) -> list[Mapping[str, Any]]:
    """Return every setting of the space; of those that make the same recipe the first.

    What does not fit together is left out.

    Raises:
        UserError: something is drawn from a range without steps, or there are too many settings.
    """
    walked = list(islice(_walk(space), MAX_SETTINGS + 1))
    if len(walked) > MAX_SETTINGS:
        raise UserError(
            f"--sampler grid: --space {space.name} has more than {MAX_SETTINGS:,} settings; give a "
            "smaller space, or tpe, random or gp"
        )
    settings: dict[Recipe, Mapping[str, Any]] = {}
    for setting in walked:
        try:
            settings.setdefault(space.recipe(base, setting), setting)
        except UserError as error:
            if not is_misfit(error):
                raise
    return list(settings.values())


def num_settings(space: SearchSpace, base: Recipe, most: int) -> int | None:
    """Return how many settings a finite space has; None of more than ``most``, or of ranges."""
    recipes: set[Recipe] = set()
    try:
        for setting in islice(_walk(space), MAX_SETTINGS):
            try:
                recipes.add(space.recipe(base, setting))
            except UserError as error:
                if not is_misfit(error):
                    raise
            if len(recipes) > most:
                return None
    except _RangeError:
        return None
    return len(recipes)


def _walk(space: SearchSpace) -> Iterator[dict[str, Any]]:
    picks: list[int] | None = []
    while picks is not None:
        trial = _GridTrial(picks)
        yield space.draw(trial, {})
        picks = trial.next_picks()


def spread(settings: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[Mapping[str, Any]]:
    """Return ``count`` of the settings, from all over the grid; of a larger count they are part."""
    if count >= len(settings):
        return list(settings)
    shuffled = list(settings)
    random.Random(seed).shuffle(shuffled)
    return shuffled[:count]
