"""report.md: the answer first, every table whole, and names that break nothing."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from made_report import made_report, renamed
from markdown_it import MarkdownIt
from rich.console import Console

from vgray.reports.answer import answer
from vgray.reports.chance import judge
from vgray.reports.markdown import render
from vgray.reports.overview import show_report
from vgray.reports.results import Report

EVIL = 'a|b <script>alert(1)</script> *x* `y` [z](http://z) &lt;\n\n# h\n\n- "q" \\'


def html(report: Report) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(render(report))


class Seen(HTMLParser):
    """The tags, the tables as rows of texts, and all of the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

        self.in_cell = self.in_cell or tag in ("td", "th")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.tables[-1][-1][-1] += data


@pytest.fixture
def report() -> Report:
    return made_report()


def test_the_answer_is_first(report: Report) -> None:
    single, ensemble, verdict = answer(report)
    assert single.startswith(
        "A#3 is the best of 3 single models by recall@1 of 61.2 % on validation images (one seed, "
        "and the best of 20 trials, so another seed is likely to reach less): recall@1 24.5 % "
        "(21.9 to 27.2) on sf-xs, recall@1 52.1 % (47.6 to 56.6) on night (models were chosen on "
        "it). Against the baseline A#0 it is better on sf-xs: +4.3 points (+1.1 to +7.5), "
        "p 0.0087, corrected 0.017. Differences on night prove nothing, as models were chosen"
    )
    assert ensemble.startswith("found (A#3 + B#1) is the best of 2 ensembles by recall@1 of 63.9")
    assert verdict == (
        "It cannot be told apart from its best member A#3: on sf-xs +0.4 points (-1.6 to +2.4), "
        "p 0.71, corrected 1. Differences on night prove nothing, as models were chosen on its "
        "images."
    )
    lines = render(report).split("\n")
    assert lines[:7:2] == ["# Recall of the models", single, ensemble, verdict]


def test_a_baseline_that_is_best_is_compared_with_the_next(report: Report) -> None:
    best = replace(report.methods[0], val_recall=99.0)
    single, *_ = answer(replace(report, methods=[best, *report.methods[1:]]))
    assert single.startswith("A#0 is the best of 3 single models by recall@1 of 99.0 %")
    assert "The next, A#3, is better on sf-xs: +4.3 points (+1.1 to +7.5), p 0.0087" in single


def test_a_finalist_goes_before_a_lucky_trial(report: Report) -> None:
    finalist = replace(report.methods[2], is_finalist=True)
    assert finalist.val_recall < report.methods[1].val_recall  # type: ignore[operator]
    methods = [*report.methods[:2], finalist, *report.methods[3:]]
    assert answer(replace(report, methods=methods))[0].startswith(
        "B#9 x3 is the only finalist with recall@1 of 60.1 % on validation images as the mean of "
        "3 seeds: recall@1 24.2 %"
    )


def test_recalls_on_different_images_call_no_model_best(report: Report) -> None:
    assert answer(replace(report, same_validation=False))[0] == (
        "The models were validated on different images, so none is called best. A#0, the "
        "baseline, has recall@1 20.1 % (17.8 to 22.7) on sf-xs, recall@1 42.9 % (38.5 to 47.5) on "
        "night (models were chosen on it)."
    )


def test_an_ensemble_that_is_worse_is_called_so(report: Report) -> None:
    found = report.methods[3]
    first = found.tests[0]
    worse = replace(
        first.against_best_member[0],
        points=-3.0,
        low=-5.0,
        high=-1.0,
        p_value=0.01,
        corrected_p=0.03,
    )
    same = replace(first.against_best_member[0], corrected_p=0.5)
    new = replace(found.tests[1], test="new", against_best_member=[same])
    tests = [replace(first, against_best_member=[worse]), new]
    methods = [*report.methods[:3], replace(found, tests=tests)]
    made = replace(
        report, methods=methods, tests=[*report.tests, replace(report.tests[0], name="new")]
    )
    assert answer(made)[-1] == (
        "Against its best member A#3 it is worse on sf-xs: -3.0 points (-5.0 to -1.0), p 0.01, "
        "corrected 0.03; not to be told apart on new: +0.4 points (-1.6 to +2.4), p 0.71, "
        "corrected 0.5."
    )


