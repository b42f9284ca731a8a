"""A report on the screen: a table of its methods, and what it comes to."""

from rich.console import Console
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from vgray.reports.answer import answer
from vgray.reports.results import OnTest, Report
from vgray.reports.wording import flattery, interval, number, plain

_MAX_WIDTH = 1000


def show_report(report: Report, console: Console) -> None:
    """Print the methods with their recall on each test set, then the verdicts and notes."""
    n = report.recall_at[0]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method")
    for title in ("dimension", "validation"):
        table.add_column(title, justify="right")
    for test in report.tests:
        mark = "*" if test.flatters else ""
        header = Text(f"R@{n} on {plain(test.name)}{mark} (95 %)")
        table.add_column(header, justify="right", no_wrap=True)
    for method in report.methods:
        mark = " (baseline)" if method.name == report.baseline else ""
        recall = "" if method.val_recall is None else number(method.val_recall)
        table.add_row(
            Text(f"{plain(method.name)}{mark}"),
            f"{method.dimension:,}",
            recall,
            *(Text(_recall(on)) for on in method.tests),
        )
    # On a narrow screen lines run over, where rich would cut the numbers off.
    wide = console.options.update(max_width=_MAX_WIDTH)
    console.print(Segments(console.render(table, wide)), soft_wrap=True, end="")
    lines = [sentence for method in report.methods for sentence in method.verdicts]
    lines += [
        f"* {flattery(test)} on the images of {plain(test.name)}, so its recalls flatter"
        for test in report.tests
        if test.flatters
    ]
    for line in ["", *lines, *answer(report), *(f"note: {note}" for note in report.notes)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _recall(on: OnTest) -> str:
    first = on.scores[0]
    spread = "" if first.std is None else f" ± {number(first.std)}"
    return f"{number(first.recall)}{spread} {interval(first.low, first.high)}"
