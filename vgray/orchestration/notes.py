"""What a plan says beside its figures, each in a line with a title."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

import pyarrow as pa

from search_spaces.literature import printed_epochs
from vgray.orchestration.probes import MAX_WAYS
from vgray.orchestration.published import drawn_beside
from vgray.orchestration.spaces import SearchSpace
from vgray.orchestration.warm_start import WarmStart
from vgray.places import describe_near_validation
from vgray.recipe import Recipe

# Networks of which it is said what they do not take from a checkpoint.
_SHOWN = 3


def make_notes(
    manifest: pa.Table,
    initial: Sequence[str],
    warm_start: WarmStart | None,
    *,
    sampler: str,
    base: Recipe,
    varied: Container[str],
    all_ways: bool,
    tries_all: bool,
    published: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str]]:
    """Return what is worth saying of a plan, each with a title.

    Args:
        manifest: the data.
        initial: what networks do not take from the checkpoint that training starts from.
        warm_start: what is taken from an earlier run.
        sampler: the sweep's.
        base: its base recipe.
        varied: the dotted paths that it may draw.
        all_ways: whether every way through the choices was checked.
        tries_all: whether all settings are tried because there are no more than trials.
        published: settings that are tried to rerun the literature.
    """
    notes = []
    if near := describe_near_validation(manifest):
        notes.append(("data", near))
    notes += [("init_from", text.removeprefix("init_from ")) for text in initial[:_SHOWN]]
    if len(initial) > _SHOWN:
        notes.append(("init_from", f"and so for {len(initial) - _SHOWN} more networks"))
    if warm_start is not None:
        notes.append(("warm start", warm_start.describe(sampler, base, varied)))
    if tries_all:
        notes.append(("grid", "the space has no more settings than trials: each is tried once"))
    if text := _epochs_of_studies(published, base.epochs):
        notes.append(("published", text))
    if not all_ways:
        what = f"over {MAX_WAYS} ways through the choices: each choice was checked, not each way"
        notes.append(("branches", what))
    return notes


def _epochs_of_studies(published: Sequence[Mapping[str, Any]], epochs: int) -> str:
    """Say for how long the studies trained the settings, if that is printed and was longer."""
    printed = [each for setting in published if len(each := printed_epochs(setting)) == 1]
    counts = Counter(number for each in printed for number in each)
    if not set(counts) - {epochs}:
        return ""
    by_number = ", ".join(f"{count} for {number}" for number, count in sorted(counts.items()))
    return f"the studies trained {by_number} epochs; here all are trained for {epochs}"


def sources(
    space: SearchSpace, given: Sequence[Mapping[str, Any]], num_published: int
) -> list[str]:
    """Return where each of the ``given`` settings is from; the first of them are published."""
    return [
        ("published, rest drawn" if drawn_beside(space, setting) else "published")
        if number < num_published
        else "grid"
        for number, setting in enumerate(given)
    ]
