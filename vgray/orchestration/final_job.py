"""The final job: models become descriptors, descriptors ensembles and scores, scores a report."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from vgray import provenance
from vgray.orchestration.described import DescriptorFolders, Wanted
from vgray.reports.candidates import Candidate, Model
from vgray.reports.chance import judge
from vgray.reports.image_sets import ImageSet
from vgray.reports.methods import (
    Described,
    Ranked,
    Rankings,
    find_baseline,
    joined,
    score_all,
    single,
)
from vgray.reports.named import Ensemble, by_similarity, reduced
from vgray.reports.plan import Plan
from vgray.reports.queries import query_table
from vgray.reports.results import Kind, Report
from vgray.reports.searched import Searched, as_told
from vgray.reports.test_sets import describe_test_set
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.ensemble_search import search_ensemble
from vgray.retrieval.ensembles import AveragedSimilarity, Concatenated
from vgray.retrieval.pca import MAX_IMAGES, Projected, Projection, fit_pca
from vgray.retrieval.ranking import Ranking, rank_split
from vgray.retrieval.same_images import require_same_images
from vgray.retrieval.sources import Source


class Made(NamedTuple):
    """A report, and where one can go on from it."""

    report: Report
    best: Path
    """The descriptors of the first test set: the baseline's, or those of the first model."""
    queries: dict[str, pa.Table]
    """Of each test set what each method retrieved, see :mod:`vgray.reports.queries`."""


def make_report(plan: Plan, folders: DescriptorFolders, *, command: Sequence[str]) -> Made:
    """Extract what is missing, search, score.

    Args:
        plan: what is to be done.
        folders: of the descriptors.
        command: the command line.

    Raises:
        UserError: an extraction fails, descriptors are damaged, or no model fits the budget.
    """
    job = _Job(plan, folders)
    job.describe_all()
    job.require_same_images()
    search = job.search() if plan.searches else None
    ensembles = [*plan.ensembles, *([] if search is None else search.ensembles)]
    if plan.training is not None and not ensembles:
        job.notes.append("No PCA was fitted: there is no ensemble that it could reduce.")
    job.describe_training(ensembles)
    ranked = [job.single(candidate) for candidate in plan.candidates]
    for ensemble in ensembles:
        ranked += job.ensemble(ensemble)
    baseline = find_baseline(plan, [each.method for each in ranked])
    tests = [
        describe_test_set(
            job.source(plan.candidates[0].models[0], images),
            images.split,
            name=name,
            distance_m=plan.distance_m,
            chose_models=name in plan.chose_models,
            trained_models=name in plan.trained_models,
        )
        for name, images in plan.tests.items()
    ]
    report = Report(
        runs=[run.source for run in plan.runs],
        tests=tests,
        methods=judge(score_all(plan, ranked, baseline), tests, plan.recall_at[0]),
        baseline=baseline,
        recall_at=plan.recall_at,
        search=None if search is None else search.told,
        versions=provenance.versions(),
        command=list(command),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        notes=[*plan.notes, *job.notes],
        same_validation=plan.same_validation,
    )
    shown = next((each for each in plan.candidates if each.name == baseline), plan.candidates[0])
    first = next(iter(plan.tests.values()))
    queries = {name: job.query_table(ranked, name, images) for name, images in plan.tests.items()}
    return Made(report, job.source(shown.representative, first).folder, queries)


