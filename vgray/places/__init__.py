"""Images with positions: manifest, layouts, positives, checks, decoded images and batches."""

from vgray.places.check import Report, check
from vgray.places.combining import describe_near_validation, describe_sources, load_training_data
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
)
from vgray.places.positives import positives_within, require_one_zone
from vgray.places.requirements import (
    Evaluation,
    TrainingQueries,
    num_training_queries,
    require_data_for,
    steps_per_epoch,
)
from vgray.places.sampling import MIN_IMAGES_PER_PLACE, epoch_batches, trainable_places
from vgray.places.store import (
    CACHE_VARIABLE,
    ImageStore,
    cache_folder,
    open_store,
    skipped_images,
)
from vgray.places.train_split import TrainSplit

__all__ = [
    "CACHE_VARIABLE",
    "LAYOUTS",
    "MIN_IMAGES_PER_PLACE",
    "SCHEMA",
    "Evaluation",
    "ImageStore",
    "Report",
    "TrainSplit",
    "TrainingQueries",
    "UnreadableImage",
    "cache_folder",
    "check",
    "describe_near_validation",
    "describe_sources",
    "epoch_batches",
    "fingerprint",
    "for_training",
    "layout_of",
    "left_out",
    "load_manifest",
    "load_training_data",
    "num_training_queries",
    "open_store",
    "positives_within",
    "read_image",
    "read_size",
    "require_data_for",
    "require_one_zone",
    "root_of",
    "skipped_images",
    "steps_per_epoch",
    "trainable_places",
]
