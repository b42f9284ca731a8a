"""Groups of queries whose recall is told apart: night and day, years, headings, any column."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vgray.errors import UserError, nearest_name

SECTORS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
OTHER, UNKNOWN = "other", "unknown"
MAX_VALUES = 20
_LEVELS = 256
DARK = 64
"""Mean brightness, of 255: above that of photos by night (13 to 43 in San Francisco)."""
# Cut in two, one group too has a separation: 2.65 if it is normal, 3.46 if it is even.
_ONE_GROUP = 4.0
_LEAST_QUERIES, _LEAST_SHARE = 5, 0.02  # fewer are outliers, not a time of day


@dataclass(frozen=True)
class Slicing:
    """Which slice each query is in."""

    by: str
    labels: tuple[str, ...]
    """The names of the slices, in the order in which they are shown; none is empty."""
    members: NDArray[np.int64]
    """(Q,) of each query: the number of its slice."""
    how: str
    """In one sentence, where the borders are."""

    def of(self, label: str) -> NDArray[np.bool_]:
        """Return (Q,) whether each query is in the slice."""
        inside: NDArray[np.bool_] = self.members == self.labels.index(label)
        return inside

    def label_of(self) -> list[str]:
        """Return the name of each query's slice."""
        return [self.labels[member] for member in self.members]


def slice_queries(images: pa.Table, by: str, *, night_below: float | None = None) -> Slicing:
    """Divide queries into slices.

    ``brightness`` is night and day, ``year`` the year of ``taken_at``, ``heading`` eight sectors of
    the compass, ``folder`` the folder of the file; anything else is a column: text and whole
    numbers by value, of which the 20 most frequent stand alone, other numbers (and whole ones of
    more values) by quartiles. Queries without a value are a slice of their own, "unknown".

    Args:
        images: (Q rows) the queries, with the columns of a folder of descriptors.
        by: what to go by.
        night_below: brightness, 0 to 255, below which a query is of the night. Unless given, the
            threshold is by Otsu's method from the queries, and the slices are called night and day
            only if one group's mean is below ``DARK`` and the other's is not, each has 5 queries
            and 2 %, and they are more than 4 standard deviations apart; else darker and brighter.

    Raises:
        UserError: there is no such column.
    """
    if by not in (known := sorted({*_BY, *images.column_names})):
        raise UserError(
            f"--slice {by}: there is no such column{nearest_name(by, known)}; there are "
            f"{', '.join(known)}"
        )
    if not images.num_rows:
        return Slicing(by, (), np.empty(0, np.int64), "there are no queries")
    if by == "brightness":
        return _night_and_day(images["brightness"].to_numpy(), night_below)
    return _BY[by](images) if by in _BY else _by_column(images[by], by)


