"""Every way through the branchings of a search space, walked without drawing anything."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna

from vgray.orchestration.spaces import RecipeTrial, SearchSpace, is_branching

# In the ranges: middle, low and high. What is valid at all three is taken to be so in between.
PLACES = (0.5, 0.0, 1.0)


class Probe(RecipeTrial):
    """Takes given choices of methods and sizes, and a place in every range; notes the ranges.

    Args:
        known: settings that are given rather than drawn.
        picks: which choice to take at each of the branchings, then the first.
        place: where in the ranges, from 0 (low) to 1 (high).
    """

    def __init__(self, known: Mapping[str, Any], picks: Sequence[int], place: float) -> None:
        super().__init__(optuna.trial.FixedTrial({}), known)
        self._given = picks
        self._place = place
        self.picks: list[int] = []
        self.picked: list[str] = []
        self.counts: list[int] = []
        self.ranges: dict[str, str] = {}
        self.branchings_before = 0
        """How many branchings the spaces before the last one have."""

    def begin(self) -> None:
        super().begin()
        self.ranges = {}
        self.branchings_before = len(self.picks)

    def suggest_float(
        self, path: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        middle = math.sqrt(low * high) if log else (low + high) / 2
        what = f"{low:g}..{high:g}{' log' * log}" + (f" step {step:g}" if step else "")
        return float(self._take(path, [low, middle, high], what))

    def suggest_int(
        self, path: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        high = low + (high - low) // step * step
        middle = low + (high - low) // step // 2 * step
        what = f"{low}..{high}{' log' * log}" + (f" step {step}" if step > 1 else "")
        return int(self._take(path, [low, middle, high], what))

    def suggest_categorical(self, path: str, choices: Sequence[Any]) -> Any:
        if not is_branching(path):
            return self._take(path, choices, f"{{{', '.join(map(str, choices))}}}")
        self._claim(path)
        given = {**self._known, **self.settings}
        if path in given:
            return self._keep(path, given[path])
        position = len(self.picks)
        pick = self._given[position] if position < len(self._given) else 0
        # A number may decide what there is to choose from.
        pick = min(pick, len(choices) - 1)
        self.picks.append(pick)
        self.picked.append(path)
        self.counts.append(len(choices))
        return self._keep(path, choices[pick])

    def _take(self, path: str, values: Sequence[Any], what: str) -> Any:
        self._claim(path)
        self.ranges[path] = what
        return self._keep(
            path, self._known.get(path, values[round(self._place * (len(values) - 1))])
        )


def varied_paths(space: SearchSpace) -> set[str]:
    """Return the dotted paths that a space may draw."""
    return {
        path for *_, probes in ways_of_each(space) for probe in probes for path in probe.settings
    }


def ways(space: SearchSpace, known: Mapping[str, Any]) -> Iterator[list[Probe]]:
    """Yield each way through all the branchings, in the middle, low and high in the ranges."""
    picks: list[int] | None = []
    while picks is not None:
        probes = [_probe(space, known, picks, place) for place in PLACES]
        yield probes
        picks = _next(probes[0], 0)


def ways_of_each(
    space: SearchSpace,
) -> Iterator[tuple[int, dict[str, Any], list[Probe]]]:
    """Yield each way through each of the composed spaces: its number, choices, three probes."""
    for i in range(len(space.suggests)):
        part = replace(space, suggests=space.suggests[: i + 1])
        picks: list[int] | None = []
        while picks is not None:
            probes = [_probe(part, {}, picks, place) for place in PLACES]
            first = probes[0]
            own = first.picked[first.branchings_before :]
            choices = {path: first.settings[path] for path in own}
            yield i, choices, probes
            picks = _next(first, first.branchings_before)


def _next(probe: Probe, first: int) -> list[int] | None:
    """Return the picks of the way after ``probe``'s, from its ``first`` branching; None at last."""
    for i in range(len(probe.picks) - 1, first - 1, -1):
        if probe.picks[i] + 1 < probe.counts[i]:
            return [*probe.picks[:i], probe.picks[i] + 1]
    return None


def _probe(
    space: SearchSpace, known: Mapping[str, Any], picks: Sequence[int], place: float
) -> Probe:
    probe = Probe(known, picks, place)
    space.run(probe)
    return probe