def test_nothing_is_said_of_an_ensemble_on_images_that_chose_it(report: Report) -> None:
    """It is the highest of many there, so it looks better even where nothing is."""
    night = report.methods[3].tests[1]
    by_luck = replace(night.against_best_member[0], points=12.5, low=2, high=23, p_value=0.022)
    found = replace(
        report.methods[3],
        tests=[
            replace(
                night,
                against_best_member=[
                    by_luck,
                ],
            )
        ],
    )
    tests = [test for test in report.tests if test.name == "night"]
    (found,) = judge([found], tests, 1)
    made = replace(report, tests=tests, methods=[found])
    assert answer(made)[-1] == (
        "Whether it is better than its best member A#3 is not known. Differences on night prove "
        "nothing, as models were chosen on its images."
    )
    text = render(made)
    assert "| +12.5 (+2.0 to +23.0), p 0.022 |" in text
    assert (
        "found with recall@1 of 53.0 % beside its best member A#3 with 52.1 % proves nothing, as "
        "models were chosen on these images: +12.5 points"
    ) in text
    assert "better" not in text.replace("Whether it is better than its best member A#3 is not", "")
    assert "**+" not in text


def test_a_search_that_found_nothing_is_an_answer(report: Report) -> None:
    only = replace(report, methods=report.methods[:1])
    assert [sentence[:20] for sentence in answer(only)] == [
        "A#0 is the only sing",
        "No ensemble: Stopped",
    ]
    assert len(answer(replace(only, search=None))) == 1
    assert "Ensembles" not in render(only)


def test_models_chosen_on_a_test_set_are_warned_of(report: Report) -> None:
    warning = "models were chosen on the images of night. Its recalls flatter"
    assert warning in render(report)
    tests = [replace(test, chose_models=False) for test in report.tests]
    assert "Warning" not in render(replace(report, tests=tests))


