"""Published settings beside what else a space varies: drawn, or left as the base recipe has it."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from vgray.errors import UserError
from vgray.orchestration.probes import PLACES, probe_at
from vgray.orchestration.recipe_trial import RecipeTrial
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe
from vgray.settings import flatten_settings


class _AsBase(RecipeTrial):
    """Answers what a published setting does not say with what its recipe has."""

    def __init__(self, space: SearchSpace, base: Recipe, known: Mapping[str, Any]) -> None:
        super().__init__(optuna.trial.FixedTrial({}), known)
        self._space = space
        self._base = base
        self._recipe = space.recipe(base, known)
        self._values = flatten_settings(self._recipe.to_dict())

    def suggest_float(
        self, path: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._take(path))

    def suggest_int(
        self, path: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._take(path))

    def suggest_categorical(self, path: str, choices: Sequence[Any]) -> Any:
        said = path in self._known or (path in self._values and self._values[path] in choices)
        # A recipe has other words than a choice: numbers for 480x640, None for what is off.
        same = [] if said else [choice for choice in choices if self._is_same(path, choice)]
        if same:
            self._claim(path)
            return self._keep(path, same[0])
        return self._take(path)

    def _is_same(self, path: str, choice: Any) -> bool:
        settings = {**self._known, **self.settings, path: choice}
        try:
            return self._space.recipe(self._base, settings) == self._recipe
        except UserError:
            return False

    def _take(self, path: str) -> Any:
        self._claim(path)
        if path in self._known:
            return self._keep(path, self._known[path])
        if path not in self._values:
            raise UserError(
                f"--published-only: --space {self._space.name} varies {path}, which neither a "
                "published setting nor the base recipe has; say it in BASE of the space"
            )
        return self._keep(path, self._values[path])


def completed(space: SearchSpace, base: Recipe, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return a published setting with the base recipe's values of all else that is varied.

    A method that the base recipe does not have comes with its defaults. The recipe is that of the
    setting alone, and nothing is left to draw.

    Raises:
        UserError: the recipe is not valid, or does not have what the space varies.
    """
    answers = _AsBase(space, base, setting)
    space.run(answers)
    return {**setting, **answers.settings}


def drawn_beside(space: SearchSpace, setting: Mapping[str, Any]) -> set[str]:
    """Return the dotted paths that are drawn for a setting that is given."""
    return probe_at(space, setting, (), PLACES[0]).settings.keys() - setting.keys()
