"""Which descriptors are of the same images, and what is said of those that are not."""

from pathlib import Path

import numpy as np
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.evaluation import evaluate
from vgray.retrieval.evaluation_summary import Evaluated, summarise
from vgray.retrieval.same_images import require_same_images
from vgray.retrieval.shards import shards, write_table

NUM_QUERIES = 40


def make(folder: Path, **more: object) -> Descriptors:
    """Write queries and a database."""
    rng = np.random.default_rng(0)
    numbers = {"test-database": 60, "test-queries": NUM_QUERIES}
    parts = {part: rng.normal(size=(number, 8)) for part, number in numbers.items()}
    at_m = {part: rng.uniform(0, 1000, (number, 2)) for part, number in numbers.items()}
    return write_descriptors(folder, parts, at_m, **{"shard_rows": 25, **more})


def test_different_datasets_are_refused(tmp_path: Path) -> None:
    other = {"size_bytes": [999] * NUM_QUERIES}
    one = make(tmp_path / "a")
    elsewhere = make(
        tmp_path / "b", fingerprint="c" * 64, data="/data/other", columns={"test-queries": other}
    )
    message = r"a and .*b are not of the same test queries.*city \(bbbbbbbb\) and /data/other \(ccc"
    with pytest.raises(UserError, match=message):
        require_same_images([one, elsewhere], "test", "queries")
    # Data sets that differ in other images only can be compared on these.
    require_same_images([one, elsewhere], "test", "database")


def test_where_the_data_lay_does_not_matter(tmp_path: Path) -> None:
    elsewhere = [f"/mnt/city/test/queries/{row:05d}.jpg" for row in range(NUM_QUERIES)]
    columns = {"test-queries": {"path": elsewhere}}
    described = [make(tmp_path / "a"), make(tmp_path / "b", columns=columns)]
    for each in described:
        skip(each, 3)
    require_same_images(described, "test", "queries")


def skip(descriptors: Descriptors, row: int) -> None:
    """Write a folder's queries again as if one could not have been read."""
    description = descriptors.description
    path = descriptors.images("test", "queries")["path"][row].as_py()
    found = descriptors.load("test", "queries")
    images = descriptors.images("test", "queries")
    for shard in shards(descriptors.folder, "test-queries", NUM_QUERIES, description.shard_rows):
        kept = [index for index in range(shard.start, shard.stop) if index != row]
        gone = [(path, "broken")] if len(kept) < shard.stop - shard.start else []
        write_table(shard, description, images.take(kept), found[kept], gone, shard.file)


def test_an_image_that_only_one_model_has_is_named(tmp_path: Path) -> None:
    one, other = make(tmp_path / "a"), make(tmp_path / "b")
    skip(other, 7)
    for order in ([one, other], [other, one]):
        with pytest.raises(UserError, match=r"b lacks 1 that .*a has, such as 00007.jpg"):
            require_same_images(order, "test", "queries")
    # Both without the same image are comparable again.
    skip(one, 7)
    require_same_images([one, other], "test", "queries")
    skipped = Evaluated("A", one, 8, None, evaluate(one, "test"))
    data = summarise([skipped], "test", recall_at=[1], distance_m=25)["data"]
    assert (data["num_queries"], data["num_skipped"]) == (NUM_QUERIES - 1, 1)
