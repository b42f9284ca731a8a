"""A report as a job would make it, by hand: two runs, two test sets, seeds, three ensembles."""

from dataclasses import replace

from vgray.reports.chance import judge
from vgray.reports.results import (
    Difference,
    Kind,
    Member,
    Method,
    OnTest,
    PublishedValue,
    Report,
    RunSource,
    Score,
    Search,
    SearchStep,
    TestSet,
)
from vgray.retrieval import wilson_interval

AT = (1, 5, 10, 20, 25)
IMPOSSIBLE = PublishedValue(
    "dashti2024", "Table 3", "2", 1, 24.23, 1000, 21.7, 27.0, False, "gsv-xs",
    ["image_size 224x224, here 64x64", "epochs 10, here 3"],
)  # fmt: skip
TWICE = [
    PublishedValue("dashti2024", table, row, 1, 25.1, 1000, 22.5, 27.9, True, "gsv-xs", [])
    for table, row in (("Table 1", "3"), ("Table 3", "1"))
]


def _scores(hits: int, total: int, std: float | None = None) -> list[Score]:
    counts = [min(total, hits + 7 * step) for step in range(len(AT))]
    return [
        Score(n, 100 * count / total, *wilson_interval(count, total), std)
        for n, count in zip(AT, counts, strict=True)
    ]


def _differences(than: str, first: tuple[float, float, float, float]) -> list[Difference]:
    return [Difference(1, than, *first), Difference(5, than, 0.04, -1.96, 2.04, 0.003)]


def _tests(
    hits: int,
    *,
    std: float | None = None,
    behind: tuple[float, float, float, float] | None = None,
    member: tuple[float, float, float, float] | None = None,
    published: list[PublishedValue] | None = None,
) -> list[OnTest]:
    return [
        OnTest(
            test,
            _scores(hits, total, std),
            _differences("A#0", behind) if behind else [],
            _differences("A#3", member) if member else [],
            published or [] if test == "sf-xs" else [],
            _scores(243, total) if member else [],
        )
        for test, total in (("sf-xs", 993), ("night", 466))
    ]


def _single(name: str, val_recall: float, tests: list[OnTest], seeds: list[int]) -> Method:
    return Method(
        name, "single", 256, "mixvpr loss=multi_similarity lr=0.0001", [(64, 64)] * len(seeds),
        seeds, val_recall, "best of runs/A", tests, [f"runs/A/trials/{seed:04d}" for seed in seeds],
        best_of_trials=20 if len(seeds) == 1 else None,
        num_parameters=11_200_000, bytes_per_image=512,
        descriptors={"sf-xs": [f"descriptors/{name}-{seed}" for seed in seeds]},
    )  # fmt: skip


def _together(name: str, kind: Kind, tests: list[OnTest]) -> Method:
    how = "concatenated" if kind == "ensemble" else "average of similarities"
    return Method(
        name, kind, 512, how, [(64, 64), (64, 96)], [3, 1], 63.94, "search", tests,
        members=[Member("A#3", 1.0, 61.25), Member("B#1", 0.5, 58.5)],
    )  # fmt: skip


def made_report() -> Report:
    """Return it; ``night`` is where the models were chosen."""
    runs = [
        RunSource(
            name, f"runs/{name}", ["/data/gsv", "/data/own"], "/data/night", "f" * 64, 20, 18,
            ["jobs/tune.py", "--space", "losses+miners", "--name", name], {"torch": "2.8.0"},
            62431, {"database": 3000, "queries": 466},
        )
        for name in ("A", "B")
    ]  # fmt: skip
    tests = [
        TestSet(
            "sf-xs", "/data/sf_xs", "test", "a" * 64,
            {"train": {"train": 59650}, "test": {"database": 27191, "queries": 993}}, 2.1449,
            {"512 x 512": 27000, "480 x 640": 900, "640 x 480": 200, "100 x 100": 84},
            27191, 993, 12, 7, 25.0, False,
        ),
        TestSet(
            "night", "/data/night", "val", "b" * 64, {"val": {"database": 3000, "queries": 466}},
            0.00123, {"512 x 512": 3466}, 3000, 466, 0, 0, 25.0, True, False, "single_query",
            "float32",
        ),
    ]  # fmt: skip
    methods = [
        _single("A#0", 55.123, _tests(200, published=TWICE), [0]),
        _single(
            "A#3", 61.25, _tests(243, behind=(4.3, 1.1, 7.5, 0.00871),
            published=[IMPOSSIBLE]), [3],
        ),
        _single("B#9 x3", 60.1, _tests(240, std=0.849, behind=(4.0, 0.2, 7.8, 0.04)),
                [1, 2, 3]),
        _together("found", "ensemble", _tests(
            247, behind=(4.7, 1.5, 7.9, 0.0000321), member=(0.4, -1.6, 2.4, 0.712))),
        _together("found, similarity", "similarity", _tests(
            246, behind=(4.6, 1.4, 7.8, 0.004), member=(-0.04, -2.0, 1.9, 1.0))),
    ]  # fmt: skip
    search = Search(
        "/data/night (val)", 466, ["A#3", "A#0", "B#1"], {"A#0": "described other data"},
        [0.5, 1.0, 2.0], 1024, 256,
        [SearchStep("A#3", 1.0, 256, 61.25, 61.25),
         SearchStep("B#1", 0.5, 512, 63.94, 2.69, 0.0213)],
        "Stopped after 2 members: no other one raised recall@1.",
        {"A#3": 61.25, "B#1": 58.5},
    )  # fmt: skip
    return Report(
        runs, tests, judge(methods, tests, AT[0]), "A#0", list(AT), search,
        {"python": "3.11.9", "torch": "2.8.0"},
        ["jobs/report.py", "--runs", "runs/A", "runs/B", "--out", "my report"],
        "2024-05-01T10:00:00+02:00", ["runs/B: 2 trials failed and are left out"],
    )  # fmt: skip


def renamed(report: Report, old: str, new: str) -> Report:
    """Return the report with another name of a method, wherever it stands."""
    methods = [
        replace(method, name=new if method.name == old else method.name)
        for method in report.methods
    ]
    return replace(
        report, methods=methods, baseline=new if report.baseline == old else report.baseline
    )
