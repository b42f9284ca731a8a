"""The numbers of a report, apart from how they look: what ``report.json`` holds."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

FORMAT = 1
LEVEL = 0.05
"""Of two equal models no more than this share of reports may say that they differ."""
Kind: TypeAlias = Literal["single", "ensemble", "similarity"]
"""A model, models concatenated, or the same models by the average of their similarities."""


@dataclass(frozen=True)
class RunSource:
    """A run whose models are in the report."""

    name: str
    path: str
    data: list[str]
    val: str | None
    fingerprint: str
    num_trials: int
    num_finished: int
    command: list[str]
    versions: dict[str, str]
    num_train: int | None = None
    """Images of the training split; None where the data cannot be read any more."""
    validation: dict[str, int] = field(default_factory=dict)
    """Images of what it was validated on, by role; empty where that is not known."""


@dataclass(frozen=True)
class TestSet:
    """Images that the models are scored on: the database and queries of one split."""

    name: str
    uri: str
    split: str
    fingerprint: str
    counts: dict[str, dict[str, int]]
    """Of the whole data set: images by split and role."""
    gigabytes: float
    """Of the whole data set's files."""
    native_sizes_px: dict[str, int]
    """ "height x width" -> how many images of the split, the most frequent first."""
    num_database: int
    num_queries: int
    num_without_positive: int
    """Queries without any positive; they count as not found."""
    num_skipped: int
    """Images of the split that could not be read."""
    distance_m: float
    chose_models: bool
    """Whether epochs, trials or ensembles were chosen on these images: its recalls flatter."""
    whole: bool = True
    """False where the data set is out of reach: counts and size are then of what was described."""
    query_method: str = "resize"
    """How queries were cut or resized before they were described."""
    dtype: str = "float16"
    """Number type in which the descriptors are kept."""
    trained_models: bool = False
    """Whether a model was trained on some of these images: its recalls flatter."""

    @property
    def flatters(self) -> bool:
        """Whether what is best here need not be so on images that the models have not met."""
        return self.chose_models or self.trained_models


@dataclass(frozen=True)
class Score:
    """Recall@N of a method on a test set, in percent."""

    n: int
    recall: float
    """The mean of the repeats, where there are several."""
    low: float
    high: float
    """The 95 % Wilson interval, of the queries alone."""
    std: float | None = None
    """Standard deviation over the repeats' seeds; None of a single training."""


@dataclass(frozen=True)
class Difference:
    """How far one method lies above another on the same queries, in points of recall@N."""

    n: int
    than: str
    """The other method's name."""
    points: float
    low: float
    high: float
    """The 95 % interval."""
    p_value: float
    corrected_p: float | None = None
    """By Holm's method for all that the report compares alike; None where nothing can be said, on
    images that the models have met, and of other N than the first."""

    @property
    def certain(self) -> bool:
        """Whether that is more than chance, at 5 %, for all how many were compared."""
        return self.corrected_p is not None and self.corrected_p < LEVEL


@dataclass(frozen=True)
class PublishedValue:
    """A printed recall of the same setting, on a data set of the same name."""

    study: str
    table: str
    row: str
    n: int
    value: float
    num_queries: int
    low: float
    high: float
    """The 95 % Wilson interval, from the number of queries alone."""
    possible: bool
    """False for a percentage that cannot occur with that many queries."""
    trained_on: str = ""
    """The study's training data."""
    differs: list[str] = field(default_factory=list)
    """What is not printed, or not decisive, and is held to have been otherwise there than here."""


@dataclass(frozen=True)
class OnTest:
    """A method on one test set."""

    test: str
    scores: list[Score]
    behind_baseline: list[Difference] = field(default_factory=list)
    """This method minus the baseline, for each N; none of the baseline itself."""
    against_best_member: list[Difference] = field(default_factory=list)
    """Of an ensemble: minus the member that is best on the validation split."""
    published: list[PublishedValue] = field(default_factory=list)
    of_best_member: list[Score] = field(default_factory=list)
    """Of an ensemble: that member's own recalls."""


@dataclass(frozen=True)
class Member:
    """A part of an ensemble."""

    name: str
    weight: float
    val_recall: float | None = None
    """Its own recall@1 on the validation split."""


@dataclass(frozen=True)
class Method:
    """A row of the report: one model, one setting with several seeds, or an ensemble."""

    name: str
    kind: Kind
    dimension: int
    settings: str
    """In one short line."""
    image_size_px: list[tuple[int, int]]
    """Of each model, height and width."""
    seeds: list[int]
    val_recall: float | None
    """Recall@1 on the validation split, by which it was chosen."""
    chosen: str
    """How it came into the report: "best of runs/A", "finalist", "named", "search"."""
    tests: list[OnTest]
    checkpoints: list[str] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    """Sentences about an ensemble and its best member, one for each test set."""
    is_finalist: bool = False
    """Whether its setting was trained anew after a search had chosen it, so that its recall on
    validation is no longer the highest of many."""
    best_of_trials: int | None = None
    """Of a search's trial, which is among the best of so many; None of other models."""
    num_parameters: int | None = None
    """Of its network, or of all members'; None where that is not known."""
    bytes_per_image: int | None = None
    """Of the descriptor on disk, members together."""
    descriptors: dict[str, list[str]] = field(default_factory=dict)
    """By test set: the folders of descriptors, one for each checkpoint, in their order."""


@dataclass(frozen=True)
class SearchStep:
    """A member that the search for an ensemble added, and what the validation split gained."""

    added: str
    weight: float
    dimension: int
    """Of the ensemble with it, as of the following."""
    val_recall: float
    gain: float = 0.0
    """Points above the ensemble before; of the first member, its recall."""
    p_value: float | None = None
    """Of McNemar's exact test against the ensemble before; None of the first member."""


@dataclass(frozen=True)
class Search:
    """How an ensemble was found, on validation images alone."""

    validation: str
    num_queries: int
    candidates: list[str]
    left_out: dict[str, str]
    """Candidates that could not be members, with the reason."""
    weights: list[float]
    budget: int | None
    """The largest dimension allowed; None without a limit."""
    pca: int | None
    steps: list[SearchStep]
    outcome: str
    """In one sentence."""
    singles: dict[str, float] = field(default_factory=dict)
    """Recall@1 on the validation split of each candidate by itself, in percent."""


@dataclass(frozen=True)
class Report:
    """All of it."""

    runs: list[RunSource]
    tests: list[TestSet]
    methods: list[Method]
    baseline: str
    recall_at: list[int]
    search: Search | None
    versions: dict[str, str]
    command: list[str]
    created: str
    notes: list[str] = field(default_factory=list)
    """What a reader must know besides: what was left out, and why."""
    same_validation: bool = True
    """Whether all recalls on validation are of the same images, so that they can be compared."""

    def to_json(self) -> str:
        """Return it as JSON text.

        Raises:
            ValueError: a number is not finite, for which JSON has no word.
        """
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"format": FORMAT, **asdict(self)}
