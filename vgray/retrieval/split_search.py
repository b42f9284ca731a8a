"""A split's database searched for each of its queries, and whether recall can be spoken of."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgray.errors import UserError
from vgray.places import require_one_zone
from vgray.retrieval.crops import Crops, rank_crops
from vgray.retrieval.search import nearest_in_blocks, rows_of_a_block
from vgray.retrieval.shards import Described
from vgray.retrieval.sources import Source

_DATABASE = ("path", "split", "east_m", "north_m", "utm_zone")


class Images(NamedTuple):
    """The images of a split."""

    queries: pa.Table
    """With all columns of a folder of descriptors."""
    database: pa.Table
    """With what it takes to say which and where they are: all of a million would be 0.3 GB."""


def split_images(source: Source, split: str) -> Images:
    """Return a split's images.

    Raises:
        UserError: there are no queries or no database images, or they are missing or damaged.
    """
    images = Images(
        source.images(split, "queries"), source.images(split, "database").select(_DATABASE)
    )
    for table, role in ((images.database, "database images"), (images.queries, "queries")):
        if not table.num_rows:
            raise UserError(
                f"the {split} split has no {role} that could be read, so there is nothing to "
                "retrieve; see skipped.csv beside the descriptors, or name another split"
            )
    return images


def labelled_images(source: Source, split: str) -> Images:
    """Return a split's images, of which it is known how far they are from one another.

    Raises:
        UserError: as for :func:`split_images`; or some have no position, or they lie in several
            UTM zones.
    """
    images = split_images(source, split)
    for table, role in ((images.database, "database images"), (images.queries, "queries")):
        known: NDArray[np.bool_] = np.all(np.isfinite(positions_of(table)), axis=1)
        if not known.all():
            raise UserError(
                f"{int((~known).sum()):,} of {len(known):,} {role} of the {split} split have no "
                f"position, such as {table['path'][int(np.argmin(known))].as_py()}; without "
                "positions there is no recall: jobs/evaluate.py --no-labels only retrieves"
            )
    zones = [table.select(["split", "utm_zone"]) for table in images]
    require_one_zone(pa.concat_tables(zones), split)
    return images


def search_split(
    source: Source,
    split: str,
    images: Images,
    k: int,
    *,
    crops: Crops = "mean",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Search a split's database for each of its queries, wherever they were taken.

    Args:
        source: the descriptors of both.
        split: whose database and queries.
        images: of the split.
        k: how many images to find, or all if the database has fewer.
        crops: how queries that are described in five crops are ranked.
        threads: how many threads faiss uses; all cores unless given.
        progress: called with how many database images are searched, and of how many.

    Returns:
        Rows of the database and squared distances of the descriptors, (Q, K) each; -1 and inf for
        none, as for a query that the model had no numbers for.

    Raises:
        UserError: the descriptors are missing or damaged.
        ValueError: ``k`` is less than 1.
    """
    described = source.load(split, "queries")
    blocks = source.blocks(split, "database", rows_of_a_block(source.dimension))
    number = images.database.num_rows
    if progress is not None:
        blocks = _told(blocks, number, progress)
    if described.ndim == 3:
        return rank_crops(blocks, described, min(k, number), crops, threads=threads)
    return nearest_in_blocks(blocks, described, min(k, number), threads=threads)


def positions_of(images: pa.Table) -> NDArray[np.float64]:
    """Return where images were taken (N, 2), east and north in metres."""
    return np.stack([images[name].to_numpy() for name in ("east_m", "north_m")], axis=1)


def _told(
    blocks: Iterator[Described], total: int, progress: Callable[[int, int], None]
) -> Iterator[Described]:
    done = 0
    for block in blocks:
        yield block
        # Asked for the next one, so this one is searched.
        done += len(block)
        progress(done, total)
