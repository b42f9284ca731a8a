"""What was retrieved on the screen: the counts, a few of the images, and how to go on."""

import shlex
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vgray.console import say
from vgray.retrieval.descriptors import Descriptors
from vgray.retrieval.evaluation_summary import with_model
from vgray.retrieval.retrieved import Retrieved

_SHOWN = 5  # queries
_MORE = 10  # times as many images are proposed


def joined(found: Mapping[str, Retrieved]) -> pa.Table:
    """Return what several models retrieved in one table, with the models' names."""
    return pa.concat_tables([with_model(each.table, name) for name, each in found.items()])


def show_retrieved(found: Mapping[str, Retrieved], split: str, console: Console) -> None:
    """Print how much was retrieved, and the first image of a few queries.

    Args:
        found: by the models' names.
        split: of the data.
        console: where to.
    """
    first = next(iter(found.values()))
    say(
        f"split {split}: {first.num_ranked:,} images retrieved for each of {first.num_queries:,} "
        "queries"
    )
    for name, each in found.items():
        if each.num_without:
            say(f"{name} has no numbers for {each.num_without:,} of the queries: nothing for these")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("query", overflow="fold")
    table.add_column("nearest", overflow="fold")
    table.add_column("similarity", justify="right", no_wrap=True)
    if len(found) > 1:
        table.add_column("model", overflow="fold")
    for name, each in found.items():
        nearest = each.table.filter(pc.equal(each.table["rank"], 1)).slice(0, _SHOWN)
        for row in nearest.to_pylist():
            words = [_short(row["query"]), _short(row["path"]), f"{row['similarity']:.3f}"]
            table.add_row(*map(Text, [*words, *([name] if len(found) > 1 else [])]))
    if table.row_count:
        say("")
        console.print(table, highlight=False)


def next_command(
    command: Sequence[str], described: Mapping[str, Descriptors], found: Mapping[str, Retrieved]
) -> str:
    """Return a command that says more: the recall where there are positions, or more images.

    Args:
        command: the one that retrieved these, which is repeated with all its options.
        described: the folders.
        found: what was retrieved.
    """
    has_folder = any(word.startswith("--out") for word in command)  # whose images recall replaces
    if all(each.description.labelled for each in described.values()) and not has_folder:
        words = [word for word in command if word != "--no-labels"]
    else:
        num_ranked = _MORE * max(each.num_ranked for each in found.values())
        words = [*command, "--recall-at", str(num_ranked)]
    return shlex.join(["python", *words])


def _short(path: str) -> str:
    """Return the last two names of a path, which tell images apart."""
    return "/".join(path.rsplit("/", 2)[-2:])
