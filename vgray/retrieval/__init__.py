"""Retrieval: nearest neighbours of descriptors, clusters of them, recall and its certainty."""

from vgray.places.positives import positives_within
from vgray.retrieval.comparison import Comparison, compare_repeats, mcnemar
from vgray.retrieval.intervals import wilson_interval
from vgray.retrieval.kmeans import kmeans
from vgray.retrieval.recall import first_hits, recall_at_n
from vgray.retrieval.search import nearest

__all__ = [
    "Comparison",
    "compare_repeats",
    "first_hits",
    "kmeans",
    "mcnemar",
    "nearest",
    "positives_within",
    "recall_at_n",
    "wilson_interval",
]