class _Job:
    """One report being made: each model is described and ranked once on each data set."""

    def __init__(self, plan: Plan, folders: DescriptorFolders) -> None:
        self._plan = plan
        self._folders = folders
        self._counting = folders.counting
        self._described: dict[tuple[Path, str], Descriptors] = {}
        self._trained: dict[Path, Descriptors] = {}
        self._ranked: dict[tuple[Path, str], Ranking] = {}
        self.notes: list[str] = []

    def describe_all(self) -> None:
        """Make all descriptors of test and validation images."""
        wanted: dict[tuple[Path, str], Wanted] = {}
        for candidate in self._plan.candidates:
            for model in candidate.models:
                for images in self._images_for(candidate, model):
                    key = model.checkpoint, images.data.fingerprint
                    known = wanted[key].splits if key in wanted else ()
                    splits = tuple(dict.fromkeys([*known, images.split]))
                    name = candidate.name_of(model)
                    wanted[key] = Wanted(model.checkpoint, name, images.data, splits)
        described = self._folders.get_all(list(wanted.values()))
        self._described = dict(zip(wanted, described, strict=True))

    def describe_training(self, ensembles: Iterable[Ensemble]) -> None:
        """Make the descriptors of training images that PCAs of ensembles are fitted on."""
        data, pca = self._plan.training, self._plan.options.pca
        if data is None or pca is None:
            return
        first = next(iter(self._plan.tests.values()))
        wanted: dict[Path, Wanted] = {}
        for ensemble in ensembles:
            if sum(each.dimension for each, _ in self._members(ensemble, first)) <= pca:
                continue
            for candidate, _ in ensemble.members:
                model = candidate.representative
                wanted[model.checkpoint] = Wanted(
                    model.checkpoint, candidate.name_of(model), data, ("train",), MAX_IMAGES
                )
        described = self._folders.get_all(list(wanted.values()))
        self._trained = dict(zip(wanted, described, strict=True))

    def require_same_images(self) -> None:
        """Refuse models that describe different images of a test set, by which none is compared.

        Raises:
            UserError: they do.
        """
        first, *others = (model for each in self._plan.candidates for model in each.models)
        for images in self._plan.tests.values():
            for model in others:
                pair = [self.source(each, images) for each in (first, model)]
                for role in ("queries", "database"):
                    require_same_images(pair, images.split, role)

    def query_table(self, ranked: Sequence[Ranked], test: str, images: ImageSet) -> pa.Table:
        """Return what each method retrieved for each query of a test set."""
        source = self.source(self._plan.candidates[0].models[0], images)
        queries, database = (source.images(images.split, role) for role in ("queries", "database"))
        return query_table(ranked, test, queries, database, self._plan.distance_m)

    def source(self, model: Model, images: ImageSet) -> Descriptors:
        """Return a model's descriptors."""
        return self._described[model.checkpoint, images.data.fingerprint]

    def search(self) -> Searched:
        """Search for an ensemble on the validation images."""
        validation = self._plan.validation
        if validation is None:
            raise ValueError("a search without validation images")
        sources: dict[str, Source] = {
            candidate.member: self.source(candidate.representative, validation)
            for candidate in self._plan.candidates
        }
        with self._counting("searching for an ensemble") as progress:
            found = search_ensemble(
                sources,
                validation.split,
                self._plan.distance_m,
                weights=self._plan.weights,
                budget=self._plan.options.budget,
                progress=progress,
            )
        return as_told(self._plan, found, validation)

    def single(self, candidate: Candidate) -> Ranked:
        """Rank a candidate on every test set."""
        rankings = {
            test: [self._of_model(model, images) for model in candidate.models]
            for test, images in self._plan.tests.items()
        }
        recall = candidate.val_recall
        if recall is None and self._plan.validation is not None:
            recall = self._recall(self._of_model(candidate.representative, self._plan.validation))
        method = single(candidate, recall, self._described_by(candidate.models))
        return Ranked(method, rankings, model=candidate.models[0])

    def ensemble(self, ensemble: Ensemble) -> list[Ranked]:
        """Rank an ensemble on every test set: joined, by similarities, and reduced by PCA."""
        name, pca = ensemble.name, self._plan.options.pca
        members = [candidate for candidate, _ in ensemble.members]
        recalls = [self._val_recall(candidate) for candidate in members]
        described = self._described_by([candidate.representative for candidate in members])
        best = max(members, key=lambda candidate: self._val_recall(candidate) or 0.0)
        of_best = {
            test: [self._of_model(best.representative, images)]
            for test, images in self._plan.tests.items()
        }

        def row(kind: Kind, name: str, words: str, source: Callable[[ImageSet], Source]) -> Ranked:
            rankings: Rankings = {
                test: [self._rank(source(images), images.split, f"{name} on {test}")]
                for test, images in self._plan.tests.items()
            }
            validation = self._plan.validation
            recall = None
            if validation is not None:
                label = f"{name} on validation"
                recall = self._recall(self._rank(source(validation), validation.split, label))
            dimension = source(next(iter(self._plan.tests.values()))).dimension
            method = joined(ensemble, kind, name, dimension, words, recall, recalls, described)
            return Ranked(method, rankings, best_member=best.member, of_best_member=of_best)

        def averaged(images: ImageSet) -> Source:
            return AveragedSimilarity(self._members(ensemble, images), images.split)

        def concatenated(images: ImageSet) -> Concatenated:
            return Concatenated(self._members(ensemble, images))

        rows = [
            row("ensemble", name, "concatenated", concatenated),
            row("similarity", by_similarity(name), "average of similarities", averaged),
        ]
        if pca is not None and rows[0].method.dimension > pca:
            projection, words = self._fit(ensemble, pca)

            def projected(images: ImageSet) -> Source:
                return Projected(concatenated(images), projection)

            rows.append(row("ensemble", reduced(name, pca), words, projected))
        elif pca is not None:
            self.notes.append(f"{name} has no more than {pca} dimensions, so no PCA was fitted.")
        return rows

    def _described_by(self, models: Sequence[Model]) -> Described:
        return {
            test: [self.source(model, images) for model in models]
            for test, images in self._plan.tests.items()
        }

    def _images_for(self, candidate: Candidate, model: Model) -> Iterable[ImageSet]:
        yield from self._plan.tests.values()
        # The other seeds' models are members of nothing.
        if self._plan.validation is not None and model is candidate.representative:
            yield self._plan.validation

    def _members(self, ensemble: Ensemble, images: ImageSet) -> list[tuple[Source, float]]:
        return [
            (self.source(candidate.representative, images), weight)
            for candidate, weight in ensemble.members
        ]

    def _fit(self, ensemble: Ensemble, dimension: int) -> tuple[Projection, str]:
        """Return a PCA of an ensemble, and in words what it was fitted on."""
        data = self._plan.training
        if data is None:
            raise ValueError("a PCA without training images")
        members = [
            (self._trained[candidate.representative.checkpoint], weight)
            for candidate, weight in ensemble.members
        ]
        projection = fit_pca(Concatenated(members), "train", dimension)
        images = f"{projection.num_images:,} images of {data.uri} (train)"
        return projection, f"concatenated, PCA fitted on {images}"

    def _val_recall(self, candidate: Candidate) -> float | None:
        """Return recall@1 of a candidate as a member of ensembles."""
        if self._plan.validation is None:
            return candidate.representative.val_recall
        return self._recall(self._of_model(candidate.representative, self._plan.validation))

    def _recall(self, ranking: Ranking) -> float:
        hits = ranking.hits(1, self._plan.distance_m)
        return 100 * int(hits.sum()) / len(hits)

    def _of_model(self, model: Model, images: ImageSet) -> Ranking:
        key = (model.checkpoint, f"{images.data.fingerprint} {images.split}")
        if key not in self._ranked:
            label = f"{model.checkpoint.name} on {images.data.name}"
            self._ranked[key] = self._rank(self.source(model, images), images.split, label)
        return self._ranked[key]

    def _rank(self, source: Source, split: str, label: str) -> Ranking:
        with self._counting(f"ranking {label}") as progress:
            return rank_split(source, split, max(self._plan.recall_at), progress=progress)
