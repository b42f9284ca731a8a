"""Retrieval: nearest neighbours of descriptors, clusters of them, and recall."""

from vgray.places.positives import positives_within
from vgray.retrieval.intervals import wilson_interval
from vgray.retrieval.kmeans import kmeans
from vgray.retrieval.recall import first_hits, recall_at_n
from vgray.retrieval.search import nearest

__all__ = [
    "first_hits",
    "kmeans",
    "nearest",
    "positives_within",
    "recall_at_n",
    "wilson_interval",
]
