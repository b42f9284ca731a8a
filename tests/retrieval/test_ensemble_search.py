"""The search for an ensemble: against the same greedy path over full matrices."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.retrieval import ensemble_nearest, ensemble_search, mcnemar
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.ensemble_search import search_ensemble
from vgray.retrieval.ensembles import Concatenated
from vgray.retrieval.ranking import rank_split

Q, N, DISTANCE_M = 60, 150, 60.0


class World:
    """A square kilometre, and models that see where they are through noise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        numbers = {"val-queries": Q, "val-database": N}
        self.where = {part: rng.uniform(0, 1000, (n, 2)) for part, n in numbers.items()}
        # Far from everything: without a positive.
        self.where["val-queries"][:5] += 5000

    def model(self, seed: int, dimension: int, noise: float = 0.6, **more) -> Descriptors:
        rng = np.random.default_rng(seed)
        waves = rng.normal(size=(2, dimension)) / 150
        phases = rng.uniform(0, 6, dimension)
        parts = {
            part: np.cos(at @ waves + phases) + noise * rng.normal(size=(len(at), dimension))
            for part, at in self.where.items()
        }
        folder = self.folder / "-".join(map(str, [seed, dimension, noise, *more.values()]))
        return write_descriptors(folder, parts, self.where, **{"shard_rows": 32} | more)

    def hits(self, members: list[tuple[Descriptors, float]]) -> np.ndarray:
        """Return the hits (Q,) of an ensemble, from all its similarities."""
        total = np.zeros((Q, N))
        for source, weight in members:
            queries, database = (
                source.load("val", role).astype(np.float64) for role in ("queries", "database")
            )
            queries /= np.linalg.norm(queries, axis=1, keepdims=True)
            database /= np.linalg.norm(database, axis=1, keepdims=True)
            total += weight * queries @ database.T
        away = self.where["val-queries"] - self.where["val-database"][total.argmax(axis=1)]
        return np.hypot(*away.T) <= DISTANCE_M

    def greedy(self, candidates, weights, budget=None) -> list[tuple[str, float]]:
        """Return the members that a search over full matrices takes."""
        members: list[tuple[str, float]] = []
        best = -1
        while True:
            tried = []
            for order, (name, source) in enumerate(candidates.items()):
                sources = [candidates[n] for n, _ in members] + [source]
                if name in dict(members) or sum(s.dimension for s in sources) > (budget or 1e9):
                    continue
                for weight in weights if members else [1]:
                    trial = [*members, (name, weight)]
                    hits = self.hits([(candidates[n], w) for n, w in trial]).sum()
                    far = abs(np.log(weight))
                    tried.append(((-hits, source.dimension, order, far), trial))
            if not tried or -min(tried, key=lambda t: t[0])[0][0] <= best:
                return members
            (minus, *_), members = min(tried, key=lambda t: t[0])
            best = -minus


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


@pytest.fixture
def search() -> Callable[..., ensemble_search.Found]:
    def run(candidates, **more) -> ensemble_search.Found:
        return search_ensemble(candidates, "val", DISTANCE_M, threads=1, **more)

    return run


@pytest.mark.parametrize("first", [0, 20])
@pytest.mark.parametrize("budget", [None, 20])
def test_the_path_is_the_greedy_one(world, search, first, budget) -> None:
    candidates = {
        f"m{seed}": world.model(seed, dimension)
        for seed, dimension in enumerate([8, 6, 12, 6], start=first)
    }
    weights = (0.5, 1.0, 2.0)
    found = search(candidates, weights=weights, budget=budget)
    assert found.members == world.greedy(candidates, weights, budget)
    assert len(found.members) > 1
    assert budget is None or found.dimension <= budget
    assert found.dimension == sum(candidates[name].dimension for name, _ in found.members)

    hits = [
        world.hits([(candidates[name], weight) for name, weight in found.members[:number]])
        for number in range(1, len(found.members) + 1)
    ]
    assert [step.val_recall for step in found.steps] == [
        pytest.approx(100 * h.mean()) for h in hits
    ]
    assert found.recall == found.steps[-1].val_recall
    assert found.steps[0].p_value is None
    for before, after, step in zip(hits[:-1], hits[1:], found.steps[1:], strict=True):
        assert step.gain == pytest.approx(100 * (after.mean() - before.mean()))
        assert step.p_value == mcnemar(after, before)
    assert found.p_value == mcnemar(hits[-1], hits[0])
    assert found.gain == pytest.approx(100 * (hits[-1].mean() - hits[0].mean()))
    assert set(found.singles) == set(candidates)
    for name, recall in found.singles.items():
        assert recall == pytest.approx(100 * world.hits([(candidates[name], 1.0)]).mean())
    assert found.num_queries == Q


