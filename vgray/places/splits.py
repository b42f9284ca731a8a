"""Splits and roles for photographs that come without: by location, so that none shares a place.

The rule is the same whatever the number of photographs, and it is deterministic: the same
positions and times give the same splits on every machine.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

_BLOCK_M = 100
_CELL_M = _BLOCK_M / 6  # its diagonal is 23.6 m: two images of a cell are positives at 25 m
_VAL_FRACTION = 0.2


def assign_splits(positions_m: NDArray[np.float64], zones: NDArray[np.object_]) -> list[str]:
    """Return "train" or "val" for each position; ``positions_m`` (N, 2), ``zones`` (N,).

    The city is cut into blocks of 100 m, and whole blocks go to one side, so a place (a 10 m
    cell) is never on both; images on either side of a street between two blocks may see the same
    house. Blocks are taken for val in the order of a hash of their coordinates, as long as val
    stays within a fifth of the images. Only blocks with two images in one 16.7 m cell are
    taken, since ``assign_roles`` finds a query with a positive in no other. If no such block
    fits in a fifth, val is the smallest of them; with a single block everything is train.
    """
    blocks = np.floor(positions_m / _BLOCK_M).astype(np.int64)
    names = [f"{z}_{e}_{n}" for z, (e, n) in zip(zones, blocks.tolist(), strict=True)]
    unique, code, sizes = np.unique(np.array(names), return_inverse=True, return_counts=True)
    if len(unique) < 2:
        return ["train"] * len(names)
    cells = np.column_stack([code, np.floor(positions_m / _CELL_M).astype(np.int64)])
    shared, members = np.unique(cells, axis=0, return_counts=True)
    paired = set(shared[members >= 2, 0].tolist())
    if not paired:
        return ["train"] * len(names)
    order = sorted(paired, key=lambda block: _hash(str(unique[block])))
    room = _VAL_FRACTION * len(names)
    val: set[int] = set()
    for block in order:
        if sizes[block] <= room:
            val.add(block)
            room -= sizes[block]
    if not val:
        val = {min(order, key=lambda block: sizes[block])}
    return ["val" if block in val else "train" for block in code.tolist()]


def assign_roles(
    positions_m: NDArray[np.float64],
    zones: NDArray[np.object_],
    splits: list[str],
    taken_at: list[str | None],
    paths: list[str],
) -> list[str]:
    """Return "train" in the train split; "database" or "queries" elsewhere. All of length N.

    Within each 16.7 m cell the later half of the images (rounded down) are queries and the
    earlier ones are database, as a real system meets them; so each query has a positive at 25 m.
    Images without a time come first; the path settles equal times.
    """
    cells = np.floor(positions_m / _CELL_M).astype(np.int64).tolist()
    members: dict[tuple[object, ...], list[int]] = {}
    for row, split in enumerate(splits):
        if split != "train":
            members.setdefault((split, zones[row], *cells[row]), []).append(row)
    roles = ["train"] * len(splits)
    for rows in members.values():
        rows.sort(key=lambda row: (taken_at[row] or "", paths[row]))
        first_query = len(rows) - len(rows) // 2
        for rank, row in enumerate(rows):
            roles[row] = "queries" if rank >= first_query else "database"
    return roles


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
