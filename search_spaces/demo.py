"""Settings that suit the demo city: minutes on two cores, from random weights, no download.

Not a search space: it fixes what is too large for a demonstration, whatever the space.
"""

from typing import Any

DEMO_SETTINGS: dict[str, Any] = {
    "image_size": [64, 64],
    "backbone.weights": "none",
    "batch.places": 16,
    "epochs": 9,
}

DEMO_TUPLE_SETTINGS: dict[str, Any] = {
    "mining.queries_per_epoch": 128,
    "mining.cache_refresh_rate": 64,
    "mining.pool_size": 256,
}
"""The same for what trains on tuples, of which the whole city takes an hour."""

DEMO_TRIALS = 12
