"""What an evaluation is asked for, checked against the descriptors there are."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa

from vgray.errors import UserError
from vgray.retrieval.crops import Crops
from vgray.retrieval.description import part_name
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.pca import MAX_IMAGES, Projected, fit_pca
from vgray.retrieval.slices import Slicing, slice_queries
from vgray.retrieval.sources import Source

MAX_DISTANCE_M = 100_000
"""As in a recipe."""
ROLES = ("database", "queries")
SPLITS = ("test", "val")
"""Which split is evaluated unless asked for another: the first of these that is there."""
_LONG = 100
_SLICES = ("brightness", "year", "heading", "folder", "source")


def absolute(folder: Path) -> Path:
    """Return a folder as the file system knows it, ``~`` and ``..`` resolved."""
    folder = folder.expanduser().absolute()
    return folder.resolve() if ".." in folder.parts else folder


def open_folders(folders: Sequence[Path]) -> dict[str, Descriptors]:
    """Open folders of descriptors, under the shortest names that tell them apart.

    Raises:
        UserError: one is none, or is named twice.
    """
    opened = [absolute(folder) for folder in folders]
    real = [folder.resolve() for folder in opened]
    for folder, same in zip(folders, real, strict=True):
        if real.count(same) > 1:
            raise UserError(f"--descriptors {folder}: given twice; give each folder once")
    parts = [folder.parts for folder in opened]
    length = 1
    while len({each[-length:] for each in parts}) < len(parts):
        length += 1
    return {"/".join(folder.parts[-length:]): Descriptors(folder) for folder in opened}


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
        UserError: the recipes do not agree, or it is not within what a recipe may have.
    """
    if asked is None:
        return float(_agreed(described, "distance_m", "--distance"))
    if not 0 < asked <= MAX_DISTANCE_M:
        raise UserError(
            f"--distance {asked:g}: expected metres above 0, at most {MAX_DISTANCE_M:,}"
        )
    return asked


def divide(
    described: Mapping[str, Descriptors],
    queries: pa.Table,
    slices: Sequence[str],
    night_below: float | None,
) -> list[Slicing]:
    """Divide queries into slices.

    Args:
        described: whose recipes may say below which brightness it is night.
        queries: with the columns of a folder of descriptors.
        slices: what to go by; brightness is the only one that ``night_below`` matters to.
        night_below: as asked for.

    Raises:
        UserError: one is named twice or not known, the recipes do not agree, or ``night_below`` is
            no brightness.
    """
    for by in slices:
        if slices.count(by) > 1:
            raise UserError(f"--slice {by}: given twice; give each slice once")
    if night_below is not None and "brightness" not in slices:
        raise UserError("--night-below: only divides --slice brightness; give that too")
    if night_below is not None and not 0 <= night_below <= 255:
        raise UserError(f"--night-below {night_below:g}: expected a mean brightness, 0 to 255")
    if night_below is None and "brightness" in slices:
        night_below = _agreed(described, "night_below", "--night-below")
    return [slice_queries(queries, by, night_below=night_below) for by in slices]


def _agreed(described: Mapping[str, Descriptors], setting: str, option: str) -> Any:
    found = {
        name: each.description.recipe["evaluation"].get(setting) for name, each in described.items()
    }
    if len(set(found.values())) > 1:
        each = ", ".join(f"{name} {value}" for name, value in found.items())
        raise UserError(
            f"the models' recipes differ in evaluation.{setting} ({each}); give {option}"
        )
    return next(iter(found.values()))


def settle_crops(described: Mapping[str, Descriptors], asked: Crops | None) -> Crops:
    """Return how queries in crops are ranked.

    Raises:
        UserError: it was asked for, but no queries are in crops.
    """
    methods = {each.description.query_method for each in described.values()}
    if asked is not None and "five_crops" not in methods:
        raise UserError(
            f"--crops {asked}: the queries were not described in crops but by "
            f"{', '.join(sorted(methods))}; leave it out, or extract with --query-method five_crops"
        )
    return asked or "mean"


def default_folder(described: Mapping[str, Descriptors], options: Sequence[object]) -> Path:
    """Return a folder of the first descriptors that is named by what is done to which.

    Args:
        described: all that are evaluated.
        options: what makes other numbers of the same descriptors, such as ``pca256``; those that
            were not given (None) do not count.
    """
    (_, first), *others = described.items()
    with_others = ["with", *(name for name, _ in others)] if others else []
    if sum(map(len, with_others)) > _LONG:  # for the name of a file
        told_apart = crc32("/".join(with_others).encode())
        with_others = [f"with-{len(others)}-others-{told_apart:08x}"]
    words = [str(each) for each in (*options, *with_others) if each is not None]
    return first.folder / "-".join(words).replace("/", "_")


def reduced(
    descriptors: Descriptors,
    dimension: int | None,
    *,
    whiten: bool = False,
    fitted_on: Sequence[Descriptors] = (),
    threads: int | None = None,
) -> tuple[Source, dict[str, Any] | None]:
    """Return descriptors after a PCA that is fitted on a training split, and what that is.

    Args:
        descriptors: what is reduced.
        dimension: to how many; None leaves it as it is.
        whiten: whether all directions are made equally long.
        fitted_on: folders among which one is of the same model; without any, the same folder.
        threads: how many threads faiss uses; all cores unless given.

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
    projection = fit_pca(source, "train", dimension, whiten=whiten, threads=threads)
    what = {
        "whiten": whiten,
        "fitted_on": str(source.folder),
        "data": source.description.data,
        "num_images": projection.num_images,
    }
    return Projected(descriptors, projection), what


def next_command(
    command: Sequence[str],
    described: Mapping[str, Descriptors],
    queries: pa.Table,
    slices: Sequence[str],
) -> str:
    """Return a command that says more: the report of the models, or parts of the queries.

    Args:
        command: the evaluation's own, which is repeated with all its options.
        described: what was evaluated.
        queries: of it.
        slices: into which the queries were divided.
    """
    descriptions = [each.description for each in described.values()]
    runs = [_run_of(Path(each.model)) for each in descriptions]
    new = (by for by in _SLICES if by not in slices and len(slice_queries(queries, by).labels) > 1)
    if not all(runs) and (more := next(new, None)):
        return shlex.join(["python", *command, "--slice", more])
    models = [str(run or each.model) for run, each in zip(runs, descriptions, strict=True)]
    report = ["python", "jobs/report.py", "--runs", *dict.fromkeys(models)]
    return shlex.join([*report, "--test", descriptions[0].data])


def _run_of(checkpoint: Path) -> Path | None:
    """Return the run that a checkpoint is of, if it is of one."""
    return next((each for each in checkpoint.parents if (each / "trials.parquet").is_file()), None)


def _extract_train(descriptors: Descriptors) -> str:
    description = descriptors.description
    command = ["python", "jobs/extract.py", "--model", description.model]
    command += ["--data", description.data, "--split", "train", "--train-images", str(MAX_IMAGES)]
    command += ["--query-method", description.query_method, "--dtype", description.dtype]
    return shlex.join([*command, "--out", str(descriptors.folder)])
