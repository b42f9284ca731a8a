"""Do darkened images teach a network to see by night, and how dark should they be?

alidousti2023 (Table 1) draws a factor for each image. Its ranges made retrieval at night worse than
no such augmentation (recall@1 of 21.0, 20.0 and 12.4 against 27.6), and trained from the start the
darker one did not learn. Two of the three runs go on from a trained network: give ``--init-from``.
Its framework changes queries only: compose with ``mining`` and fix ``augmentation.images=queries``.
"""

from typing import Any

from search_spaces.literature import published

BASE: dict[str, Any] = {}

PUBLISHED: list[dict[str, Any]] = published("augmentation.brightness")

# Lowest and highest factor, from dark to bright; the study calls all beyond 0.1 to 1 unusable.
RANGES = ["none", "0.1-0.3", "0.1-0.9", "0.3-0.6", "0.3-0.9", "0.6-1.0", "0.5-1.5"]


def suggest(trial: Any) -> None:
    """Draw a range of brightness factors, or none."""
    trial.suggest_categorical("augmentation.brightness", RANGES)
