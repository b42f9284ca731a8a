"""The ways through the branchings of a search space, walked without drawing anything."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import optuna

from vgray.orchestration.recipe_trial import RecipeTrial, is_branching
from vgray.orchestration.spaces import SearchSpace

# In the ranges: middle, low and high. What is valid at all three is taken to be so in between.
PLACES = (0.5, 0.0, 1.0)
# Where a space has more ways than this, enough of them are walked to take every choice once.
MAX_WAYS = 300


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
        self.offered: list[Sequence[Any]] = []
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
        self.offered.append(choices)
        return self._keep(path, choices[pick])

    def _take(self, path: str, values: Sequence[Any], what: str) -> Any:
        self._claim(path)
        self.ranges[path] = what
        return self._keep(
            path, self._known.get(path, values[round(self._place * (len(values) - 1))])
        )


class Way(NamedTuple):
    """One way through the branchings of one of the composed spaces."""

    part: int
    """Which of the composed spaces, from 0."""
    choices: dict[str, Any]
    """Dotted path -> the method or image size."""
    probes: list[Probe]
    """In the middle, low and high in the ranges."""
    is_one_of_all: bool
    """Whether every way of the part is walked; else every choice is taken once."""


def varied_paths(space: SearchSpace) -> set[str]:
    """Return the dotted paths that a space may draw."""
    return {path for way in ways_of_each(space) for probe in way.probes for path in probe.settings}


def all_ways(space: SearchSpace, known: Mapping[str, Any]) -> Iterator[Probe]:
    """Yield every way through all the branchings, in the middle of the ranges."""
    return _all(lambda picks: probe_at(space, known, picks, PLACES[0]), 0)


def ways_around(
    space: SearchSpace, known: Mapping[str, Any], picks: Sequence[int]
) -> Iterator[Probe]:
    """Yield the way of ``picks``, then ways that take every other choice once; otherwise alike."""
    return _covering(lambda picks: probe_at(space, known, picks, PLACES[0]), 0, picks)


def ways_of_each(space: SearchSpace) -> Iterator[Way]:
    """Yield the ways through each of the composed spaces: all, or each choice of it once.

    The spaces before it take their first choices.
    """
    for i in range(len(space.suggests)):
        part = replace(space, suggests=space.suggests[: i + 1])

        def probe(picks: Sequence[int], part: SearchSpace = part) -> Probe:
            return probe_at(part, {}, picks, PLACES[0])

        before = probe([]).branchings_before
        walked = list(islice(_all(probe, before), MAX_WAYS + 1))
        is_all = len(walked) <= MAX_WAYS
        for first in walked if is_all else _covering(probe, before):
            own = first.picked[first.branchings_before :]
            choices = {path: first.settings[path] for path in own}
            others = [probe_at(part, {}, first.picks, place) for place in PLACES[1:]]
            yield Way(i, choices, [first, *others], is_all)


def _all(probe: Callable[[Sequence[int]], Probe], first: int) -> Iterator[Probe]:
    """Yield every way from the branching numbered ``first`` on, the last ones changing first."""
    picks: list[int] | None = []
    while picks is not None:
        walked = probe(picks)
        yield walked
        picks = _next(walked, first)


def _next(probe: Probe, first: int) -> list[int] | None:
    """Return the picks of the way after ``probe``'s, from its ``first`` branching; None at last."""
    for i in range(len(probe.picks) - 1, first - 1, -1):
        if probe.picks[i] + 1 < len(probe.offered[i]):
            return [*probe.picks[:i], probe.picks[i] + 1]
    return None


def _covering(
    probe: Callable[[Sequence[int]], Probe], first: int, start: Sequence[int] = ()
) -> Iterator[Probe]:
    """Yield the way of ``start``, then ways that differ in one choice until each was taken."""
    to_walk = [list(start)]
    taken: set[tuple[str, str]] = set()
    while to_walk:
        walked = probe(to_walk.pop(0))
        yield walked
        for i in range(first, len(walked.picks)):
            path, choices = walked.picked[i], walked.offered[i]
            taken.add((path, repr(choices[walked.picks[i]])))
            for pick, choice in enumerate(choices):
                if (path, repr(choice)) not in taken:
                    taken.add((path, repr(choice)))
                    to_walk.append([*walked.picks[:i], pick, *walked.picks[i + 1 :]])


def probe_at(
    space: SearchSpace, known: Mapping[str, Any], picks: Sequence[int], place: float
) -> Probe:
    """Return the way of ``picks`` at a place in the ranges; arguments as of :class:`Probe`."""
    probe = Probe(known, picks, place)
    space.run(probe)
    return probe
