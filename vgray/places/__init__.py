"""Images with positions: manifest, layouts, positives, checks, decoded images and batches."""

from vgray.places.check import Evaluation, Report, check, require_trainable
from vgray.places.images import UnreadableImage, read_image, read_size
from vgray.places.layouts import LAYOUTS
from vgray.places.manifest import (
    SCHEMA,
    fingerprint,
    for_training,
    layout_of,
    left_out,
    load_manifest,
    root_of,
    with_validation,
)
from vgray.places.positives import positives_within, require_one_zone
from vgray.places.sampling import MIN_IMAGES_PER_PLACE, epoch_batches, trainable_places
from vgray.places.store import (
    CACHE_VARIABLE,
    ImageStore,
    cache_folder,
    open_store,
    skipped_images,
)

__all__ = [
    "CACHE_VARIABLE",
    "LAYOUTS",
    "MIN_IMAGES_PER_PLACE",
    "SCHEMA",
    "Evaluation",
    "ImageStore",
    "Report",
    "UnreadableImage",
    "cache_folder",
    "check",
    "epoch_batches",
    "fingerprint",
    "for_training",
    "layout_of",
    "left_out",
    "load_manifest",
    "open_store",
    "positives_within",
    "read_image",
    "read_size",
    "require_one_zone",
    "require_trainable",
    "root_of",
    "skipped_images",
    "trainable_places",
    "with_validation",
]
