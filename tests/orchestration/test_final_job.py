"""The final job on descriptors that are there: reused, joined, scored; Ray is not started."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from made_runs import trial, write_run
from written_descriptors import write_descriptors

from vgray.errors import UserError
from vgray.orchestration import described as described_module
from vgray.orchestration.described import DescriptorFolders
from vgray.orchestration.extraction_request import Request, describe_request
from vgray.orchestration.final_job import make_report
from vgray.places import load_manifest
from vgray.reports.plan import Options, Plan, make_plan
from vgray.reports.results import Report
from vgray.reports.writing import read_report, write_report
from vgray.retrieval.description import part_images
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.pca import MAX_IMAGES
from vgray.retrieval.shards import IMAGE_SCHEMA, write_table

DIMENSION = 128


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_city: Path) -> Path:
    trials = [
        trial(0, 50.0, lr=0.1), trial(1, 40.0), trial(2, 30.0),
        *(trial(n, 30.0 + n, lr=0.1, seed=n, phase="finalist") for n in (3, 4)),
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "A"
    return write_run(folder, trials, data=[str(tiny_city)], finalists={0: [3, 4]})


@pytest.fixture(autouse=True, scope="module")
def _without_extraction() -> Iterator[None]:
    def extract_all(requests: Sequence[Request], **_: object) -> None:
        raise AssertionError(f"{', '.join(each.out.name for each in requests)} is extracted")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(described_module, "extract_all", extract_all)
        yield


def _folders(root: Path, said: list[str]) -> DescriptorFolders:
    return DescriptorFolders(
        root, None, ["report"], said.append, lambda label: nullcontext(lambda done, total: None)
    )


@pytest.fixture
def folders(tmp_path: Path) -> DescriptorFolders:
    return _folders(tmp_path / "descriptors", [])


def _describe(
    plan: Plan, root: Path, city: Path, splits: Sequence[str], noise: float, **more: object
) -> None:
    """Write descriptors of all models of a plan: of where an image was taken, with noise."""
    manifest = load_manifest(city)
    for number, candidate in enumerate(plan.candidates):
        for model in candidate.models:
            request = Request(model.checkpoint, str(city), tuple(splits), root, **more)
            wanted = describe_request(request, manifest)
            rng = np.random.default_rng([number, model.seed])
            basis = rng.normal(size=(2, DIMENSION)) / 20
            parts, positions_m, columns = {}, {}, {}
            for part in wanted.parts:
                images = part_images(manifest, *part.split("-"))
                at_m = np.column_stack([images["east_m"], images["north_m"]])
                waves = np.cos(at_m @ basis) + noise * rng.normal(size=(len(at_m), DIMENSION))
                parts[part], positions_m[part] = waves, at_m
                columns[part] = {
                    name: images[name].combine_chunks()
                    for name in images.column_names
                    if name in IMAGE_SCHEMA.names
                }
            write_descriptors(
                root / f"{candidate.short}-{model.seed}-{'-'.join(splits)}".replace("#", "-"),
                parts, positions_m, columns=columns, model_hash=wanted.model_hash,
                fingerprint=wanted.fingerprint, dtype=wanted.dtype, data=str(city),
            )  # fmt: skip


@dataclass(frozen=True)
class Made:
    report: Report
    root: Path
    said: list[str]
    queries: dict[str, pa.Table]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, run: Path, tiny_city: Path) -> Made:
    folders = _folders(tmp_path_factory.mktemp("descriptors"), [])
    plan = make_plan(
        Options([run], [str(tiny_city)], ensembles=["both=A#0,A#2:2"], pca=16, recall_at=[1, 5])
    )
    _describe(plan, folders.root, tiny_city, ["test", "val"], 1.0)
    _describe(plan, folders.root, tiny_city, ["train"], 1.0, train_images=MAX_IMAGES)
    said: list[str] = []
    found = make_report(plan, replace(folders, say=said.append), command=["report"])
    return Made(found.report, folders.root, said, found.queries)


@pytest.fixture
def report(made: Made) -> Report:
    return made.report


def test_all_methods_are_scored_from_descriptors_alone(report, made) -> None:
    named = {method.name: method for method in report.methods}
    expected = ["A#0 x2", "A#1", "A#2", "both", "both by similarity", "both PCA 16"]
    assert list(named)[:6] == expected
    assert {method.kind for method in report.methods} == {"single", "ensemble", "similarity"}
    assert named["A#0 x2"].seeds == [3, 4]
    assert len(named["A#0 x2"].checkpoints) == 2
    assert named["A#0 x2"].tests[0].scores[0].std is not None
    assert named["A#1"].tests[0].scores[0].std is None
    assert [member.name for member in named["both"].members] == ["A#0 seed 4", "A#2"]
    assert (named["both"].dimension, named["both PCA 16"].dimension) == (2 * DIMENSION, 16)
    assert [score.n for score in named["both"].tests[0].scores] == [1, 5]
    assert report.search is not None
    assert report.search.candidates == ["A#0 seed 4", "A#1", "A#2"]
    assert set(report.search.singles) == set(report.search.candidates)
    first, *rest = report.search.steps
    assert (first.gain, first.p_value) == (first.val_recall, None)
    assert all(step.gain > 0 and step.p_value is not None for step in rest)
    assert len([line for line in made.said if ": reused " in line]) == len(made.said) >= 6


def test_what_a_method_costs_and_where_its_descriptors_lie_is_told(report, made, tiny_city) -> None:
    named = {method.name: method for method in report.methods}
    repeated, both, short = (named[each] for each in ("A#0 x2", "both", "both PCA 16"))
    assert (repeated.is_finalist, named["A#1"].best_of_trials) == (True, 3)
    assert repeated.num_parameters is not None
    assert both.num_parameters == 2 * repeated.num_parameters
    assert repeated.bytes_per_image == 2 * DIMENSION
    assert (both.bytes_per_image, short.bytes_per_image) == (4 * DIMENSION, 2 * 16)
    (test,) = (test.name for test in report.tests)
    expected = [f"{made.root}/{name}-test-val" for name in ("A-0-3", "A-0-4")]
    assert repeated.descriptors == {test: expected}
    assert both.descriptors[test][0] == expected[1]
    assert short.settings.startswith("concatenated, PCA fitted on ")
    assert short.settings.endswith(f" images of {tiny_city} (train)")
    assert all(member.val_recall is not None for member in both.members)


def test_what_was_retrieved_is_kept_for_each_query(report, made) -> None:
    (queries,) = made.queries.values()
    rows = queries.to_pylist()
    num_queries = report.tests[0].num_queries
    for method in report.methods:
        own = [row for row in rows if row["method"] == method.name]
        recall = 100 * np.mean([row["rank"] == 1 for row in own])
        assert len(own) % num_queries == 0
        assert method.tests[0].scores[0].recall == pytest.approx(recall)
    assert len(rows) == num_queries * (len(report.methods) + 1)


def test_the_baseline_is_the_best_finalist_and_all_others_differ_from_it(report) -> None:
    # A#1 has the higher recall on validation, but of one seed and the best of three.
    assert report.baseline == "A#0 x2"
    for method in report.methods:
        (on,) = method.tests
        if method.name == report.baseline:
            assert on.behind_baseline == []
            continue
        assert [each.n for each in on.behind_baseline] == [1, 5]
        base = next(each for each in report.methods if each.name == report.baseline)
        points = on.scores[0].recall - base.tests[0].scores[0].recall
        assert on.behind_baseline[0].points == pytest.approx(points)


def test_an_ensemble_is_held_against_its_best_member(report) -> None:
    joined = [method for method in report.methods if method.kind != "single"]
    assert len(joined) >= 3
    for method in joined:
        (difference, _) = method.tests[0].against_best_member
        assert difference.than in {member.name for member in method.members}
        (said,) = method.verdicts
        assert f"best member {difference.than}" in said
        assert method.val_recall is not None


def test_recall_of_an_ensemble_is_that_of_joined_descriptors(report, made) -> None:
    """Against a search by hand: the similarities of both members, one counting twice."""
    similarities: np.ndarray | float = 0.0
    for name, weight in (("A-0-4", 1.0), ("A-2-0", 2.0)):
        source = Descriptors(made.root / f"{name}-test-val")
        unit = [
            x / np.linalg.norm(x, axis=1, keepdims=True)
            for x in (source.load("test", "queries"), source.load("test", "database"))
        ]
        similarities = similarities + weight * unit[0] @ unit[1].T
    queries, database = (
        np.column_stack([table["east_m"], table["north_m"]])
        for table in (source.images("test", "queries"), source.images("test", "database"))
    )
    nearest = database[np.argmax(similarities, axis=1)]
    recall = 100 * np.mean(np.linalg.norm(nearest - queries, axis=1) <= 25)
    both = next(method for method in report.methods if method.name == "both")
    assert both.tests[0].scores[0].recall == pytest.approx(recall)


def test_what_was_made_is_written_and_read(report, tmp_path) -> None:
    folder = write_report(report, tmp_path / "report")
    assert read_report(folder) == report
    assert "both PCA 16" in (folder / "report.md").read_text()


def test_descriptors_of_another_type_or_without_a_shard_are_not_used(
    run, tiny_city, folders
) -> None:
    plan = make_plan(Options([run], [str(tiny_city)], search=False))
    _describe(plan, folders.root, tiny_city, ["test", "val"], 1.0, dtype="float32")
    with pytest.raises(AssertionError, match="is extracted"):
        make_report(plan, folders, command=[])
    other = replace(folders, root=folders.root / "other")
    _describe(plan, other.root, tiny_city, ["test", "val"], 1.0)
    assert make_report(plan, other, command=[]).report.search is None
    next(other.root.glob("A-1-0-*/test-database-*")).unlink()
    with pytest.raises(AssertionError, match=r"A-1-.*is extracted"):
        make_report(plan, other, command=[])


def test_a_damaged_shard_is_named(run, tiny_city, folders) -> None:
    plan = make_plan(Options([run], [str(tiny_city)]))
    _describe(plan, folders.root, tiny_city, ["test", "val"], 1.0)
    shard = next(folders.root.glob("A-1-0-*/val-database-*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(UserError, match=f"{shard.name}: is damaged"):
        make_report(plan, folders, command=[])


def test_models_that_could_read_other_images_are_not_compared(run, tiny_city, folders) -> None:
    """Each without one query, so that their numbers are the same."""
    plan = make_plan(Options([run], [str(tiny_city)], search=False))
    _describe(plan, folders.root, tiny_city, ["test", "val"], 1.0)
    _leave_out(folders.root / "A-1-0-test-val", 0)
    _leave_out(folders.root / "A-2-0-test-val", 1)
    for model in ("A-0-3", "A-0-4"):
        _leave_out(folders.root / f"{model}-test-val", 0)
    with pytest.raises(UserError, match="are not of the same test queries"):
        make_report(plan, folders, command=[])


def _leave_out(folder: Path, row: int) -> None:
    """Make a test query one that could not be read."""
    descriptors = Descriptors(folder)
    shard, *_ = descriptors.shards("test", "queries")
    number = shard.stop - shard.start
    kept = np.delete(np.arange(number), row)
    images = descriptors.images("test", "queries").slice(0, number)
    described = descriptors.load("test", "queries")[kept]
    skipped = [(images["path"][row].as_py(), "damaged")]
    write_table(shard, descriptors.description, images.take(kept), described, skipped, shard.file)


def test_a_baseline_that_did_not_come_about_is_said(run, tiny_city, folders) -> None:
    plan = make_plan(Options([run], [str(tiny_city)], baseline="search"))
    _describe(plan, folders.root, tiny_city, ["test", "val"], 0.0)
    with pytest.raises(UserError, match=r"--baseline search: .*name another of A#0 x2, A#1, A#2"):
        make_report(plan, folders, command=[])