def test_what_is_found_scores_the_same_as_an_ensemble(world, search) -> None:
    candidates = {f"m{seed}": world.model(seed, 8) for seed in range(4)}
    found = search(candidates)
    joined = Concatenated([(candidates[name], weight) for name, weight in found.members])
    ranking = rank_split(joined, "val", 1, threads=1)
    assert found.recall == pytest.approx(float(ranking.curve([1], [DISTANCE_M])[0, 0]))
    # The five queries far away are not found, and count.
    assert found.recall <= 100 * (Q - 5) / Q


def test_blocks_change_nothing(world, search, monkeypatch) -> None:
    candidates = {
        f"m{seed}": world.model(seed, 8, dtype="float16", shard_rows=17 + seed) for seed in range(4)
    }
    whole = search(candidates)
    assert len(whole.members) > 1
    monkeypatch.setattr(ensemble_nearest, "_QUERY_VALUES", 1)
    monkeypatch.setattr(ensemble_nearest, "_TILE", 13)
    monkeypatch.setattr(ensemble_nearest, "_ROWS", 40)
    seen = []
    assert search(candidates, progress=lambda done, total: seen.append((done, total))) == whole
    # Five blocks of queries go through the database; 40 of its images at a time.
    assert seen[:4] == [(40, 750), (80, 750), (120, 750), (150, 750)]
    assert seen[-1] == (750, 750)


def test_half_precision_is_searched(world, search) -> None:
    candidates = {f"m{seed}": world.model(seed, 8, dtype="float16") for seed in range(3)}
    assert search(candidates).members == world.greedy(candidates, (0.5, 1.0, 2.0))


def test_one_candidate_is_what_is_found(world, search) -> None:
    found = search({"only": world.model(0, 8)})
    assert found.members == [("only", 1.0)]
    assert (found.gain, found.p_value, found.num_tried) == (0.0, 1.0, 1)
    assert found.outcome == "a single model; no candidate could be added to it"


def test_equal_candidates_stop_at_one(world, search) -> None:
    model = world.model(0, 8)
    found = search({"a": model, "b": model, "c": model})
    assert found.members == [("a", 1.0)]
    assert found.num_tried == 3 + 2 * 3
    assert found.outcome == (
        "none of 6 ensembles is better than the best single model on validation"
    )


def test_of_equal_recalls_the_smaller_is_taken(world, search) -> None:
    model = world.model(0, 8)
    zeros = np.zeros((N + Q, 3))
    wider = {
        part: np.concatenate([model.load("val", part.split("-")[1]), zeros[: len(at)]], axis=1)
        for part, at in world.where.items()
    }
    same = write_descriptors(world.folder / "wider", wider, world.where)
    assert search({"wide": same, "narrow": model}).members == [("narrow", 1.0)]


def test_without_any_positive_nothing_is_better_than_one(world) -> None:
    candidates = {f"m{seed}": world.model(seed, 8 - seed) for seed in range(3)}
    found = search_ensemble(candidates, "val", 1e-3, threads=1)
    assert (found.members, found.recall) == ([("m2", 1.0)], 0.0)


def test_what_is_above_the_budget_is_left_out(world, search) -> None:
    candidates = {"large": world.model(0, 30, noise=0.1), "small": world.model(1, 6)}
    found = search(candidates, budget=20)
    assert found.members == [("small", 1.0)]
    assert found.left_out == {"large": "its 30 dimensions are above the budget of 20"}
    assert set(found.singles) == {"small"}
    with pytest.raises(UserError, match=r"no candidate fits .* 5 dimensions; the smallest has 6"):
        search(candidates, budget=5)


