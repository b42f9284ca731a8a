"""What an evaluation is asked for, checked against the descriptors there are."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vgray.errors import UserError
from vgray.retrieval.descriptors import Descriptors, part_name
from vgray.retrieval.pca import MAX_IMAGES, Projected, fit_pca
from vgray.retrieval.sources import Source

ROLES = ("database", "queries")
SPLITS = ("test", "val")
"""Which split is evaluated unless asked for another: the first of these that is there."""


def open_folders(folders: Sequence[Path]) -> dict[str, Descriptors]:
    """Open folders of descriptors, under the shortest names that tell them apart.

    Raises:
        UserError: one is none, or is named twice.
    """
    absolute = [folder.expanduser().absolute() for folder in folders]
    for folder in absolute:
        if absolute.count(folder) > 1:
            raise UserError(f"--descriptors {folder}: given twice; give each folder once")
    found = [Descriptors(folder.expanduser()) for folder in folders]
    parts = [folder.parts for folder in absolute]
    length = 1
    while len({each[-length:] for each in parts}) < len(parts):
        length += 1
    return {
        "/".join(each[-length:]): descriptors
        for each, descriptors in zip(parts, found, strict=True)
    }


def choose_split(described: Mapping[str, Descriptors], asked: str | None) -> str:
    """Return the split to evaluate: that asked for, else test, val, or the only one.

    Raises:
        UserError: a folder does not have it, or has none with a database and queries.
    """
    usable = [
        split
        for split in next(iter(described.values())).splits()
        if all(
            part_name(split, role) in each.description.parts
            for each in described.values()
            for role in ROLES
        )
    ]
    if asked is None and len(usable) != 1:
        asked = next((split for split in SPLITS if split in usable), None)
    if asked is None and usable:
        asked = usable[0]
    if asked in usable:
        return asked
    there = "; ".join(
        f"{name} has {', '.join(each.description.parts) or 'nothing'}"
        for name, each in described.items()
    )
    what = f"--split {asked}" if asked else "--descriptors"
    which = f"of split {asked}" if asked else "of a split"
    raise UserError(
        f"{what}: expected a database and queries {which} in each folder ({there}); extract what "
        "is missing: jobs/extract.py --split, with the same --out"
    )


def parse_recall_at(text: str) -> tuple[int, ...]:
    """Read the values of N from a text such as ``1,5,10``.

    Raises:
        UserError: they are no positive whole numbers.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() and int(word) for word in words):
        raise UserError(
            f"--recall-at {text}: expected whole numbers from 1 on with commas between them, such "
            "as 1,5,10"
        )
    return tuple(sorted({int(word) for word in words}))


def settle_distance(described: Mapping[str, Descriptors], asked: float | None) -> float:
    """Return within how many metres an image is a positive: as asked, else as the recipes have it.

    Raises:
        UserError: the recipes do not agree.
    """
    if asked is not None:
        return asked
    found = {name: each.description.distance_m for name, each in described.items()}
    if len(set(found.values())) > 1:
        each = ", ".join(f"{name} {distance_m:g} m" for name, distance_m in found.items())
        raise UserError(f"the models' recipes differ in the distance ({each}); give --distance")
    return next(iter(found.values()))


def reduced(
    descriptors: Descriptors,
    dimension: int | None,
    *,
    whiten: bool = False,
    fitted_on: Sequence[Descriptors] = (),
) -> tuple[Source, dict[str, Any] | None]:
    """Return descriptors after a PCA that is fitted on a training split, and what that is.

    Args:
        descriptors: what is reduced.
        dimension: to how many; None leaves it as it is.
        whiten: whether all directions are made equally long.
        fitted_on: folders among which one is of the same model; without any, the same folder.

    Raises:
        UserError: there is no training split of this model, or it is too small.
    """
    if dimension is None:
        return descriptors, None
    description = descriptors.description
    same = [
        each
        for each in fitted_on or [descriptors]
        if each.description.model_hash == description.model_hash
    ]
    if not same:
        raise UserError(
            f"--pca-from: none of the folders is of the model that {descriptors.folder} is of "
            f"({description.model}); extract its training images: {_extract_train(descriptors)}"
        )
    source = same[0]
    if "train" not in source.splits():
        raise UserError(
            f"--pca {dimension}: {source.folder} has no training images, on which a PCA is "
            f"fitted; extract some: {_extract_train(source)}"
        )
    projection = fit_pca(source, "train", dimension, whiten=whiten)
    what = {
        "whiten": whiten,
        "fitted_on": str(source.folder),
        "data": source.description.data,
        "num_images": projection.num_images,
    }
    return Projected(descriptors, projection), what


def next_command(described: Mapping[str, Descriptors], slices: Sequence[str]) -> str:
    """Return a command that says more: the report of the models' runs, or parts of the queries."""
    descriptions = [each.description for each in described.values()]
    runs = [_run_of(Path(each.model)) for each in descriptions]
    if all(runs):
        command = ["python", "jobs/report.py", "--runs", *dict.fromkeys(map(str, runs))]
        return shlex.join([*command, "--test", descriptions[0].data])
    more = next((by for by in ("brightness", "year", "heading") if by not in slices), "source")
    folders = [str(each.folder) for each in described.values()]
    command = ["python", "jobs/evaluate.py", "--descriptors", *folders]
    return shlex.join([*command, "--slice", more])


def _run_of(checkpoint: Path) -> Path | None:
    """Return the run that a checkpoint is of, if it is of one."""
    return next((each for each in checkpoint.parents if (each / "trials.parquet").is_file()), None)


def _extract_train(descriptors: Descriptors) -> str:
    description = descriptors.description
    command = ["python", "jobs/extract.py", "--model", description.model]
    command += ["--data", description.data, "--split", "train", "--train-images", str(MAX_IMAGES)]
    command += ["--query-method", description.query_method, "--dtype", description.dtype]
    return shlex.join([*command, "--out", str(descriptors.folder)])
