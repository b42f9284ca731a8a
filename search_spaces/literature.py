"""Every setting of the studies' tables, once; the spaces take their published settings from here.

No space: it has nothing to draw. Of each run, ``printed`` are the settings that its row of a table
or the text beside it gives. ``inferred`` is the rest: ResNet-18, on which all of them build, and
what they leave open. That is taken from the code of the group, from the benchmark that it builds
on, or, where both are silent, the default of torch. ``epochs`` is printed as well, but no setting
here: a sweep has one number of epochs for all of its trials.

A text of a table and a name here need not be the same word: the triplet loss of alidousti2023
trains on tuples and is ``weak_triplet``, and its partial mining is said in the text only.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

Settings = dict[str, Any]

FAMILIES = (
    "backbone", "aggregator", "loss", "mining", "miner", "optimizer", "schedule", "batch",
    "augmentation", "image_size",
)  # fmt: skip


class Run(NamedTuple):
    """One training of a study."""

    study: str
    rows: tuple[tuple[str, int], ...]
    """Table and row of each place where its figures are printed."""
    recall: float | None
    """Recall@1 on the test queries of SF-XS, in percent, as printed; None where it is not."""
    epochs: int | None
    """For how many it was trained, as printed; None where it is not."""
    printed: Settings
    """Dotted recipe path -> value, as the study gives them for this run."""
    inferred: Settings
    """The same, of what it does not give for this run."""

    @property
    def settings(self) -> Settings:
        """What is printed and what is inferred."""
        return {**self.inferred, **self.printed}


def _of(family: str, **values: Any) -> Settings:
    return {f"{family}.{key}": value for key, value in values.items()}


def _optimizer(name: str, lr: float, weight_decay: float) -> Settings:
    return _of("optimizer", name=name, lr=lr, weight_decay=weight_decay)


AVG, GEM, COSPLACE, CONVAP, MIXVPR, NETVLAD = (
    _of("aggregator", name=name)
    for name in ("avg", "gem", "cosplace", "convap", "mixvpr", "netvlad")
)
CONTRASTIVE, TRIPLET, MULTI_SIMILARITY = (
    _of("loss", name=name) for name in ("contrastive", "triplet", "multi_similarity")
)
NO_MINER, SIMILARITY_MINER, PAIR_MARGIN = (
    _of("miner", name=name) for name in ("none", "multi_similarity", "pair_margin")
)
WHOLE, CUT, CUT_2 = (_of("backbone", crop_last=crop) for crop in range(3))
NO_SCHEDULE = _of("schedule", name="none")

_PLACES = _of("mining", name="none")
_ALL_LEARNS = _of("backbone", name="resnet18", train_from=0)
_RAND_AUGMENT = _of("augmentation.rand_augment", num_ops=3, magnitude=9)
_CONSTANT = _of("schedule", name="none", warmup_epochs=0.0)
_MIXER: Settings = {"name": "mixvpr", "mix_depth": 4, "mlp_ratio": 1.0, "out_rows": 4}
# What the course's code has: the losses of its metric learning library with their defaults.
_COURSE = [
    _PLACES, _ALL_LEARNS, _RAND_AUGMENT, _CONSTANT,
    _of("batch", places=64, images_per_place=4),
    _of("loss", name="contrastive", pos_margin=0.0, neg_margin=1.0),
    _of("loss", name="multi_similarity", alpha=2.0, beta=50.0, base=0.5),
    _of("aggregator", name="gem", p=3.0),
    {"image_size": "224x224"},
]  # fmt: skip

EPOCHS = {"curello2023": 10, "dashti2024": 10, "bracco2024": 10, "alidousti2023": None}

# Parts of which a run takes those that suit its methods; of a family that is not printed, the
# first. Momentum is not printed by curello2023, and "con3" of dashti2024 may also mean CUT_2.
INFERRED: dict[str, list[Settings]] = {
    "curello2023": [
        *_COURSE,
        WHOLE,
        _of("aggregator", name="cosplace", out_dim=512),
        _of("aggregator", name="convap", out_channels=512, s1=2, s2=2),
        _of("aggregator", **_MIXER, out_channels=256),
        _of("miner", name="multi_similarity", epsilon=0.1),
        _of("miner", name="pair_margin", pos_margin=0.2, neg_margin=0.8, distance="euclidean"),
        _of("optimizer", name="sgd", lr=1e-3, weight_decay=1e-3, momentum=0.9),
        _of("schedule", name="cosine", per="epoch", warmup_epochs=0.0),
    ],
    "dashti2024": [*_COURSE, CUT, NO_MINER, _of("optimizer", name="adam", weight_decay=0.0)],
    # A warm-up of 600 steps is 0.3 epochs of its 62,500 places. Its code may freeze blocks, which
    # is not printed. Of ConvAP the size is that of its code as well.
    "bracco2024": [
        _PLACES, _ALL_LEARNS, _RAND_AUGMENT,
        _of("aggregator", name="gem", p=3.0),
        _of("aggregator", name="convap", out_channels=256, s1=2, s2=2),
        _of("aggregator", **_MIXER, out_channels=256),
        _of("loss", name="multi_similarity", alpha=1.0, beta=50.0, base=0.0),
        _of("miner", name="multi_similarity", epsilon=0.1),
        _of("schedule", name="multistep", gamma=0.3, warmup_epochs=0.3),
        _of("batch", images_per_place=4),
        {"image_size": "320x320"},
    ],
    "alidousti2023": [
        _CONSTANT, NO_MINER,
        _of("backbone", name="resnet18", crop_last=1, train_from=3),
        _of("aggregator", name="netvlad", clusters_num=64),
        _of("aggregator", name="gem", p=3.0),
        _of("loss", name="weak_triplet", margin=0.1),
        _of("mining", name="partial", negatives=10, pool_size=1000),
        _of("optimizer", name="adam", lr=1e-5, weight_decay=0.0),
        _of("augmentation", images="queries", brightness="none"),
        {"image_size": "480x640"},
    ],
}  # fmt: skip


def _filled(printed: Settings, parts: list[Settings]) -> Settings:
    settings = dict(printed)
    for part in parts:
        names = [path for path in part if path.endswith(".name")]
        if all(settings.setdefault(path, part[path]) == part[path] for path in names):
            settings = {**part, **settings}
    return {path: value for path, value in settings.items() if path not in printed}


def _run(
    study: str,
    rows: tuple[tuple[str, int], ...],
    recall: float | None,
    *printed: Settings,
    inferred: Settings | None = None,
    epochs: int | None = None,
) -> Run:
    said = {path: value for part in printed for path, value in part.items()}
    parts = [inferred, *INFERRED[study]] if inferred else INFERRED[study]
    return Run(study, rows, recall, epochs or EPOCHS[study], said, _filled(said, parts))


def _curello() -> Iterator[Run]:
    study, plain = "curello2023", CONTRASTIVE | NO_MINER
    sgd = _of("optimizer", name="sgd")
    yield _run(study, (("Baseline", 1),), 30.6, AVG, plain, sgd, epochs=20)
    yield _run(study, (("Aggregators", 2),), 31.0, GEM, plain)
    yield _run(study, (("Aggregators", 3),), 30.1, COSPLACE, plain)
    table, size = "MixVPR removed layers", _of("aggregator", out_channels=128)
    yield _run(study, ((table, 1),), 30.8, MIXVPR, CUT_2, plain, inferred=size)
    size = _of("aggregator", out_channels=512)
    yield _run(study, ((table, 3),), 33.0, MIXVPR, WHOLE, plain, inferred=size)
    pairs = [
        (CONTRASTIVE | NO_MINER, 32.8, 41.1),
        (CONTRASTIVE | SIMILARITY_MINER, 33.2, 38.1),
        (CONTRASTIVE | PAIR_MARGIN, 32.2, 39.5),
        (MULTI_SIMILARITY | NO_MINER, 28.0, 38.3),
        (MULTI_SIMILARITY | SIMILARITY_MINER, 29.6, 36.5),
        (MULTI_SIMILARITY | PAIR_MARGIN, 28.7, 30.3),
    ]
    for row, (pair, on_convap, on_mixvpr) in enumerate(pairs, 1):
        # The first pair is that of the tables before.
        also, also_mixvpr = ((("Aggregators", 4),), ((table, 2),)) if row == 1 else ((), ())
        yield _run(study, (("Losses&Miners ConvAP", row), *also), on_convap, CONVAP, pair)
        rows = (("Losses&Miners MixVPR", row), *also_mixvpr)
        yield _run(study, rows, on_mixvpr, MIXVPR, CUT, pair)
    similar, margin = MULTI_SIMILARITY | NO_MINER, CONTRASTIVE | PAIR_MARGIN
    cosine_10, cosine_5 = (_of("schedule", name="cosine", t_max=epochs) for epochs in (10, 5))
    settings = [
        (36.8, plain, _optimizer("adam", 1e-4, 1e-3), NO_SCHEDULE),
        (43.3, plain, _optimizer("adamw", 1e-4, 1e-3), NO_SCHEDULE),
        (42.8, margin, _optimizer("adamw", 1e-4, 1e-3), NO_SCHEDULE),
        (21.9, margin, _optimizer("sgd", 1e-4, 1e-3), NO_SCHEDULE),
        (51.7, similar, _optimizer("adamw", 1e-4, 1e-3), NO_SCHEDULE),
        (46.6, similar, _optimizer("adamw", 1e-4, 1e-4), NO_SCHEDULE),
        (50.7, similar, _optimizer("adamw", 1e-4, 1e-2), NO_SCHEDULE),
        (49.8, similar, _optimizer("adamw", 1e-4, 1e-3), cosine_10),
        (51.72, similar, _optimizer("adamw", 1e-4, 1e-3), cosine_5),
        (43.0, similar, _optimizer("radam", 1e-3, 0.0), NO_SCHEDULE),
        (51.3, similar, _optimizer("radam", 1e-4, 0.0), NO_SCHEDULE),
        (49.3, similar, _optimizer("radam", 1e-4, 0.0), cosine_5),
    ]
    table = "Optimizers/LR/WD (MixVPR)"
    for row, (recall, pair, optimizer, schedule) in enumerate(settings, 1):
        yield _run(study, ((table, row),), recall, MIXVPR, CUT, pair, optimizer, schedule)


def _dashti() -> Iterator[Run]:
    study, base = "dashti2024", _of("optimizer", name="adam", lr=1e-5)
    margins = _of("loss", pos_margin=0.0, neg_margin=1.0)
    # Tables 1 and 2 are the same, cell for cell.
    yield _run(study, (("Table 1", 1), ("Table 2", 1)), 21.3, GEM, CONTRASTIVE, margins, base)
    triplet = TRIPLET | _of("loss", margin=1.0)
    yield _run(study, (("Table 1", 2), ("Table 2", 2)), 10.1, GEM, triplet, base)
    thrice = (("Table 1", 3), ("Table 2", 3), ("Table 3", 1))
    yield _run(study, thrice, 25.1, GEM, MULTI_SIMILARITY, base)
    adamw, sgd = _optimizer("adamw", 1e-5, 1e-2), _optimizer("sgd", 1e-2, 5e-4)
    yield _run(study, (("Table 3", 2),), 24.23, GEM, MULTI_SIMILARITY, adamw)
    momentum = _of("optimizer", momentum=0.9)
    yield _run(study, (("Table 3", 3),), 28.79, GEM, MULTI_SIMILARITY, sgd, momentum)


def _bracco() -> Iterator[Run]:
    study, text = "bracco2024", CUT | MULTI_SIMILARITY | _of("batch", places=32)
    # All but MixVPR are trained with AdamW; the table does not say which of two MixVPR had.
    best, steps = _optimizer("adamw", 1e-3, 1e-2), _of("schedule", name="multistep")
    yield _run(study, (("Figure 1", 1),), 12.8, AVG, text, inferred=best)
    yield _run(study, (("Figure 1", 2),), 20.7, GEM, text, inferred=best)
    yield _run(study, (("Figure 1", 4),), 53.1, MIXVPR, text)
    twice = (("Figure 2", 2), ("Figure 1", 3))
    yield _run(study, twice, 41.2, CONVAP, text, best, steps)
    for row, lr, weight_decay in ((1, 1e-2, 1e-2), (3, 1e-2, 1e-3), (4, 1e-3, 1e-3)):
        adamw = _optimizer("adamw", lr, weight_decay)
        yield _run(study, (("Figure 2", row),), None, CONVAP, text, adamw, steps)


def _alidousti() -> Iterator[Run]:
    study = "alidousti2023"
    text = _of("loss", name="weak_triplet") | _of("mining", name="partial")
    yield _run(study, (("Table 6", 1),), 12.0, GEM, text)
    yield _run(study, (("Table 6", 2),), 36.6, NETVLAD, text)
    night, dusk = (_of("augmentation", brightness=factors) for factors in ("0.1-0.3", "0.3-0.9"))
    # Those of Table 1 but the last go on from NetVLAD of Table 6, which is no setting (init_from).
    yield _run(study, (("Table 1", 1), ("Table 4", 1)), 35.1, NETVLAD, text, night)
    yield _run(study, (("Table 1", 2), ("Table 1", 3)), None, NETVLAD, text, dusk)
    cases = [(1e-5, 1e-2), (1e-5, 5e-2), (1e-3, 1e-2), (1e-4, 5e-2), (1e-4, 0.1)]
    for case, (lr, weight_decay) in enumerate(cases, 1):
        adamw = _optimizer("adamw", lr, weight_decay)
        yield _run(study, (("Table 3", case),), None, NETVLAD, text, adamw)
    best = (("Table 3", 6), ("Table 4", 4))
    yield _run(study, best, 30.8, NETVLAD, text, _optimizer("adamw", 1e-4, 0.3))


RUNS = [*_curello(), *_dashti(), *_bracco(), *_alidousti()]


def published(*families: str, where: Mapping[str, Any] | None = None) -> list[Settings]:
    """Return the settings of some families, each once, as the spaces publish them.

    The studies take turns, each with its best first, so that even a short sweep starts from them.

    Args:
        families: of these settings, as in ``loss`` or ``augmentation.brightness``; runs of which
            one is not known are left out. None given: of all that are known.
        where: settings that a run must have.
    """
    turns: list[list[Settings]] = []
    for study in INFERRED:
        turns.append([])
        # Sorting is stable: what has no figure stays in the order of the tables, at the end.
        for run in sorted(RUNS, key=lambda run: -(run.recall or 0.0)):
            parts = [_part(run.settings, family) for family in families or FAMILIES]
            is_meant = run.study == study and (where or {}).items() <= run.settings.items()
            if is_meant and (all(parts) or not families):
                turns[-1].append({path: part[path] for part in parts for path in part})
    found: list[Settings] = []
    for settings in (each for turn in zip_longest(*turns) for each in turn if each is not None):
        if settings not in found:
            found.append(settings)
    return found


def printed_epochs(settings: Mapping[str, Any]) -> set[int]:
    """Return for how many epochs the studies trained with some published settings.

    Args:
        settings: dotted recipe path -> value. Those that no study has (as of attention) count for
            nothing. Empty if no run has the others, or if its epochs are not printed.
    """
    found: set[int] = set()
    for run in RUNS:
        both = settings.keys() & run.settings.keys()
        has_them = both and all(settings[path] == run.settings[path] for path in both)
        if has_them and run.epochs is not None:
            found.add(run.epochs)
    return found


def _part(settings: Settings, family: str) -> Settings:
    # The name first, as a reader expects it.
    paths = sorted(settings, key=lambda path: not path.endswith(".name"))
    return {path: settings[path] for path in paths if f"{path}.".startswith(f"{family}.")}