def test_the_outcome_is_a_sentence(world, search) -> None:
    found = search({f"m{seed}": world.model(seed, 8) for seed in range(3)})
    shown = replace(found, members=[("a", 1.0), ("b", 0.5)], gain=1.234, p_value=0.0312)
    assert shown.outcome == (
        "2 members; 1.2 points above the best single model on validation (p 0.031, which takes no "
        f"account of the {found.num_tried} settings compared)"
    )


def test_what_cannot_be_searched_is_said(world, search) -> None:
    model = world.model(0, 8)
    with pytest.raises(ValueError, match="among candidates and weights"):
        search({})
    with pytest.raises(ValueError, match="among candidates and weights"):
        search({"a": model}, weights=())
    with pytest.raises(UserError, match=r"weights \[1.0, 0.0\].*above 0"):
        search({"a": model}, weights=(1.0, 0.0))
    with pytest.raises(UserError, match="has no queries of split test"):
        search_ensemble({"a": model}, "test", DISTANCE_M)


def test_other_images_are_refused(world, search) -> None:
    model = world.model(0, 8)
    world.where["val-database"] = world.where["val-database"] + 1
    with pytest.raises(UserError, match="not of the same val database"):
        search({"a": model, "b": world.model(1, 8, fingerprint="c" * 64)})


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"val-queries": np.zeros((0, 2)), "val-database": np.zeros((4, 2))}, "has no queries"),
        ({"val-queries": np.zeros((4, 2)), "val-database": np.zeros((0, 2))}, "has no database"),
        (
            {"val-queries": np.full((4, 2), np.nan), "val-database": np.zeros((4, 2))},
            "4 of 4 queries of the val split have no position, such as .*no recall",
        ),
    ],
)
def test_a_split_that_cannot_tell_is_refused(world, search, where, message) -> None:
    world.where = where
    with pytest.raises(UserError, match=message):
        search({"a": world.model(0, 8)})


def test_queries_in_crops_are_refused(tmp_path, search) -> None:
    parts = {"val-queries": np.ones((2, 5, 4)), "val-database": np.ones((3, 4))}
    where = {"val-queries": np.zeros((2, 2)), "val-database": np.zeros((3, 2))}
    with pytest.raises(UserError, match="five crops cannot be part"):
        search({"a": write_descriptors(tmp_path / "cropped", parts, where)})


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
def test_descriptors_that_lie_close_together(world, search, tmp_path, spread) -> None:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=64)
    seen = {part: np.cos(at @ (rng.normal(size=(2, 64)) / 150)) for part, at in world.where.items()}
    parts = {
        part: centre + spread * (x + 0.5 * rng.normal(size=x.shape)) for part, x in seen.items()
    }
    narrow = write_descriptors(tmp_path / "narrow", parts, world.where)
    found = search({"narrow": narrow, "other": world.model(1, 8)})
    ranking = rank_split(narrow, "val", 1, threads=1)
    assert found.singles["narrow"] == ranking.curve([1], [DISTANCE_M])[0, 0]


def test_images_without_numbers_are_not_found(world, search, tmp_path) -> None:
    good = world.model(0, 8)
    parts = {f"val-{role}": good.load("val", role) for role in ("queries", "database")}
    bad = {part: x.copy() for part, x in parts.items()}
    bad["val-database"][0] = np.nan
    bad["val-queries"][20] = np.nan
    nothing = {part: np.full_like(x, np.nan) for part, x in parts.items()}
    sources = {
        name: write_descriptors(tmp_path / name, each, world.where)
        for name, each in (("bad", bad), ("nothing", nothing))
    }
    found = search({"good": good, **sources})
    assert found.singles["nothing"] == 0
    ranked = rank_split(sources["bad"], "val", 1, threads=1)
    assert (ranked.ranked[20, 0], (ranked.ranked == 0).any()) == (-1, False)
    assert found.singles["bad"] == ranked.curve([1], [DISTANCE_M])[0, 0] > 0
