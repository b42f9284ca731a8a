"""What is possible in a search space beside what is fixed, and why the rest is not."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import Any

from vgray.errors import UserError
from vgray.orchestration.probes import (
    MAX_WAYS,
    PLACES,
    Probe,
    all_ways,
    probe_at,
    ways_around,
)
from vgray.orchestration.recipe_trial import is_branching
from vgray.orchestration.spaces import SearchSpace
from vgray.recipe import Recipe, is_misfit

# Ways walked in vain before it is asked whether two choices alone exclude each other.
_WAYS_IN_VAIN = 10


class Feasible:
    """Whether a space holds a valid recipe with given settings, whatever else it draws.

    It follows from the space, what is fixed and the base recipe alone, so a resumed sweep decides
    the same. Numbers are tried in the middle and at both ends of their ranges. Of a large space not
    every combination is tried: what fits beside no single change of the first choices counts as
    impossible.

    Args:
        space: the space, with what is fixed.
        base: the recipe that settings are put into.
    """

    def __init__(self, space: SearchSpace, base: Recipe) -> None:
        self._space = space
        self._base = base
        self._answers: dict[str, Mapping[str, Any] | str] = {}
        # Two choices that exclude each other, and why: they rule out many a combination at once.
        self._excluding: dict[tuple[tuple[str, Any], ...], str] = {}

    def __call__(self, known: Mapping[str, Any]) -> bool:
        """Return whether there is a valid recipe with the ``known`` settings."""
        return not isinstance(self._answer(known), str)

    def recipe(self, known: Mapping[str, Any]) -> Recipe:
        """Return a recipe with the ``known`` settings and a value for all else that is drawn.

        Raises:
            UserError: there is no valid one.
        """
        answer = self._answer(known)
        if isinstance(answer, str):
            raise UserError(f"--space {self._space.name}: nothing is left to try: {answer}")
        return self._space.recipe(self._base, answer)

    def reason(self, known: Mapping[str, Any]) -> str | None:
        """Return why there is no valid recipe with the ``known`` settings; None if there is one."""
        answer = self._answer(known)
        return answer if isinstance(answer, str) else None

    def _answer(self, known: Mapping[str, Any]) -> Mapping[str, Any] | str:
        key = json.dumps(known, sort_keys=True)
        if key not in self._answers:
            self._answers[key] = self._find(known)
        return self._answers[key]

    def _find(self, known: Mapping[str, Any]) -> Mapping[str, Any] | str:
        for pair, reason in self._excluding.items():
            if all(path in known and known[path] == choice for path, choice in pair):
                return reason
        first = ""
        starts: dict[str, Sequence[int]] = {"": ()}
        for number, way in enumerate(islice(self._ways(known, starts), MAX_WAYS)):
            if number == _WAYS_IN_VAIN and self._excludes_itself(known):
                break
            refusal = self._refusal(known, way)
            if refusal is None:
                return {**known, **way.settings}
            # Another path that is wrong: the one before may have been mended.
            starts.setdefault(refusal.partition(":")[0], way.picks)
            first = first or refusal
        return first

    def _ways(
        self, known: Mapping[str, Any], starts: Mapping[str, Sequence[int]]
    ) -> Iterator[Probe]:
        """Yield the ways around each of the ``starts``, which may grow; of a small space then all.

        Of a large one the rest differs in what comes last, and is no more likely to fit.
        """
        seen = set()
        around = 0
        while around < len(starts):
            for way in ways_around(self._space, known, list(starts.values())[around]):
                if tuple(way.picks) not in seen:
                    seen.add(tuple(way.picks))
                    yield way
            around += 1
        if not self._is_large:
            for way in all_ways(self._space, known):
                if tuple(way.picks) not in seen:
                    yield way

    @functools.cached_property
    def _is_large(self) -> bool:
        return len(list(islice(all_ways(self._space, {}), MAX_WAYS + 1))) > MAX_WAYS

    def _excludes_itself(self, known: Mapping[str, Any]) -> bool:
        """Return whether two of the choices exclude each other whatever else is drawn."""
        choices = [(path, choice) for path, choice in known.items() if is_branching(path)]
        for pair in combinations(choices, 2) if len(known) > 2 else ():
            if (reason := self.reason(dict(pair))) is not None:
                self._excluding[pair] = reason
                return True
        return False

    def _refusal(self, known: Mapping[str, Any], way: Probe) -> str | None:
        """Return why the parts do not fit together; what is wrong by itself is raised."""
        # The ends first: what is wrong there is what the space says.
        for place in reversed(PLACES):
            at_place = way
            if place != PLACES[0]:
                at_place = probe_at(self._space, known, way.picks, place)
            try:
                self._space.recipe(self._base, {**known, **at_place.settings})
            except UserError as error:
                if is_misfit(error):
                    return str(error)
                raise
        return None
