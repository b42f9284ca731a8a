"""Histories of trainings to compare, and settings that train on tuples."""

from pathlib import Path

MEASURED = {
    "seconds",
    "train_seconds",
    "images_per_s",
    "peak_memory_mb",
    "seconds_to_first_step",
    "mining_seconds",
}
TUPLES = {
    "miner.name": "none",
    "loss.name": "weak_triplet",
    "mining.name": "full",
    "mining.negatives": 3,
    "mining.pool_size": 10,
    "mining.queries_per_epoch": 24,
    "mining.cache_refresh_rate": 16,
}


def numbers(history: list[dict]) -> list[dict]:
    """Return the metrics without what depends on the clock."""
    return [{k: v for k, v in metrics.items() if k not in MEASURED} for metrics in history]


def epochs_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith("epoch-")}
