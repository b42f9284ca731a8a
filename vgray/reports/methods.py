"""The rows of a report: each method with its recalls and differences on every test set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from vgray.errors import UserError
from vgray.reports.candidates import Candidate, Model
from vgray.reports.choosing import best, comparable
from vgray.reports.named import Ensemble, find_method
from vgray.reports.networks import network_size
from vgray.reports.plan import Plan
from vgray.reports.published import published_values
from vgray.reports.results import Kind, Member, Method, OnTest
from vgray.reports.scoring import compare, score
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.ranking import Ranking

Described: TypeAlias = Mapping[str, Sequence[Descriptors]]
"""On each test set: of each of a method's models."""
Rankings: TypeAlias = Mapping[str, Sequence[Ranking]]
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


def single(candidate: Candidate, val_recall: float | None, described: Described) -> Method:
    """Return the row of a candidate, without its tests.

    Args:
        candidate: one model, or those of several seeds.
        val_recall: recall@1 on the validation split, in percent.
        described: its descriptors.
    """
    dimension = _any(described).dimension
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
        is_finalist=candidate.is_finalist,
        best_of_trials=candidate.best_of_trials,
        num_parameters=network_size(candidate.models[0].recipe).num_parameters,
        bytes_per_image=_num_bytes(dimension, described),
        descriptors=_folders(described),
    )


def joined(
    ensemble: Ensemble,
    kind: Kind,
    name: str,
    dimension: int,
    settings: str,
    val_recall: float | None,
    of_members: Sequence[float | None],
    described: Described,
) -> Method:
    """Return the row of an ensemble, without its tests.

    Args:
        ensemble: its members.
        kind: how they are joined.
        name: of the row.
        dimension: of its descriptors.
        settings: in words.
        val_recall: recall@1 on the validation split, in percent.
        of_members: the same of each member by itself.
        described: the members' descriptors.
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
        members=[
            Member(candidate.member, weight, recall)
            for (candidate, weight), recall in zip(ensemble.members, of_members, strict=True)
        ],
        num_parameters=sum(network_size(model.recipe).num_parameters for model in models),
        bytes_per_image=_num_bytes(dimension, described),
        descriptors=_folders(described),
    )


def find_baseline(plan: Plan, methods: Sequence[Method]) -> str:
    """Return the name of the method that the others are compared with.

    Unless one is named, it is the best on validation of the models that
    :func:`~vgray.reports.choosing.comparable` returns; where the runs were validated on different
    images, the first run's best of those.

    Args:
        plan: what is asked for.
        methods: all of them, with their recall on validation.

    Raises:
        UserError: the named one did not come about.
    """
    if plan.options.baseline is not None:
        wanted = find_method(plan.options.baseline, plan.names, "--baseline")
        names = [method.name for method in methods]
        if wanted not in names:
            raise UserError(
                f"--baseline {wanted}: there is no such ensemble after all; its descriptors are "
                f"kept, so name another of {', '.join(names)}"
            )
        return wanted
    if not plan.same_validation:
        own = {candidate.name for candidate in plan.runs[0].candidates}
        methods = [method for method in methods if method.name in own]
    return best(comparable(methods)).name


def score_all(plan: Plan, ranked: Sequence[Ranked], baseline: str) -> list[Method]:
    """Return all rows, which are then to be judged by :func:`vgray.reports.chance.judge`.

    Args:
        plan: test sets, values of N, the distance.
        ranked: the methods and what they retrieved.
        baseline: the name of one of them.
    """
    against = next(each for each in ranked if each.method.name == baseline)
    return [_scored(plan, each, against) for each in ranked]


def _scored(plan: Plan, ranked: Ranked, against: Ranked) -> Method:
    tests = []
    ns, distance_m = plan.recall_at, plan.distance_m
    method = ranked.method
    for test, image_set in plan.tests.items():
        own = ranked.rankings[test]
        on_test = OnTest(test, score(own, ns, distance_m))
        if ranked is not against:
            behind = compare(own, against.rankings[test], against.method.name, ns, distance_m)
            on_test = replace(on_test, behind_baseline=behind)
        if ranked.of_best_member is not None and ranked.best_member is not None:
            theirs = ranked.of_best_member[test]
            differences = compare(own, theirs, ranked.best_member, ns, distance_m)
            of_best = score(theirs, ns, distance_m)
            on_test = replace(on_test, against_best_member=differences, of_best_member=of_best)
        if ranked.model is not None:
            published = published_values(ranked.model.recipe, image_set.data.name, image_set.split)
            on_test = replace(on_test, published=published)
        tests.append(on_test)
    return replace(method, tests=tests)


def _any(described: Described) -> Descriptors:
    return next(iter(described.values()))[0]


def _num_bytes(dimension: int, described: Described) -> int:
    return dimension * np.dtype(_any(described).description.dtype).itemsize


def _folders(described: Described) -> dict[str, list[str]]:
    return {test: [str(each.folder) for each in of_test] for test, of_test in described.items()}
