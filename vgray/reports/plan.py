"""What a report is to be of, checked before anything is extracted or scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from vgray.errors import UserError
from vgray.reports.candidates import Candidate, Run, read_runs, unique_names
from vgray.reports.image_sets import DataSet, DataSets, ImageSet, require_distinct
from vgray.reports.named import Ensemble, find_method, read_ensembles
from vgray.reports.scoring import RECALL_AT
from vgray.retrieval.ensemble_search import WEIGHTS
from vgray.retrieval.pca import MAX_IMAGES

TOP = 3


@dataclass(frozen=True)
class Options:
    """What is asked for."""

    runs: Sequence[Path]
    """Folders of sweeps, of trainings, or checkpoints."""
    tests: Sequence[str]
    """Data sets."""
    split: str | None = None
    """To test on; None: test, else val."""
    top: int = TOP
    """Trials of each search."""
    ensembles: Sequence[str] = ()
    """By hand: ``NAME=A#3,B#0:2``."""
    search: bool = True
    weights: Sequence[float] = WEIGHTS
    budget: int | None = None
    """The largest dimension that the search may come to."""
    pca: int | None = None
    """The dimension that ensembles are reduced to, besides."""
    recall_at: Sequence[int] = RECALL_AT
    distance_m: float | None = None
    """None: that of the recipes."""
    baseline: str | None = None
    """None: the best single on validation."""


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    options: Options
    runs: list[Run]
    ensembles: list[Ensemble]
    tests: dict[str, ImageSet]
    """By name."""
    chose_models: frozenset[str]
    """The test sets on whose images epochs or trials were chosen."""
    validation: ImageSet | None
    """That all runs share; None if they do not, or if it is not needed."""
    training: DataSet | None
    """On which a PCA is fitted."""
    recall_at: list[int]
    distance_m: float
    notes: list[str]

    @property
    def candidates(self) -> list[Candidate]:
        """Of all runs, in their order."""
        return [candidate for run in self.runs for candidate in run.candidates]

    @property
    def searches(self) -> bool:
        """Whether an ensemble is searched for."""
        return self.options.search and self.validation is not None and len(self.candidates) > 1


def make_plan(options: Options) -> Plan:
    """Read the runs and the data sets, and check that they make a report.

    Raises:
        UserError: something that is asked for is not there, or does not fit.
    """
    recall_at = sorted(set(options.recall_at))
    if not recall_at or recall_at[0] < 1:
        raise UserError(f"--recall-at {recall_at}: expected numbers of images, 1 or more")
    if not all(0 < weight < float("inf") for weight in options.weights) or not options.weights:
        raise UserError(f"--weights {list(options.weights)}: expected numbers above 0")
    runs = read_runs(options.runs, options.top)
    candidates = [candidate for run in runs for candidate in run.candidates]
    ensembles = read_ensembles(options.ensembles, candidates)
    if options.baseline is not None:
        names = [*(each.name for each in candidates), *(each.name for each in ensembles)]
        find_method(options.baseline, names, "--baseline")
    data_sets = DataSets()
    test_names = unique_names([Path(uri) for uri in options.tests], "--test")
    tests = [data_sets.test_set(uri, options.split) for uri in options.tests]
    require_distinct(tests)
    notes = [note for run in runs for note in run.notes]
    validations = _validations(runs, data_sets, notes)
    validation = _shared(validations, notes) if validations else None
    if options.search and validation is not None and len(candidates) < 2:
        notes.append("No ensemble was searched for: there is a single model.")
    if options.search and validation is None:
        notes.append("No ensemble was searched for: there are no validation images for it.")
    if validation is None and ensembles:
        notes.append("The best member of an ensemble is the one best on what it was validated on.")
    return Plan(
        options=options,
        runs=runs,
        ensembles=ensembles,
        tests=dict(zip(test_names, tests, strict=True)),
        chose_models=frozenset(
            name
            for name, test in zip(test_names, tests, strict=True)
            if any(test.shares_images(each) for each in validations.values())
        ),
        validation=validation,
        training=_training(runs, data_sets, options.pca) if options.pca else None,
        recall_at=recall_at,
        distance_m=_distance(options.distance_m, candidates),
        notes=notes,
    )


def _validations(runs: Sequence[Run], data_sets: DataSets, notes: list[str]) -> dict[str, ImageSet]:
    """Return what each run was validated on, as far as it is known."""
    found = {}
    for run in runs:
        if not run.source.data:
            notes.append(
                f"{run.source.name} is a checkpoint by itself: what its epoch was chosen on is not "
                "known, and may be a test set."
            )
            continue
        try:
            found[run.source.name] = data_sets.validation(run.source)
        except UserError as error:
            notes.append(
                f"What {run.source.name} was validated on cannot be read, and may be a test set: "
                f"{error}."
            )
    return found


def _shared(validations: dict[str, ImageSet], notes: list[str]) -> ImageSet | None:
    (first, shared), *others = validations.items()
    for name, other in others:
        if not other.is_same(shared):
            notes.append(
                f"{first} was validated on {shared} and {name} on {other}, so their validation "
                "recalls do not compare."
            )
            return None
    return shared


def _training(runs: Sequence[Run], data_sets: DataSets, dimension: int) -> DataSet:
    uri = next((run.source.data[0] for run in runs if run.source.data), None)
    if uri is None:
        raise UserError(f"--pca {dimension}: none of the runs says what it was trained on")
    data = data_sets.data(uri)
    number = int(pc.sum(pc.equal(data.manifest["split"], "train")).as_py() or 0)
    if min(number, MAX_IMAGES) <= dimension:
        raise UserError(
            f"--pca {dimension}: {uri} has {number:,} training images, and a PCA needs more than "
            "it has dimensions; give a smaller one"
        )
    return data


def _distance(wanted_m: float | None, candidates: Sequence[Candidate]) -> float:
    distances_m = sorted(
        {model.recipe.evaluation.distance_m for each in candidates for model in each.models}
    )
    if wanted_m is not None:
        if not 0 < wanted_m < float("inf"):
            raise UserError(f"--distance {wanted_m}: expected metres above 0")
        return wanted_m
    if len(distances_m) > 1:
        raise UserError(
            f"the recipes count positives within {' and '.join(f'{d:g}' for d in distances_m)} m; "
            "say which distance all are scored with, as in --distance 25"
        )
    return distances_m[0]
