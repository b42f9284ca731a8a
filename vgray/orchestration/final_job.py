"""The final job: models become descriptors, descriptors ensembles and scores, scores a report."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from vgray import provenance
from vgray.orchestration.described import DescriptorFolders
from vgray.reports.candidates import Candidate, Model
from vgray.reports.image_sets import DataSet, ImageSet
from vgray.reports.methods import Ranked, Rankings, find_baseline, joined, score_all, single
from vgray.reports.named import SEARCHED, Ensemble
from vgray.reports.plan import Plan
from vgray.reports.results import Kind, Report, Search, SearchStep
from vgray.reports.test_sets import describe_test_set
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.ensemble_search import Found, search_ensemble
from vgray.retrieval.ensembles import AveragedSimilarity, Concatenated
from vgray.retrieval.pca import MAX_IMAGES, Projected, Projection, fit_pca
from vgray.retrieval.ranking import Ranking, rank_split
from vgray.retrieval.sources import Source


class Made(NamedTuple):
    """A report, and where one can go on from it."""

    report: Report
    best: Path
    """The descriptors of the first test set: the baseline's, or those of the first model."""


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
    search = job.search() if plan.searches else None
    ensembles = [*plan.ensembles, *([] if search is None else search.ensembles)]
    ranked = [job.single(candidate) for candidate in plan.candidates]
    for ensemble in ensembles:
        ranked += job.ensemble(ensemble)
    baseline = find_baseline(plan, [each.method for each in ranked])
    report = Report(
        runs=[run.source for run in plan.runs],
        tests=[
            describe_test_set(
                job.source(plan.candidates[0].models[0], images),
                images.split,
                name=name,
                distance_m=plan.distance_m,
                chose_models=name in plan.chose_models,
            )
            for name, images in plan.tests.items()
        ],
        methods=score_all(plan, ranked, baseline),
        baseline=baseline,
        recall_at=plan.recall_at,
        search=None if search is None else search.told,
        versions=provenance.versions(),
        command=list(command),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        notes=[*plan.notes, *job.notes],
    )
    shown = next((each for each in plan.candidates if each.name == baseline), plan.candidates[0])
    first = next(iter(plan.tests.values()))
    return Made(report, job.source(shown.representative, first).folder)


class _Searched:
    """What the search found: as an ensemble, if it is one, and as the report tells it."""

    def __init__(self, plan: Plan, found: Found, validation: ImageSet) -> None:
        members = {candidate.member: candidate for candidate in plan.candidates}
        chosen = tuple((members[name], weight) for name, weight in found.members)
        self.ensembles = [Ensemble(SEARCHED, chosen, "search")] if len(chosen) > 1 else []
        self.told = Search(
            validation=str(validation),
            num_queries=found.num_queries,
            candidates=list(members),
            left_out=found.left_out,
            weights=list(found.weights),
            budget=found.budget,
            pca=plan.options.pca,
            steps=[
                SearchStep(step.added, step.weight, step.dimension, step.val_recall)
                for step in found.steps
            ],
            outcome=found.outcome,
        )


