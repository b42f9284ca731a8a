"""Which model a report calls best, and compares the others with."""

from collections.abc import Sequence

from vgray.reports.results import Method


def comparable(methods: Sequence[Method]) -> list[Method]:
    """Return the single models of which one may be called best: the finalists, if there are any.

    The recall that chose a trial of a search is that of one seed and the highest of many, so it
    lies above what its setting reaches with another seed; the mean of a finalist's repeats does
    not. A trial would be called best by its luck.
    """
    singles = [method for method in methods if method.kind == "single"]
    return [method for method in singles if method.is_finalist] or singles


def best(methods: Sequence[Method]) -> Method:
    """Return the method with the highest recall on validation; the first where none is known.

    Chosen by the test images, the highest of many would be so by chance to some extent.

    Raises:
        ValueError: there is none.
    """
    return max(methods, key=lambda method: -1.0 if method.val_recall is None else method.val_recall)