def otsu_threshold(values: NDArray[np.floating]) -> float:
    """Return the threshold between two groups of brightnesses, by Otsu's method (1979).

    It makes the variance between the groups largest. Where it is equally large for all thresholds
    of an empty stretch, the middle of that stretch is taken.

    Args:
        values: (N,) brightnesses, 0 to 255.

    Raises:
        ValueError: there is none.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise ValueError("the threshold of no brightnesses")
    # Four bins a grey level: brightnesses are means of many pixels, not whole numbers.
    counts, edges = np.histogram(values, bins=4 * _LEVELS, range=(0, _LEVELS))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = len(values) - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.where((below > 0) & (above > 0), below * above * apart**2, 0.0)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:-1][best].mean())


def separation(values: NDArray[np.floating], threshold: float) -> float:
    """Return how many standard deviations two groups lie apart (Ashman's D, 1994).

    Without any value on one of the sides it is 0.

    Args:
        values: (N,) numbers.
        threshold: between the groups.
    """
    low, high = values[values < threshold], values[values >= threshold]
    if not (len(low) and len(high)):
        return 0.0
    spread = sqrt((float(low.var()) + float(high.var())) / 2)
    apart = float(high.mean() - low.mean())
    return apart / spread if spread else float("inf")


def _night_and_day(values: NDArray[np.float32], night_below: float | None) -> Slicing:
    threshold, names, how = night_below, ("night", "day"), "as it was set"
    if threshold is None:
        threshold, how = otsu_threshold(values), "by Otsu's method"
        if doubt := _why_not_night(values, threshold):
            names = ("darker", "brighter")
            how += f"; {doubt}: not night and day"
    dark = values < threshold
    text = (
        f"{names[0]}: mean brightness below {threshold:.1f} of 255 ({100 * dark.mean():.0f} % of "
        f"the queries), {how}"
    )
    return _slicing("brightness", names, np.where(dark, 0, 1), text)


def _why_not_night(values: NDArray[np.float32], threshold: float) -> str | None:
    """Return why the queries below a threshold are not those of the night, if they are not."""
    low, high = values[values < threshold], values[values >= threshold]
    least = max(_LEAST_QUERIES, _LEAST_SHARE * len(values))
    if min(len(low), len(high)) < least:
        return f"one group has {min(len(low), len(high)):,} of the {len(values):,} queries"
    if not low.mean() < DARK <= high.mean():
        return f"the groups' means are {low.mean():.0f} and {high.mean():.0f}"
    apart = separation(values, threshold)
    if apart <= _ONE_GROUP:
        return f"only {apart:.1f} standard deviations apart, as halves of one group"
    return None


def _by_year(images: pa.Table) -> Slicing:
    years = [(text or "")[:4] for text in images["taken_at"].to_pylist()]
    return _by_value("year", years, "the year in which the query was taken", sorted)


def _by_heading(images: pa.Table) -> Slicing:
    heading_deg = _numbers(images["heading_deg"])
    known = np.isfinite(heading_deg)
    # A sector is half on either side of its direction.
    sectors = np.floor((np.where(known, heading_deg, 0) + 22.5) % 360 / 45).astype(np.int64)
    members = np.where(known, sectors, len(SECTORS))
    how = "eight sectors of 45 degrees; N is 337.5 to 22.5"
    return _slicing("heading", (*SECTORS, UNKNOWN), members, how)


def _by_folder(images: pa.Table) -> Slicing:
    folders = [path.rpartition("/")[0].split("/") for path in images["path"].to_pylist()]
    different = [len(set(names)) > 1 for names in zip(*folders, strict=False)]
    # The folder that all are in says nothing, but for its name where there is no other.
    shared = different.index(True) if True in different else len(different)
    if len({tuple(names) for names in folders}) == 1:
        shared -= 1
    texts = ["/".join(names[max(shared, 0) :]) or "." for names in folders]
    return _by_value("folder", texts, "the folder of the query's file", _by_frequency)


def _by_column(column: pa.ChunkedArray, by: str) -> Slicing:
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    whole = pa.types.is_integer(column.type)
    if not numeric or (whole and pc.count_distinct(column).as_py() <= MAX_VALUES):
        texts = ["" if value is None else str(value) for value in column.to_pylist()]
        order: _Order = (lambda found: sorted(found, key=int)) if numeric else _by_frequency
        return _by_value(by, texts, f"the value of {by}", order)
    numbers = _numbers(column)
    known = np.isfinite(numbers)
    if not known.any():
        return _slicing(by, (UNKNOWN,), np.zeros(len(numbers), np.int64), f"{by} is not known")
    borders = np.quantile(numbers[known], (0, 0.25, 0.5, 0.75, 1))
    quarter = np.searchsorted(borders[1:-1], numbers, side="right")
    names = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(borders)]
    # Where many have one value, quartiles coincide and some have nobody in them.
    members = np.where(known, quarter, len(names))
    return _slicing(by, (*_unique(names), UNKNOWN), members, f"quartiles of {by}")


_Order = Callable[[Counter[str]], Sequence[str]]


def _by_frequency(found: Counter[str]) -> list[str]:
    return sorted(found, key=lambda text: (-found[text], text))


def _by_value(by: str, texts: Sequence[str], how: str, order: _Order) -> Slicing:
    """Make a slice of each of the most frequent values; "" is unknown."""
    found = Counter(text for text in texts if text and text != UNKNOWN)
    kept = set(_by_frequency(found)[:MAX_VALUES])
    ordered = [text for text in order(found) if text in kept and text != OTHER]
    number = {text: index for index, text in enumerate([*ordered, OTHER, UNKNOWN])}
    members = [
        number[UNKNOWN if text in ("", UNKNOWN) else text if text in number else OTHER]
        for text in texts
    ]
    rest = len(found) - len(kept)
    how += f"; {rest:,} rarer values together as {OTHER}" if rest else ""
    return _slicing(by, tuple(number), np.array(members, dtype=np.int64), how)


def _slicing(by: str, labels: Sequence[str], members: NDArray[np.int64], how: str) -> Slicing:
    """Number the slices anew, without those that nobody is in."""
    used = np.unique(members)
    names = tuple(labels[number] for number in used)
    return Slicing(by, names, np.searchsorted(used, members), how)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _unique(names: Sequence[str]) -> list[str]:
    """Number those that would read the same."""
    return [
        name if names.index(name) == row else f"{name} ({names[:row].count(name) + 1})"
        for row, name in enumerate(names)
    ]


_BY: dict[str, Callable[[pa.Table], Slicing]] = {
    "year": _by_year,
    "heading": _by_heading,
    "folder": _by_folder,
}
