"""What a search space draws from: an Optuna trial that speaks recipe paths."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import optuna

Allows = Callable[[Mapping[str, Any]], bool]
"""Whether the space holds a valid recipe with these settings."""
Value = TypeVar("Value")


class VariedTwiceError(Exception):
    """Two of the composed spaces vary the path that is the message."""


class RecipeTrial:
    """What ``suggest`` of a search space is given: an Optuna trial that speaks recipe paths.

    Optuna sees ``optimizer[sgd].lr`` where the space says ``optimizer.lr``: the learning rates of
    two optimizers are two parameters, each with its own range, and the sampler must not learn one
    from the other. The method is the one drawn, or the one of ``names``.
    """

    def __init__(
        self,
        trial: optuna.trial.BaseTrial,
        known: Mapping[str, Any],
        names: Mapping[str, Any] | None = None,
        allows: Allows | None = None,
    ) -> None:
        self._trial = trial
        self._known = known
        self._names = names or {}
        self._allows = allows
        self._of_others: set[str] = set()
        self.settings: dict[str, Any] = {}

    def begin(self) -> None:
        """Begin the next of several spaces: it may read, not vary, what those before it drew."""
        self._of_others = set(self.settings)

    def suggest_float(
        self, path: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draw a float for a recipe path; arguments as Optuna's."""
        self._claim(path)
        if self._lies_outside(path, low, high):
            return self._keep(path, cast(float, self._known[path]))
        value = self._trial.suggest_float(self._name(path), low, high, step=step, log=log)
        return self._keep(path, value)

    def suggest_int(
        self, path: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Draw an integer for a recipe path; arguments as Optuna's."""
        self._claim(path)
        if self._lies_outside(path, low, high):
            return self._keep(path, cast(int, self._known[path]))
        value = self._trial.suggest_int(self._name(path), low, high, step=step, log=log)
        return self._keep(path, value)

    def suggest_categorical(self, path: str, choices: Sequence[Any]) -> Any:
        """Draw one of ``choices`` (None, bool, int, float or str) for a recipe path."""
        self._claim(path)
        name, ever = self._name(path), list(choices)
        if self._allows is not None and is_branching(path):
            ever = [choice for choice in choices if self._allows({path: choice})]
            choices = self._possible_now(path, ever, self._allows)
        is_as_ever = list(choices) == ever
        is_offered = is_as_ever and path in self._known and self._known[path] in choices
        if path in self._known and not (is_offered and self._is_asked(path)):
            return self._keep(path, self._known[path])
        if not is_as_ever:
            # Optuna allows one list of choices to a name, whatever was drawn before.
            name = f"{name}[{','.join(map(str, choices))}]"
        return self._keep(path, self._trial.suggest_categorical(name, choices))

    def _possible_now(self, path: str, ever: list[Any], allows: Allows) -> list[Any]:
        """Return which of the choices that are ever possible are so after what was drawn."""
        taken = {key: value for key, value in self.settings.items() if is_branching(key)}
        if path not in self._known:
            taken = {**self._known, **taken}
        return [choice for choice in ever if allows({**taken, path: choice})] or ever

    def _claim(self, path: str) -> None:
        if path in self._of_others:
            raise VariedTwiceError(path)

    def _name(self, path: str) -> str:
        return parameter_name(path, {**self._names, **self.settings})

    def _lies_outside(self, path: str, low: float, high: float) -> bool:
        # A published setting may lie outside what is worth searching (a weight decay of 0 has no
        # logarithm). Optuna would silently draw another value in its place, so it isn't asked.
        if path not in self._known:
            return False
        return not low <= self._known[path] <= high or not self._is_asked(path)

    def _is_asked(self, path: str) -> bool:
        """Return whether Optuna has the known value by the name that it is asked for."""
        return self._name(path) == parameter_name(path, {**self._names, **self._known})

    def _keep(self, path: str, value: Value) -> Value:
        self.settings[path] = value
        return value


def is_branching(path: str) -> bool:
    """Return whether a choice for this path decides what else is drawn or what a trial costs."""
    return path.endswith(".name") or path == "image_size"


def parameter_name(path: str, settings: Mapping[str, Any]) -> str:
    """Return Optuna's name for a recipe path: ``optimizer.lr`` of sgd is ``optimizer[sgd].lr``."""
    family, _, rest = path.partition(".")
    method = settings.get(f"{family}.name")
    return path if rest == "name" or method is None else f"{family}[{method}].{rest}"
