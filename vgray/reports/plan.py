"""What a report is to be of, checked before anything is extracted or scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc

from vgray.errors import UserError
from vgray.reports.candidates import Candidate, Run, read_runs, unique_names
from vgray.reports.image_sets import DataSet, DataSets, ImageSet, require_distinct
from vgray.reports.met_images import MetImages, read_met_images
from vgray.reports.named import Ensemble, find_method, read_ensembles, row_names
from vgray.reports.networks import network_size
from vgray.reports.results import RunSource
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
    weights: Sequence[float] | None = None
    """That the search tries; None: ``WEIGHTS``."""
    budget: int | None = None
    """The largest dimension that the search may come to."""
    pca: int | None = None
    """The dimension that ensembles are reduced to, besides."""
    recall_at: Sequence[int] = RECALL_AT
    distance_m: float | None = None
    """None: that of the recipes."""
    baseline: str | None = None
    """None: the best finalist on validation, or single model where there are no finalists."""


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
    trained_models: frozenset[str]
    """The test sets with images that models were trained on."""
    validation: ImageSet | None
    """That all runs share, as far as is known; None if they do not."""
    same_validation: bool
    """Whether all recalls on validation are known to be of the same images."""
    training: DataSet | None
    """On which a PCA is fitted."""
    recall_at: list[int]
    distance_m: float
    searches: bool
    """Whether an ensemble is searched for."""
    weights: tuple[float, ...]
    """That the search tries."""
    names: Mapping[str, str]
    """Whatever a row may be asked for by -> its name."""
    notes: list[str]

    @property
    def candidates(self) -> list[Candidate]:
        """Of all runs, in their order."""
        return [candidate for run in self.runs for candidate in run.candidates]


def make_plan(options: Options) -> Plan:
    """Read the runs and the data sets, and check that they make a report.

    Raises:
        UserError: something that is asked for is not there, or does not fit.
    """
    _require_used(options)
    recall_at = sorted(set(options.recall_at))
    if not recall_at or recall_at[0] < 1:
        raise UserError(f"--recall-at {recall_at}: expected numbers of images, 1 or more")
    weights = WEIGHTS if options.weights is None else tuple(options.weights)
    if not all(0 < weight < float("inf") for weight in weights) or not weights:
        raise UserError(f"--weights {list(weights)}: expected numbers above 0")
    runs = read_runs(options.runs, options.top)
    candidates = [candidate for run in runs for candidate in run.candidates]
    ensembles = read_ensembles(options.ensembles, candidates)
    data_sets = DataSets()
    test_names = unique_names([Path(uri) for uri in options.tests], "--test")
    test_sets = [data_sets.test_set(uri, options.split) for uri in options.tests]
    require_distinct(test_sets)
    tests = dict(zip(test_names, test_sets, strict=True))
    met = {run.source.name: read_met_images(run.source, data_sets) for run in runs}
    notes = [note for run in runs for note in (*run.notes, *met[run.source.name].notes)]
    validations = {name: each.validation for name, each in met.items() if each.validation}
    validation = _shared(validations, notes) if validations else None
    searches = options.search and validation is not None and len(candidates) > 1
    _require_ensemble(options, ensembles, searches)
    if options.search and validation is not None and not searches:
        notes.append("No ensemble was searched for: there is a single model.")
    if options.search and validation is None:
        notes.append("No ensemble was searched for: there are no validation images for it.")
    if validation is None and ensembles:
        notes.append("The best member of an ensemble is the one best on what it was validated on.")
    names = row_names(candidates, ensembles, pca=options.pca, searches=searches)
    if options.baseline is not None:
        find_method(options.baseline, names, "--baseline")
    if searches and options.budget is not None:
        _require_fits(options.budget, candidates)
    return Plan(
        options=options,
        runs=[replace(run, source=_counted(run, met[run.source.name])) for run in runs],
        ensembles=ensembles,
        tests=tests,
        chose_models=frozenset(
            name
            for name, test in tests.items()
            if any(test.shares_images(each) for each in validations.values())
        ),
        trained_models=frozenset(
            name
            for name, test in tests.items()
            if any(each.training and test.shares_images(each.training) for each in met.values())
        ),
        validation=validation,
        # Of a checkpoint by itself it is measured on what the runs share.
        same_validation=len(runs) == 1
        or (
            validation is not None
            and all(run.source.name in validations for run in runs if run.source.data)
        ),
        training=_training(runs, data_sets, options.pca) if options.pca else None,
        recall_at=recall_at,
        distance_m=_distance(options.distance_m, candidates),
        searches=searches,
        weights=weights,
        names=names,
        notes=notes,
    )


def _require_used(options: Options) -> None:
    """Refuse what would be of a search that is not to be made."""
    given = {"--budget": options.budget, "--weights": options.weights}
    for option, value in given.items():
        if value is not None and not options.search:
            raise UserError(
                f"{option}: is of the search for an ensemble, and --no-search leaves that out; "
                "give one of the two"
            )


def _require_ensemble(options: Options, ensembles: Sequence[Ensemble], searches: bool) -> None:
    if options.pca is not None and not ensembles and not searches:
        raise UserError(
            f"--pca {options.pca}: reduces ensembles, and there is none; name one, as in "
            "--ensemble both=A#3,B#0, or leave --pca out"
        )


def _require_fits(budget: int, candidates: Sequence[Candidate]) -> None:
    """Refuse a budget that the search would refuse after everything has been extracted."""
    sizes = {each.name: network_size(each.representative.recipe) for each in candidates}
    smallest = min(sizes, key=lambda name: sizes[name].dimension)
    if sizes[smallest].dimension > budget:
        raise UserError(
            f"--budget {budget}: no model fits; the smallest, {smallest}, has "
            f"{sizes[smallest].dimension} dimensions, so allow at least that"
        )


def _counted(run: Run, met: MetImages) -> RunSource:
    """Return the run with how many images it was trained and validated on."""
    return replace(
        run.source,
        num_train=None if met.training is None else met.training.number,
        validation={} if met.validation is None else met.validation.counts(),
    )


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