class _Job:
    """One report being made: each model is described and ranked once on each data set."""

    def __init__(self, plan: Plan, folders: DescriptorFolders) -> None:
        self._plan = plan
        self._folders = folders
        self._counting = folders.counting
        self._described: dict[tuple[Path, str], Descriptors] = {}
        self._ranked: dict[tuple[Path, str], Ranking] = {}
        self.notes: list[str] = []

    def describe_all(self) -> None:
        """Make all descriptors of test and validation images."""
        for candidate in self._plan.candidates:
            for model in candidate.models:
                wanted: dict[str, tuple[DataSet, list[str]]] = {}
                for images in self._images_for(candidate, model):
                    _, splits = wanted.setdefault(images.data.fingerprint, (images.data, []))
                    if images.split not in splits:
                        splits.append(images.split)
                for data, splits in wanted.values():
                    self._described[model.checkpoint, data.fingerprint] = self._folders.get(
                        model.checkpoint, _name_of(candidate, model), data, splits
                    )

    def source(self, model: Model, images: ImageSet) -> Descriptors:
        """Return a model's descriptors."""
        return self._described[model.checkpoint, images.data.fingerprint]

    def search(self) -> _Searched:
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
                weights=self._plan.options.weights,
                budget=self._plan.options.budget,
                progress=progress,
            )
        return _Searched(self._plan, found, validation)

    def single(self, candidate: Candidate) -> Ranked:
        """Rank a candidate on every test set."""
        rankings = {
            test: [self._of_model(model, images) for model in candidate.models]
            for test, images in self._plan.tests.items()
        }
        first = next(iter(self._plan.tests.values()))
        dimension = self.source(candidate.models[0], first).dimension
        recall = candidate.val_recall
        if recall is None and self._plan.validation is not None:
            recall = self._recall(self._of_model(candidate.representative, self._plan.validation))
        return Ranked(single(candidate, dimension, recall), rankings, model=candidate.models[0])

    def ensemble(self, ensemble: Ensemble) -> list[Ranked]:
        """Rank an ensemble on every test set: joined, by similarities, and reduced by PCA."""
        name, pca = ensemble.name, self._plan.options.pca
        best = max(
            (candidate for candidate, _ in ensemble.members),
            key=lambda candidate: self._val_recall(candidate) or 0.0,
        )
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
            method = joined(ensemble, kind, name, dimension, words, recall)
            return Ranked(method, rankings, best_member=best.member, of_best_member=of_best)

        def averaged(images: ImageSet) -> Source:
            return AveragedSimilarity(self._members(ensemble, images), images.split)

        def concatenated(images: ImageSet) -> Concatenated:
            return Concatenated(self._members(ensemble, images))

        rows = [
            row("ensemble", name, "concatenated", concatenated),
            row("similarity", f"{name} by similarity", "average of similarities", averaged),
        ]
        if pca is not None and rows[0].method.dimension > pca:
            projection = self._fit(ensemble, pca)
            words = f"concatenated, PCA fitted on {projection.num_images:,} training images"
            rows.append(
                row(
                    "ensemble",
                    f"{name} PCA {pca}",
                    words,
                    lambda images: Projected(concatenated(images), projection),
                )
            )
        elif pca is not None:
            self.notes.append(f"{name} has no more than {pca} dimensions, so no PCA was fitted.")
        return rows

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

    def _fit(self, ensemble: Ensemble, dimension: int) -> Projection:
        data = self._plan.training
        if data is None:
            raise ValueError("a PCA without training images")
        members = []
        for candidate, weight in ensemble.members:
            model = candidate.representative
            described = self._folders.get(
                model.checkpoint,
                _name_of(candidate, model),
                data,
                ["train"],
                train_images=MAX_IMAGES,
            )
            members.append((described, weight))
        return fit_pca(Concatenated(members), "train", dimension)

    def _val_recall(self, candidate: Candidate) -> float | None:
        """Return recall@1 of a candidate as a member of ensembles."""
        if self._plan.validation is None:
            return candidate.representative.val_recall
        return self._recall(self._of_model(candidate.representative, self._plan.validation))

    def _recall(self, ranking: Ranking) -> float:
        return 100 * float(ranking.hits(1, self._plan.distance_m).mean())

    def _of_model(self, model: Model, images: ImageSet) -> Ranking:
        key = (model.checkpoint, f"{images.data.fingerprint} {images.split}")
        if key not in self._ranked:
            label = f"{model.checkpoint.name} on {images.data.name}"
            self._ranked[key] = self._rank(self.source(model, images), images.split, label)
        return self._ranked[key]

    def _rank(self, source: Source, split: str, label: str) -> Ranking:
        with self._counting(f"ranking {label}") as progress:
            return rank_split(source, split, max(self._plan.recall_at), progress=progress)


def _name_of(candidate: Candidate, model: Model) -> str:
    if len(candidate.models) == 1:
        return candidate.name
    return f"{candidate.short} seed {model.seed}"
