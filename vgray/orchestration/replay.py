"""An earlier run's trials, drawn again from a new space as far as the two overlap."""

import re
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from vgray.orchestration import study as studies
from vgray.settings import flatten_settings


class Replay(optuna.trial.FixedTrial):
    """Answers with an earlier trial's values; notes those that the new space could draw too."""

    def __init__(self, earlier: FrozenTrial) -> None:
        super().__init__({})
        self._earlier = earlier
        self._recipe = flatten_settings(earlier.user_attrs[studies.RECIPE])
        self._shared: dict[str, BaseDistribution] = {}
        self.other_choices: set[str] = set()
        """Dotted paths that both draw, from other choices."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._answer(name, FloatDistribution(low, high, log=log, step=step), low))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._answer(name, IntDistribution(low, high, log=log, step=step), low))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._answer(name, CategoricalDistribution(choices), choices[0])

    def as_new(self, run: str) -> FrozenTrial | None:
        """Return the trial with the parameters that both spaces have; None if there is none."""
        if not self._shared:
            return None
        earlier, attributes = self._earlier, self._earlier.user_attrs
        return create_trial(
            state=earlier.state,
            value=earlier.value if earlier.state == TrialState.COMPLETE else None,
            params={name: earlier.params[name] for name in self._shared},
            distributions=self._shared,
            intermediate_values=earlier.intermediate_values,
            user_attrs={
                studies.WARM_START: attributes.get(studies.WARM_START, f"{run}#{earlier.number}"),
                studies.RECIPE: attributes[studies.RECIPE],
            },
        )

    def _answer(self, name: str, new: BaseDistribution, otherwise: Any) -> Any:
        value = self._earlier.params.get(name)
        old = self._earlier.distributions.get(name)
        path = re.sub(r"\[[^]]*\]", "", name)
        if old is None and isinstance(new, CategoricalDistribution):
            # What the earlier run had fixed says which branch of the new space it was in.
            fixed = self._recipe.get(path)
            return fixed if fixed in new.choices else otherwise
        if type(old) is not type(new):
            return otherwise
        if isinstance(new, CategoricalDistribution):
            # The same choices or not, what follows the value's own branch may overlap.
            is_shared = new == old
            is_answer = value in new.choices
            if not is_shared:
                self.other_choices.add(path)
        else:
            is_shared = is_answer = new._contains(new.to_internal_repr(value))
        if is_shared:
            self._shared[name] = new
        return value if is_answer else otherwise
