"""Which images the models of a run have met, as far as that can still be told."""

from dataclasses import dataclass

from vgray.errors import UserError
from vgray.reports.image_sets import DataSets, ImageSet, TrainingImages
from vgray.reports.results import RunSource


@dataclass(frozen=True, eq=False)
class MetImages:
    """What a run was trained and validated on; None where that is not known."""

    training: TrainingImages | None
    validation: ImageSet | None
    notes: tuple[str, ...]
    """What cannot be told of them."""


def read_met_images(run: RunSource, data_sets: DataSets) -> MetImages:
    """Read what a run was trained and validated on.

    Args:
        run: of which the data are wanted.
        data_sets: to read them with.
    """
    if not run.data:
        note = (
            f"{run.name} is a checkpoint by itself: what it was trained on and its epoch chosen on "
            "is not known, and may be a test set."
        )
        return MetImages(None, None, (note,))
    training = validation = None
    failed: dict[str, list[str]] = {}
    try:
        training = data_sets.training(run)
    except UserError as error:
        failed.setdefault(str(error), []).append("trained")
    try:
        validation = data_sets.validation(run)
    except UserError as error:
        failed.setdefault(str(error), []).append("validated")
    notes = [
        f"What {run.name} was {' and '.join(done)} on cannot be read, and may be a test set: {why}."
        for why, done in failed.items()
    ]
    if training is not None and training.fingerprint != run.fingerprint:
        notes.append(
            f"The data of {run.name} have changed since it was trained, in {_places(run)}: the "
            f"fingerprint was {run.fingerprint[:12]} and is {training.fingerprint[:12]}. What it "
            "was trained or validated on may be a test set, and its recall on validation may be of "
            "other images."
        )
    return MetImages(training, validation, tuple(notes))


def _places(run: RunSource) -> str:
    return " and ".join([*run.data, *([] if run.val is None else [run.val])])
