"""An evaluation on the screen: what ``recall.json`` says, in a few short tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vgray.console import say
from vgray.retrieval.comparison import describe_p
from vgray.retrieval.evaluation import CURVE_M

SHOWN_DISTANCES_M = (5, 10, 25, 50, 100)
_CELL = len("100.0 [98.1, 100.0]  ")


def show_evaluation(summary: Mapping[str, Any], console: Console) -> None:
    """Print protocol, recalls, the curve over the distance, slices and comparisons.

    Args:
        summary: as :func:`vgray.retrieval.evaluation_summary.summarise` makes it.
        console: where to.
    """
    for line in _protocol(summary):
        say(line)
    _show_recalls(summary, console)
    _show_curve(summary, console)
    for slicing in summary["slicings"]:
        _show_slices(summary, slicing, console)
    if summary["comparisons"]:
        say("")
    for comparison in summary["comparisons"]:
        if comparison["n"] == summary["recall_at"][0]:
            say(compared(comparison))
    if summary["comparisons"]:
        say("(of one training each: how much other seeds would change is not in it)")


def compared(comparison: Mapping[str, Any]) -> str:
    """Return in a sentence whether one model is better than another."""
    one, other, points = comparison["model"], comparison["than"], comparison["points"]
    p = describe_p(comparison["p_value"])
    low, high = comparison["low"], comparison["high"]
    at = f"recall@{comparison['n']}"
    if not comparison["certain"]:
        difference = f"{points:+.1f} points [{low:.1f}, {high:.1f}], {p}"
        return f"{at}: {one} and {other} cannot be told apart ({difference})"
    side = "above"
    if points < 0:
        side, points, low, high = "below", -points, -high, -low
    return f"{at}: {one} is {points:.1f} points {side} {other} [{low:.1f}, {high:.1f}], {p}"


def _protocol(summary: Mapping[str, Any]) -> list[str]:
    data, models = summary["data"], summary["models"]
    without, skipped = data["num_without_positive"], data["num_skipped"]
    first = f"{data['uri']}, split {data['split']}: {data['num_database']:,} database images, "
    first += f"{data['num_queries']:,} queries"
    first += f", {without:,} without a positive (they count as not found)" if without else ""
    first += f", {skipped:,} images skipped" if skipped else ""
    sizes = _all(models, lambda each: "x".join(map(str, each["image_size_px"])))
    methods = _all(
        models, lambda each: each["query_method"] + (f", {each['crops']}" * bool(each["crops"]))
    )
    dtypes = _all(models, lambda each: each["dtype"])
    second = f"found: an image within {summary['distance_m']:g} m is among the N nearest; images "
    second += f"{sizes}, queries by {methods}, {dtypes}"
    if (pca := models[0]["pca"]) is not None:
        second += f", PCA{' with whitening' * pca['whiten']} of {pca['num_images']:,} {pca['data']}"
        second += " training images"
    return [first, second]


def _all(models: Sequence[Mapping[str, Any]], text_of: Any) -> str:
    """Return what the models have in common, or each one's in turn."""
    texts = [text_of(each) for each in models]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def _show_recalls(summary: Mapping[str, Any], console: Console) -> None:
    """A column for each model where there is room, else a row for each N and model."""
    models, ns = summary["models"], summary["recall_at"]
    titles = [f"{each['name']} ({each['dimension']:,}-d)" for each in models]
    widths = [max(len(title) + 2, _CELL) for title in titles]
    table = _table()
    table.add_column("recall [95 %]", no_wrap=True)
    if len(models) == 1 or sum(widths) + len("recall [95 %]") <= console.width:
        for title in titles:
            table.add_column(Text(title), justify="right")
        for row, n in enumerate(ns):
            table.add_row(f"@{n}", *(_with_interval(each["recall"][row]) for each in models))
    else:
        table.add_column("model", overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        for row, n in enumerate(ns):
            for index, (each, title) in enumerate(zip(models, titles, strict=True)):
                cell = _with_interval(each["recall"][row])
                table.add_row("" if index else f"@{n}", Text(title), cell)
    say("")
    console.print(table, highlight=False)


def _show_curve(summary: Mapping[str, Any], console: Console) -> None:
    models, ns = summary["models"], summary["recall_at"]
    table = _table()
    # Of one model every N; of several the first N, by which they are compared.
    of_one = len(models) == 1
    table.add_column("within" if of_one else f"@{ns[0]} within", overflow="fold")
    shown = sorted({*SHOWN_DISTANCES_M, summary["distance_m"]} & set(CURVE_M))
    for distance_m in shown:
        table.add_column(f"{distance_m:g} m", justify="right", no_wrap=True)
    rows = [(each, n) for each in models for n in (ns if of_one else ns[:1])]
    for each, n in rows:
        curve = each["curve"]
        found = dict(zip(curve["distances_m"], curve["recall"][str(n)], strict=True))
        name = f"@{n}" if of_one else each["name"]
        table.add_row(Text(name), *(f"{found[distance_m]:.1f}" for distance_m in shown))
    say("")
    console.print(table, highlight=False)


def _show_slices(summary: Mapping[str, Any], slicing: Mapping[str, str], console: Console) -> None:
    models, ns = summary["models"], summary["recall_at"]
    found = [[each for each in model["slices"] if each["by"] == slicing["by"]] for model in models]
    names = [each["name"] for each in models] if len(models) > 1 else [""]
    labels = [slicing["by"], *(each["slice"] for each in found[0])]
    taken = sum(min(max(map(len, texts)), 30) for texts in (labels, names)) + len("  queries    ")
    # As many N as there is room for; the rest is in the file.
    shown = ns[: max(1, (console.width - taken) // _CELL)]
    table = _table()
    table.add_column(Text(slicing["by"]), overflow="fold")
    table.add_column("queries", justify="right", no_wrap=True)
    if len(models) > 1:
        table.add_column("model", overflow="fold")
    for n in shown:
        table.add_column(f"@{n}", justify="right", no_wrap=True)
    for of_models in zip(*found, strict=True):
        for row, (each, name) in enumerate(zip(of_models, names, strict=True)):
            first = (each["slice"], f"{each['num_queries']:,}") if row == 0 else ("", "")
            cells = (_with_interval(recall) for recall in each["recall"][: len(shown)])
            table.add_row(*map(Text, (*first, *([name] if len(models) > 1 else []))), *cells)
    say("")
    say(slicing["how"])
    console.print(table, highlight=False)


def _with_interval(recall: Mapping[str, float]) -> str:
    return f"{recall['recall']:.1f} [{recall['low']:.1f}, {recall['high']:.1f}]"


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold")
