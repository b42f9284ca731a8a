"""What a trial reports to Ray Tune after an epoch."""

from collections.abc import Mapping
from typing import Any

EPOCH = "epoch"
METRIC = "recall@1"
FAILURE = "failure"
NUMBER = "number"
_PREFIX = "metrics/"  # Tune flattens the report and adds keys of its own beside ours.


def epoch_report(number: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of an epoch: what Tune decides by, and all metrics under one key."""
    return {
        NUMBER: number,
        EPOCH: metrics[EPOCH],
        METRIC: metrics[METRIC],
        "metrics": dict(metrics),
    }


def failure_report(number: int, last_epoch: int, failure: str) -> dict[str, Any]:
    """Return the report of a trial that failed after ``last_epoch``; one line says why."""
    return {NUMBER: number, EPOCH: last_epoch, METRIC: float("nan"), FAILURE: failure}


def reported_metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of an epoch's report, as Tune hands it on: flattened or not."""
    if "metrics" in result:
        return dict(result["metrics"])
    return {
        key.removeprefix(_PREFIX): value for key, value in result.items() if key.startswith(_PREFIX)
    }
