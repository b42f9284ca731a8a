"""How numbers and names stand in a report: nothing falsely precise, nothing that becomes markup."""

import re
import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len

from vgray.reports.results import Difference, Score, TestSet
from vgray.retrieval.comparison import describe_p

# Markup wherever it stands: emphasis, code, HTML, links, columns, entities, mathematics.
_MARKUP = re.compile(r"([\\`*\[|~$]|<(?=\S)|&(?=#|\w+;)|(?<![^\W_])_|_(?![^\W_]))")
# Markup at the beginning of a line or of a list's item.
_BLOCK = re.compile(r"^(\d+(?=[.)])|(?=[#>=+-]))")


def plain(text: str) -> str:
    """Return a name or sentence in one line, without characters that steer a terminal."""
    letters = (
        letter if unicodedata.category(letter)[0] not in "CZ" or letter == " " else " "
        for letter in text
    )
    return re.sub(r" +", " ", "".join(letters)).strip()


def escaped(text: str) -> str:
    """Return a name or sentence that Markdown shows as it is, in a table's cell or elsewhere."""
    return _BLOCK.sub(r"\1\\", _MARKUP.sub(r"\\\1", plain(text)))


def number(value: float) -> str:
    """Return a percentage: one decimal, and no minus before zero."""
    return f"{round(value, 1) + 0.0:.1f}"


def points(value: float) -> str:
    """Return a difference of percentages, with its sign."""
    return f"{round(value, 1) + 0.0:+.1f}"


def interval(low: float, high: float) -> str:
    """Return an interval in brackets."""
    return f"({number(low)} to {number(high)})"


def score(of: Score) -> str:
    """Return a recall with its spread over seeds, if there are several, and its interval."""
    spread = "" if of.std is None else f" ± {number(of.std)}"
    return f"{number(of.recall)}{spread} {interval(of.low, of.high)}"


def difference(of: Difference, unit: str = "") -> str:
    """Return a difference of percentages with its interval and p-value.

    Args:
        of: what differs.
        unit: said behind the number.
    """
    low, high = points(of.low), points(of.high)
    p = describe_p(of.p_value)
    text = f"{points(of.points)}{unit} ({low} to {high}), {p}"
    corrected = p if of.corrected_p is None else describe_p(of.corrected_p)
    return text if corrected == p else f"{text}, corrected {corrected.removeprefix('p ')}"


def correction(what: str, count: int) -> str:
    """Return the sentence that goes with judged differences.

    Args:
        what: is judged.
        count: of the comparisons that p is corrected for.
    """
    return (
        f"Judged is {what}, by p corrected (Holm) for the {count:,} such comparisons of this "
        "report; bold: more than chance, at 5 %. Every other p is of one comparison by itself. "
        "Between models of one seed each, what other seeds would change is not in p."
    )


def difference_cells(ns: Sequence[int], found: Sequence[Difference]) -> list[str]:
    """Return a table's cell for each N, empty without a difference; what is certain is bold."""
    by_n = {each.n: each for each in found}
    cells = {n: difference(each) for n, each in by_n.items()}
    return [f"**{cells[n]}**" if n in by_n and by_n[n].certain else cells.get(n, "") for n in ns]


def flattery(test: TestSet) -> str:
    """Return what was done with a test set's images before, to go on with "on" and the images."""
    done = [
        *(["trained"] if test.trained_models else []),
        *(["chosen"] if test.chose_models else []),
    ]
    return f"models were {' and '.join(done)}"


def size(size_px: Sequence[int]) -> str:
    """Return an image size, height first."""
    return "x".join(str(side) for side in size_px)


def items(texts: Sequence[str]) -> list[str]:
    """Return the lines of a Markdown list of texts, which are escaped."""
    return [f"- {escaped(text)}" for text in texts]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """Return the lines of a Markdown table whose columns are aligned as plain text, too.

    Args:
        header: of the columns.
        rows: escaped cells.
        texts: how many of the first columns are texts; the others are numbers, on the right.
    """
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(3, *(cell_len(cell) for cell in column)) for column in zip(*cells, strict=True)]
    lines = [
        "| "
        + " | ".join(
            _padded(cell, width, left=column < texts)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in cells
    ]
    rules = [
        "-" * width if column < texts else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return [lines[0], "| " + " | ".join(rules) + " |", *lines[1:]]


def _padded(cell: str, width: int, *, left: bool) -> str:
    space = " " * (width - cell_len(cell))
    return cell + space if left else space + cell
