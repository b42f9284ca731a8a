"""One data set to train on, made of several: training images of all, validation of one."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places.files import is_remote, join
from vgray.places.manifest import (
    SCHEMA,
    SPLITS,
    for_training,
    layout_of,
    left_out,
    load_manifest,
    root_of,
    roots_of,
    with_origin,
)
from vgray.places.positions import cell_places
from vgray.places.positives import may_be_one_zone, positives_within

NEAR_VALIDATION_M = 25.0
"""As near as what recall takes for the same place."""
_NEAR_VALIDATION = "near the validation images of "


def load_training_data(data: Sequence[str | Path], val: str | Path | None = None) -> pa.Table:
    """Return the images that a training looks at: the train rows of all sets and one's val rows.

    A place of a position is the same place in every set, so that a synthetic night image and the
    photograph at its place are positives. Places that a set names itself are its own: with several
    sets their names begin with its number. ``source`` tells whose image a row is. Nothing is
    trained on where it is validated: of a set that is not the one validated on, images within
    ``NEAR_VALIDATION_M`` of a val image are left out (``left_out`` names them). One data set
    without ``val`` stays as it is, but for its test images.

    Args:
        data: the data sets, as :func:`vgray.places.load_manifest` takes them.
        val: another one to validate on; without it the first of ``data`` that has a val split.
            Without val images in it, its one split that has a database and queries is taken.

    Raises:
        UserError: a set cannot be read or adds nothing, an image is in two of them, all of a set
            is near the val images, or there is nothing to validate on.
        ValueError: no data set.
    """
    if not data:
        raise ValueError("no data set")
    tables = [load_manifest(uri) for uri in data]
    if val is not None:
        scored = load_manifest(val)
    else:
        with_val = [table for table in tables if "val" in pc.unique(table["split"]).to_pylist()]
        if not with_val:
            raise UserError(
                f"{_together(tables)}: no val queries and no val database images; recall needs "
                "images in val/database and val/queries, or --val DATA names a set to validate on"
            )
        scored = with_val[0]
        if len(tables) == 1:
            return for_training(scored)
    validation = scored.filter(pc.equal(scored["split"], validation_split(scored)))
    parts = [table.filter(pc.equal(table["split"], "train")) for table in tables]
    for part in parts:
        if not part.num_rows and len(parts) > 1:
            raise UserError(
                f"{root_of(part)}: no training images; leave it out, or validate on it with --val"
            )
    _require_distinct([*parts, validation])
    apart = [
        part if table is scored else _apart(part, validation)
        for table, part in zip(tables, parts, strict=True)
    ]
    return _with_validation(_combine(apart), validation)


def describe_sources(table: pa.Table) -> str:
    """Say how much each of several data sets gives.

    Args:
        table: of :func:`load_training_data`.

    Returns:
        One line without an end, or "" if there is one data set.
    """
    part = table.select(["source", "split", "place_id"])
    train = part.filter(pc.equal(part["split"], "train")).group_by("source")
    rows = train.aggregate([("place_id", "count"), ("place_id", "count_distinct")]).to_pylist()
    val = pc.unique(part.filter(pc.equal(part["split"], "val"))["source"]).to_pylist()
    if len({*val, *(row["source"] for row in rows)}) < 2:
        return ""
    given = [
        f"{row['source']} {row['place_id_count']:,} in {row['place_id_count_distinct']:,} places"
        for row in rows
    ]
    return f"training images: {', '.join(given)}; validated on {', '.join(val)}"


def describe_near_validation(table: pa.Table) -> str:
    """Say how many training images were left out for being near the validation images.

    Args:
        table: of :func:`load_training_data`.

    Returns:
        One line without an end, or "" if there are none.
    """
    for reason, paths in left_out(table).items():
        if reason.startswith(_NEAR_VALIDATION):
            images = f"{len(paths):,} training image{'s'[: len(paths) != 1]}"
            return f"{images} left out: within {NEAR_VALIDATION_M:g} m, {reason}"
    return ""


def _apart(part: pa.Table, validation: pa.Table) -> pa.Table:
    """Return the rows that are not near a validation image, and name the others.

    Raises:
        UserError: all of them are.
    """
    near = _near(part, validation)
    if not near.any():
        return part
    root, scored = root_of(part), root_of(validation)
    if near.all():
        raise UserError(
            f"{root}: all its {len(near):,} training images are within {NEAR_VALIDATION_M:g} m of "
            f"the validation images of {scored}; leave it out, or validate on another set with "
            "--val"
        )
    folder = f"{root.rstrip('/')}/"
    paths = [path.removeprefix(folder) for path in part.filter(pa.array(near))["path"].to_pylist()]
    return with_origin(
        part.filter(pa.array(~near)),
        root=root,
        layout=layout_of(part),
        left_out={**left_out(part), f"{_NEAR_VALIDATION}{scored}": paths},
    )


def _near(part: pa.Table, validation: pa.Table) -> NDArray[np.bool_]:
    """Return which rows (N,) are within ``NEAR_VALIDATION_M`` of one of ``validation``."""
    near = np.zeros(part.num_rows, bool)
    here, there = part["utm_zone"].to_numpy(), validation["utm_zone"].to_numpy()
    positions, scored = _positions(part), _positions(validation)
    for zone in set(there):
        comparable = [each for each in set(here) if may_be_one_zone(each, zone)]
        rows = np.flatnonzero(np.isin(here, comparable))
        # Many images of a panorama have one position.
        centres = np.unique(scored[there == zone], axis=0)
        for found in positives_within(centres, positions[rows], NEAR_VALIDATION_M):
            near[rows[found]] = True
    return near


def _positions(table: pa.Table) -> NDArray[np.float64]:
    return np.column_stack([table["east_m"].to_numpy(), table["north_m"].to_numpy()])


def _combine(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the train rows of all sets, those of a set together, in the order of the sets."""
    if len(parts) == 1:
        return parts[0]
    combined = []
    sources: set[str] = set()
    for number, part in enumerate(parts):
        part = _with_column(part, "place_id", _places(part, number + 1))
        own = set(part["source"].to_pylist())
        if own & sources:
            names = [f"{name} ({number + 1})" for name in part["source"].to_pylist()]
            part = _with_column(part, "source", names)
        sources |= set(part["source"].to_pylist())
        combined.append(part)
    return with_origin(
        _concatenate(combined),
        root=_together(parts),
        layout=" + ".join(dict.fromkeys(map(layout_of, parts))),
        left_out=_all_left_out((root_of(part), left_out(part)) for part in parts),
        roots={"train": [root_of(part) for part in parts]},
    )


