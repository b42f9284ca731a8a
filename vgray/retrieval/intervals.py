"""How certain a recall is."""

from math import sqrt
from statistics import NormalDist


def wilson_interval(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of ``hits`` of ``total``, in percent.

    Source: Wilson 1927. Without any trial it is all of 0 to 100.

    Raises:
        ValueError: ``hits`` is not within 0 to ``total``, or ``confidence`` not within (0, 1).
    """
    if not 0 <= hits <= total:
        raise ValueError(f"{hits} hits of {total}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    if total == 0:
        return 0.0, 100.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / total
    centre = share + z * z / (2 * total)
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 100 / (1 + z * z / total)
    # At 0 and at all hits rounding would leave the interval a hair outside its point.
    low = 0.0 if hits == 0 else (centre - half) * scale
    high = 100.0 if hits == total else (centre + half) * scale
    return low, high