def test_models_trained_on_a_test_set_are_warned_of(report: Report) -> None:
    tests = [replace(test, trained_models=True) for test in report.tests]
    text = render(replace(report, tests=tests))
    assert "models were trained on the images of sf-xs. Its recalls flatter" in text
    assert "models were trained and chosen on the images of night. Its recalls flatter" in text
    assert "## Recall on sf-xs (models were trained on it)" in text
    console = Console(width=200, file=StringIO())
    show_report(replace(report, tests=tests), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "R@1 on sf-xs*" in shown
    assert "* models were trained on the images of sf-xs, so its recalls flatter" in shown


def test_every_test_set_has_its_table(report: Report) -> None:
    seen = Seen(html(report))
    for test in report.tests:
        assert f"Recall on {test.name}" in seen.text
    tables = [table for table in seen.tables if table[0][:2] == ["method", "kind"]]
    assert len(tables) == len(report.tests) == 2
    for table in tables:
        assert table[0][2:5] == ["seeds", "dimension", "R@1, %"]
        assert [row[0] for row in table[1:]] == [
            "A#0 (baseline)", "A#3", "B#9 x3", "found", "found, similarity",
        ]  # fmt: skip
        assert all(len(row) == 9 and all(row) for row in table)
    assert tables[0][3][2:6] == [
        "3",
        "256",
        "24.2 ± 0.8 (21.6 to 26.9)",
        "24.9 ± 0.8 (22.3 to 27.7)",
    ]
    behind = [table for table in seen.tables if table[0] == ["method", "R@1", "R@5"]]
    at_5 = "+0.0 (-2.0 to +2.0), p 0.003"
    assert behind[0][1] == ["A#3", "+4.3 (+1.1 to +7.5), p 0.0087, corrected 0.017", at_5]
    assert behind[1][1] == ["A#3", "+4.3 (+1.1 to +7.5), p 0.0087", at_5]
    assert behind[0][3][1] == "+4.7 (+1.5 to +7.9), p < 0.001"
    assert "corrected (Holm) for the 4 such comparisons of this report" in seen.text
    assert "They prove nothing: models were chosen on these images." in seen.text


def test_what_is_certain_is_bold_and_nothing_else(report: Report) -> None:
    text = render(report)
    certain = [
        found
        for method in report.methods
        for on in method.tests
        for found in (*on.behind_baseline, *on.against_best_member)
        if found.certain
    ]
    assert len(certain) == text.count("**+") == 4
    assert "**+4.3 (+1.1 to +7.5), p 0.0087, corrected 0.017**" in text
    # One comparison by itself would be certain of these; of images that chose models, or one of
    # many N, it is not.
    assert "| +4.3 (+1.1 to +7.5), p 0.0087 |" in re.sub(" +", " ", text)
    assert "+0.0 (-2.0 to +2.0), p 0.003 |" in text


def test_the_ensembles_and_their_search_are_told(report: Report) -> None:
    text = render(report)
    members = "A#3 (weight 1, alone 61.2 %), B#1 (weight 0.5, alone 58.5 %)"
    assert f"**found**: concatenated: {members}; 512 dimensions" in text
    assert "**found, similarity**: average of similarities: A#3" in text
    assert "- On sf-xs, found with recall@1 of 24.9 % cannot be told apart from its best" in text
    tables = Seen(html(report)).tables
    beside = next(table for table in tables if "R@1 of A#3, %" in table[0])
    assert beside[1][:4] == [
        "sf-xs", "24.9 (22.3 to 27.7)", "24.5 (21.9 to 27.2)",
        "+0.4 (-1.6 to +2.4), p 0.71, corrected 1",
    ]  # fmt: skip
    assert beside[2][3] == "+0.4 (-1.6 to +2.4), p 0.71"
    assert "corrected (Holm) for the 2 such comparisons of this report" in text
    steps = next(table for table in tables if table[0][0] == "added")
    assert steps[1:] == [
        ["A#3", "1", "256", "61.2", "", ""], ["B#1", "0.5", "512", "63.9", "+2.7", "0.021"],
    ]  # fmt: skip
    alone = next(table for table in tables if table[0][0] == "candidate")
    assert alone[1:] == [["A#3", "61.2"], ["B#1", "58.5"]]
    assert "dimension: at most 1,024, reduced to 256 by PCA" in text
    assert "- A#0: described other data" in text


def test_published_values_stand_beside_ours(report: Report) -> None:
    seen = Seen(html(report))
    table = next(table for table in seen.tables if "printed in" in table[0])
    assert table[1:] == [
        ["A#0", "sf-xs", "dashti2024, Table 1 row 3, Table 3 row 1", "1", "20.1 (17.8 to 22.7)",
         "993", "25.1 (22.5 to 27.9)", "1,000"],
        ["A#3", "sf-xs", "dashti2024, Table 3 row 2", "1", "24.5 (21.9 to 27.2)", "993",
         "24.23 † (21.7 to 27.0)", "1,000"],
    ]  # fmt: skip
    assert (
        "† No number of 1,000 queries is 24.23 % of them; the nearest are 24.20 % (242) and "
        "24.30 % (243)." in seen.text
    )
    assert "Editions of a data set differ" in seen.text
    assert "image_size 224x224, here 64x64; epochs 10, here 3" in seen.text
    none = [
        replace(method, tests=[replace(on, published=[]) for on in method.tests])
        for method in report.methods
    ]
    assert "Published" not in render(replace(report, methods=none))


def test_the_protocol_is_complete(report: Report) -> None:
    seen = Seen(html(report))
    table = next(table for table in seen.tables if table[0][0] == "test set")
    assert table[1][2:] == [
        "512 x 512 (27,000), 480 x 640 (900), 640 x 480 (200) and 1 more",
        "993", "12", "27,191", "7", "25",
    ]  # fmt: skip
    for said in (
        "train 59,650 train; test 27,191 database, 993 queries, 2.1 GB",
        "0.0012 GB, of the described images only",
        "single_query",
        "float32",
        "image size 64x64; seeds 1, 2, 3",
        "512 bytes an image, 11.2 million parameters",
        "recall@1 of 61.2 % on validation images (one seed, among the best of 20 trials)",
        "trained on /data/gsv, /data/own (62,431 images), validated on /data/night (3,000 "
        "database, 466 queries)",
        "18 of 20 trials finished",
        "python 3.11.9, torch 2.8.0",
        "jobs/report.py --runs runs/A runs/B --out 'my report'\n",
        "2 trials failed and are left out",
    ):
        assert said in seen.text


def test_names_cannot_break_a_table_or_become_html(report: Report) -> None:
    plain = Seen(html(report))
    evil = renamed(report, "A#3", EVIL)
    evil = replace(
        evil,
        notes=[EVIL, *evil.notes],
        command=[EVIL, EVIL],
        tests=[replace(test, uri=EVIL, native_sizes_px={EVIL: 1}) for test in evil.tests],
        runs=[replace(run, name=EVIL, data=[EVIL], command=[EVIL]) for run in evil.runs],
    )
    seen = Seen(html(evil))
    assert len(seen.tables) == len(plain.tables) >= 6
    for was, now in zip(plain.tables, seen.tables, strict=True):
        assert [len(row) for row in now] == [len(row) for row in was]
    assert set(seen.tags) == set(plain.tags)
    assert seen.tags.count("h1") == 1
    assert seen.tags.count("li") == plain.tags.count("li") + 1
    shown = 'a|b <script>alert(1)</script> *x* `y` [z](http://z) &lt; # h - "q" \\'
    assert seen.tables[1][2][0] == shown
    assert shown in seen.text


def test_everything_said_is_in_the_file_too(report: Report) -> None:
    values = json.loads(report.to_json())
    assert values["format"] == 1
    assert values["methods"][1]["tests"][0]["published"][0]["possible"] is False
    nan = replace(report.search, num_queries=float("nan"))  # type: ignore[type-var, arg-type]
    with pytest.raises(ValueError, match="JSON"):
        replace(report, search=nan).to_json()
