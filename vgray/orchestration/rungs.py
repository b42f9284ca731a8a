"""The arithmetic of early stopping: when trials are compared, and what that leaves to be paid."""

import math


def default_grace(epochs: int, warmup_epochs: int = 0) -> int:
    """Return the first epoch at which a trial may be stopped: a third of all, past any warm-up.

    Stopping earlier loses the settings that start slowly and end best.
    """
    return min(max(math.ceil(epochs / 3), warmup_epochs, 1), epochs)


def rungs(epochs: int, grace: int, reduction: float) -> list[int]:
    """Return the epochs at which ASHA compares trials, ascending; none is the last epoch."""
    values = []
    rung = float(grace)
    while rung < epochs:
        values.append(math.ceil(rung))
        rung *= reduction
    return values


def expected_epochs(epochs: int, rung_epochs: list[int], reduction: float) -> float:
    """Return how many epochs a trial lasts on average if each rung keeps one in ``reduction``."""
    total, alive, before = 0.0, 1.0, 0
    for rung in [*rung_epochs, epochs]:
        total += alive * (rung - before)
        alive, before = alive / reduction, rung
    return total
