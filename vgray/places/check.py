"""What a dataset holds, and what keeps it from being trained on or scored."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.images import UnreadableImage, read_image, read_size
from vgray.places.manifest import fingerprint, layout_of, left_out, root_of
from vgray.places.requirements import (
    EVALUATION_SPLITS,
    Evaluation,
    evaluate_split,
    find_problems,
)
from vgray.places.sampling import MIN_IMAGES_PER_PLACE
from vgray.places.store import usable_cpus


@dataclass(frozen=True)
class Report:
    """The findings of ``check``. Lists of images are paths; sizes are "height x width"."""

    root: str
    layout: str
    fingerprint: str
    images: int
    gigabytes: float
    counts: dict[str, dict[str, int]]
    utm_zones: dict[str, list[str]]
    sizes_px: dict[str, int]
    places: int
    trainable_places: int
    small_places: int
    evaluations: dict[str, Evaluation]
    duplicate_positions: int
    unreadable: list[tuple[str, str]]
    left_out: dict[str, list[str]]
    decoded: bool
    distance_m: float
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(
    table: pa.Table,
    *,
    decode: bool = True,
    distance_m: float = 25.0,
    min_images: int = MIN_IMAGES_PER_PLACE,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Return what the manifest's images are and what is wrong with them.

    ``decode`` reads every image to its end; without it only headers are read, so a truncated
    image is not found. ``problems`` are what makes training or scoring impossible, ``warnings``
    what a user may want to mend. Raises nothing on bad data: it is all in the report.
    """
    sizes, reasons = _read_images(table["path"].to_pylist(), decode, workers, progress)
    readable = np.array([size is not None for size in sizes], bool)
    paths = table["path"].to_pylist()
    splits, roles = _texts(table, "split"), _texts(table, "role")
    train_places = _texts(table, "place_id")[(splits == "train") & readable]
    images_in = Counter(train_places.tolist())
    evaluations = {
        split: evaluate_split(table, split, readable, distance_m)
        for split in EVALUATION_SPLITS
        if (splits == split).any()
    }
    report = Report(
        root=root_of(table),
        layout=layout_of(table),
        fingerprint=fingerprint(table),
        images=table.num_rows,
        gigabytes=float(np.maximum(table["size_bytes"].to_numpy(), 0).sum() / 1e9),
        counts={
            split: dict(sorted(Counter(roles[splits == split].tolist()).items()))
            for split in ("train", *EVALUATION_SPLITS)
            if (splits == split).any()
        },
        utm_zones={
            split: sorted(set(_texts(table, "utm_zone")[splits == split].tolist()))
            for split in ("train", *EVALUATION_SPLITS)
            if (splits == split).any()
        },
        sizes_px=dict(Counter(f"{size[0]} x {size[1]}" for size in sizes if size).most_common()),
        places=len(images_in),
        trainable_places=sum(count >= min_images for count in images_in.values()),
        small_places=sum(count < min_images for count in images_in.values()),
        evaluations=evaluations,
        duplicate_positions=_duplicates(table),
        unreadable=[(path, why) for path, why in zip(paths, reasons, strict=True) if why],
        left_out=left_out(table),
        decoded=decode,
        distance_m=distance_m,
    )
    report.problems.extend(find_problems(table, readable, min_images, distance_m))
    report.warnings.extend(_warnings(report, min_images))
    return report


def _warnings(report: Report, min_images: int) -> list[str]:
    """Return what a user may want to mend, in one line each."""
    warnings = []
    if report.unreadable:
        path, why = report.unreadable[0]
        warnings.append(f"{len(report.unreadable)} unreadable images are skipped: {path} ({why})")
    warnings += [
        f"{len(paths)} images left out ({reason}), such as {paths[0]}"
        for reason, paths in report.left_out.items()
    ]
    if report.small_places:
        warnings.append(
            f"{report.small_places} of {report.places} training places have fewer than "
            f"{min_images} images and are not used"
        )
    warnings += [
        f"{evaluation.queries_without_positive} of {evaluation.queries} {split} queries have no "
        f"database image within {report.distance_m:g} m; they count as not found"
        for split, evaluation in report.evaluations.items()
        if evaluation.queries_without_positive > 0
    ]
    if len(report.utm_zones.get("train", [])) > 1:
        warnings.append(
            f"the train split lies in {len(report.utm_zones['train'])} UTM zones; places are kept "
            "apart, but distances between them mean nothing"
        )
    return warnings


def _duplicates(table: pa.Table) -> int:
    """Return how many images share split, role, position and heading with an earlier one."""
    columns = ("split", "role", "utm_zone", "east_m", "north_m", "heading_deg")
    distinct: int = table.group_by(list(columns)).aggregate([]).num_rows
    return int(table.num_rows) - distinct


def _texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    column: NDArray[np.object_] = table[name].to_numpy()
    return column


def _read_images(
    paths: list[str],
    decode: bool,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[tuple[int, int] | None], list[str]]:
    """Return each image's (height, width), None if it cannot be read, and the reason or ""."""

    def read(path: str) -> tuple[tuple[int, int] | None, str]:
        try:
            size = read_size(path)
            if decode:
                # Small, so that a large photograph is decoded at an eighth: still to its end.
                read_image(path, (32, 32))
        except (UnreadableImage, UserError) as error:
            return None, str(error)
        return size, ""

    sizes: list[tuple[int, int] | None] = []
    reasons: list[str] = []
    with ThreadPoolExecutor(workers or usable_cpus()) as pool:
        try:
            for size, reason in pool.map(read, paths):
                sizes.append(size)
                reasons.append(reason)
                if progress is not None:
                    progress(len(sizes), len(paths))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return sizes, reasons
