"""The rows of a report: each method with its recalls and differences on every test set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vgray.errors import UserError
from vgray.reports.candidates import Candidate, Model
from vgray.reports.named import Ensemble, find_method
from vgray.reports.plan import Plan
from vgray.reports.published import published_values
from vgray.reports.results import Kind, Member, Method, OnTest
from vgray.reports.scoring import compare, score, verdict
from vgray.retrieval.ranking import Ranking

Rankings = Mapping[str, Sequence[Ranking]]
"""Of a method on each test set: one for each seed's model."""


@dataclass(frozen=True)
class Ranked:
    """A method and what it retrieved."""

    method: Method
    """Without its tests."""
    rankings: Rankings
    model: Model | None = None
    """Of a single."""
    best_member: str | None = None
    """Of an ensemble."""
    of_best_member: Rankings | None = None


def single(candidate: Candidate, dimension: int, val_recall: float | None) -> Method:
    """Return the row of a candidate, without its tests."""
    return Method(
        name=candidate.name,
        kind="single",
        dimension=dimension,
        settings=candidate.settings,
        image_size_px=[model.recipe.image_size for model in candidate.models],
        seeds=[model.seed for model in candidate.models],
        val_recall=val_recall,
        chosen=candidate.chosen,
        tests=[],
        checkpoints=[str(model.checkpoint) for model in candidate.models],
    )


def joined(
    ensemble: Ensemble,
    kind: Kind,
    name: str,
    dimension: int,
    settings: str,
    val_recall: float | None,
) -> Method:
    """Return the row of an ensemble, without its tests.

    Args:
        ensemble: its members.
        kind: how they are joined.
        name: of the row.
        dimension: of its descriptors.
        settings: in words.
        val_recall: recall@1 on the validation split, in percent.
    """
    models = [candidate.representative for candidate, _ in ensemble.members]
    return Method(
        name=name,
        kind=kind,
        dimension=dimension,
        settings=settings,
        image_size_px=[model.recipe.image_size for model in models],
        seeds=[model.seed for model in models],
        val_recall=val_recall,
        chosen=ensemble.chosen,
        tests=[],
        checkpoints=[str(model.checkpoint) for model in models],
        members=[Member(candidate.member, weight) for candidate, weight in ensemble.members],
    )


def find_baseline(plan: Plan, methods: Sequence[Method]) -> str:
    """Return the name of the method that the others are compared with.

    Unless one is named, it is the single with the highest recall@1 on validation; where the runs
    were validated on different images, the first run's best.

    Args:
        plan: what is asked for.
        methods: all of them, with their recall on validation.
    """
    names = [method.name for method in methods]
    if plan.options.baseline is not None:
        return find_method(plan.options.baseline, names, "--baseline")
    singles = [method for method in methods if method.kind == "single"]
    if plan.validation is None:
        own = {candidate.name for candidate in plan.runs[0].candidates}
        singles = [method for method in singles if method.name in own]
    return max(singles, key=lambda method: method.val_recall or 0.0).name


def score_all(plan: Plan, ranked: Sequence[Ranked], baseline: str) -> list[Method]:
    """Return all rows, complete.

    Args:
        plan: test sets, values of N, the distance.
        ranked: the methods and what they retrieved.
        baseline: the name of one of them.

    Raises:
        UserError: on a test set, two methods described not the same queries.
    """
    against = next(each for each in ranked if each.method.name == baseline)
    return [_scored(plan, each, against) for each in ranked]


def _scored(plan: Plan, ranked: Ranked, against: Ranked) -> Method:
    tests, verdicts = [], []
    ns, distance_m = plan.recall_at, plan.distance_m
    method = ranked.method
    for test, image_set in plan.tests.items():
        own = ranked.rankings[test]
        _require_same_queries(test, method.name, own, against)
        on_test = OnTest(test, score(own, ns, distance_m))
        if ranked is not against:
            behind = compare(own, against.rankings[test], against.method.name, ns, distance_m)
            on_test = replace(on_test, behind_baseline=behind)
        if ranked.of_best_member is not None and ranked.best_member is not None:
            theirs = ranked.of_best_member[test]
            differences = compare(own, theirs, ranked.best_member, ns, distance_m)
            on_test = replace(on_test, against_best_member=differences)
            verdicts.append(verdict(method.name, test, differences[0]))
        if ranked.model is not None:
            published = published_values(ranked.model.recipe, image_set.data.name, image_set.split)
            on_test = replace(on_test, published=published)
        tests.append(on_test)
    return replace(method, tests=tests, verdicts=verdicts)


def _require_same_queries(test: str, name: str, own: Sequence[Ranking], against: Ranked) -> None:
    counts = {len(ranking.ranked) for ranking in (*own, *against.rankings[test])}
    if len(counts) > 1:
        numbers = " and ".join(map(str, sorted(counts)))
        raise UserError(
            f"{test}: {name} and {against.method.name} have {numbers} queries, as "
            "images that one could read the other could not; extract both anew"
        )
