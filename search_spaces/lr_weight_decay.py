"""Which learning rate and weight decay, with AdamW?

The six cases of alidousti2023 (Table 3), of which the one chosen by its training loss was worse
than the default on all four test sets, and the grid of bracco2024 (Figure 2), whose four corners
lie within 0.72 points. Compose with ``aggregators``; ``optimizers`` draws the optimizer as well.
"""

from typing import Any

from search_spaces.literature import published

BASE: dict[str, Any] = {"optimizer.name": "adamw"}

PUBLISHED: list[dict[str, Any]] = published("optimizer", where=BASE)


def suggest(trial: Any) -> None:
    """Draw both, each evenly over its orders of magnitude."""
    trial.suggest_float("optimizer.lr", 1e-6, 1e-2, log=True)
    trial.suggest_float("optimizer.weight_decay", 1e-5, 0.5, log=True)