def _with_validation(train: pa.Table, validation: pa.Table) -> pa.Table:
    """Return the train rows and then those to validate on, as val.

    The places of the val rows are renamed, so that none is a place of the train rows.
    """
    places = [f"val/{place.removeprefix('val/')}" for place in validation["place_id"].to_pylist()]
    val = _with_column(_with_column(validation, "split", ["val"] * len(places)), "place_id", places)
    val_root = root_of(validation)
    # Not sorted as a whole: the order, and so the fingerprint, must not tell where the roots lie.
    return with_origin(
        _concatenate([train, val]),
        root=root_of(train),
        layout=f"{layout_of(train)}, val: {layout_of(validation)}",
        left_out=_all_left_out([("", left_out(train)), (val_root, left_out(validation))]),
        roots={"train": roots_of(train)["train"], "val": [val_root]},
    )


def validation_split(table: pa.Table) -> str:
    """Return the split to validate on: val, else the only one with a database and queries."""
    roles: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split, role in zip(table["split"].to_pylist(), table["role"].to_pylist(), strict=True):
        roles[split].add(role)
    scored = [split for split in SPLITS if roles[split] >= {"database", "queries"}]
    if roles["val"]:
        return "val"
    if len(scored) == 1:
        return scored[0]
    found = f"{len(scored)} splits with" if scored else "no split with"
    raise UserError(
        f"{root_of(table)}: nothing to validate on, it has {found} a database and queries and none "
        "is val; expected images in val/database and val/queries"
    )


def _places(table: pa.Table, number: int) -> list[str]:
    """Return the places of a set: those of positions as they are, its own under its number."""
    zones, headings = table["utm_zone"].to_numpy(), np.full(table.num_rows, np.nan)
    cells = cell_places(zones, table["east_m"].to_numpy(), table["north_m"].to_numpy(), headings)
    # Under the number, not the name: a folder that is renamed keeps its fingerprint.
    return [
        place if place == cell or place.startswith(f"{cell}_") else f"{number}/{place}"
        for place, cell in zip(table["place_id"].to_pylist(), cells, strict=True)
    ]


def _require_distinct(tables: Iterable[pa.Table]) -> None:
    """Refuse an image file that is in two of the sets, under whatever names their folders go."""
    seen: dict[str, str] = {}
    for table in tables:
        paths = _real_paths(table)
        twice = next((path for path in paths if path in seen), None)
        if twice is not None:
            raise UserError(
                f"{twice} is in two data sets ({seen[twice]} and {root_of(table)}); give each "
                "image once, as it can be trained on twice or validated on no more"
            )
        seen |= dict.fromkeys(paths, root_of(table))


def _real_paths(table: pa.Table) -> list[str]:
    """Return the paths with the links in their roots resolved."""
    real = {
        f"{root.rstrip('/')}/": f"{os.path.realpath(root)}/"
        for roots in roots_of(table).values()
        for root in roots
        if not is_remote(root) and os.path.realpath(root) != root
    }
    paths: list[str] = table["path"].to_pylist()
    for root, resolved in real.items():
        paths = [resolved + p.removeprefix(root) if p.startswith(root) else p for p in paths]
    return paths


def _all_left_out(found: Iterable[tuple[str, dict[str, list[str]]]]) -> dict[str, list[str]]:
    """Join what sets left out, by reason, with the paths below each root made whole."""
    joined: dict[str, list[str]] = {}
    for root, reasons in found:
        for reason, paths in reasons.items():
            whole = [join(root, path) if root else path for path in paths]
            known = set(joined.setdefault(reason, []))
            joined[reason] += [path for path in whole if path not in known]
    return joined


def _together(tables: Sequence[pa.Table]) -> str:
    return " + ".join(root_of(table) for table in tables)


def _concatenate(tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([table.replace_schema_metadata() for table in tables])


def _with_column(table: pa.Table, name: str, values: list[str]) -> pa.Table:
    return table.set_column(
        SCHEMA.get_field_index(name), SCHEMA.field(name), pa.array(values, pa.string())
    )
