import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vgray.places import positives_within
from vgray.places.splits import assign_roles, assign_splits


def photographs(
    seed: int, places: int = 200, side_m: float = 2000
) -> tuple[np.ndarray, np.ndarray, list[str | None], list[str]]:
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, side_m, (places, 2))
    positions = (centres[:, None] + rng.normal(0, 3, (places, 5, 2))).reshape(-1, 2)
    times: list[str | None] = [f"20{number % 20:02d}" for number in rng.permutation(len(positions))]
    return (
        positions,
        np.full(len(positions), "10N", object),
        times,
        [f"{number:05d}" for number in range(len(positions))],
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), places=st.integers(1, 60), side=st.sampled_from([50, 300, 3000]))
def test_the_rule_holds(seed: int, places: int, side: float) -> None:
    positions, zones, times, paths = photographs(seed, places, side)
    splits = assign_splits(positions, zones)
    roles = assign_roles(positions, zones, splits, times, paths)
    blocks = list(map(tuple, np.floor(positions / 100).tolist()))
    of_block = dict(zip(blocks, splits, strict=True))
    assert [of_block[block] for block in blocks] == splits
    assert set(splits) <= {"train", "val"}
    assert ("val" in splits) == (len(set(blocks)) > 1)
    assert all(
        (role == "train") == (split == "train") for role, split in zip(roles, splits, strict=True)
    )
    queries, database = (positions[np.array(roles) == role] for role in ("queries", "database"))
    if "val" in splits:
        assert len(queries) and all(map(len, positives_within(queries, database, 25)))


def test_a_fifth_is_val_and_the_order_of_the_images_does_not_matter() -> None:
    positions, zones, _, _ = photographs(0)
    splits = assign_splits(positions, zones)
    assert 0.15 < splits.count("val") / len(splits) <= 0.2
    order = np.random.default_rng(1).permutation(len(positions))
    again = assign_splits(positions[order], zones[order])
    assert [splits[row] for row in order] == again


def test_later_images_are_queries() -> None:
    positions = np.array([[5.0, 5.0]] * 5)
    times = ["2015", None, "2019-03", "2011", "2019-01"]
    roles = assign_roles(positions, np.full(5, "", object), ["val"] * 5, times, list("abcde"))
    assert roles == ["database", "database", "queries", "database", "queries"]


def test_too_few_to_split() -> None:
    apart = np.array([[0.0, 0.0], [500.0, 0.0], [900.0, 0.0]])
    zones = np.full(3, "10N", object)
    assert assign_splits(apart, zones) == ["train"] * 3
    assert assign_splits(apart[:1], zones[:1]) == ["train"]
