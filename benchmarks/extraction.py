"""Extraction against the limit of this machine: a loop that reads and describes, nothing else.

    python benchmarks/extraction.py
    python benchmarks/extraction.py --data DATA --model CHECKPOINT --images 20000 --repeats 3

On CPUs the limit is the fastest of three loops on all cores, each without a store, an order or
files: processes and threads that read and describe with one thread each, and threads that read
for one model on all cores. On a GPU it is the slower of reading on all cores and the raw forward
pass. Loops, forward pass and extraction run in turns; ratios are of the same round, since what
else runs on the machine slows all alike. The start is left out: of the loops the loading of the
model, of the extraction what comes before a tenth of the images is described; reading the others
that were read by then is added to its time. Each loop takes blocks of the size that suits it best,
which is tried before. Images that cannot be read are passed over.

The demo city's images are small. What photographs cost, which take most of the time to read, is
told with ``--data`` and a folder of them.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from extraction_loops import Work, best_block, loops

from vgray.console import demo_city, say, user_errors
from vgray.models.checkpoint import load_model, save_checkpoint
from vgray.models.devices import default_device
from vgray.models.network import Network
from vgray.orchestration.cluster import disconnect
from vgray.orchestration.extraction import extract
from vgray.orchestration.extraction_request import Request
from vgray.orchestration.extraction_tally import Outcome
from vgray.places import load_manifest
from vgray.recipe import Recipe
from vgray.training.precision import settle_precision


@dataclass(frozen=True)
class Extracted:
    """An extraction as it was timed."""

    images_per_s: float
    outcome: Outcome


def measure(
    data: Annotated[str | None, typer.Option(help="Default: the demo city.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Default: an untrained ResNet-18 with GeM at 224 px.")
    ] = None,
    images: Annotated[int, typer.Option(help="How many images, at most.", min=2)] = 2000,
    repeats: Annotated[int, typer.Option(help="Rounds.", min=1)] = 3,
) -> None:
    """Measure and print a table."""
    with user_errors(), tempfile.TemporaryDirectory() as folder:
        work = _prepare(data or demo_city(), model, images, Path(folder))
        all_loops = loops()
        blocks = {name: best_block(loop, work) for name, loop in all_loops.items()}
        say(f"{len(work.paths)} images, {work.cores} cores, {default_device().type}")
        rounds = []
        for number in range(repeats):
            speeds = {
                name: loop(replace(work, block=blocks[name])) for name, loop in all_loops.items()
            }
            found = _extraction(work, Path(folder) / f"out-{number}")
            rounds.append((speeds, found))
            say(f"round {number + 1}: {_line(speeds, found)}")
        _print_table(rounds, work.cores)
        say("blocks of the loops: " + ", ".join(f"{name} {n}" for name, n in blocks.items()))


def _prepare(data: str, model: Path | None, number: int, folder: Path) -> Work:
    """Write the model, unless it is given, and a manifest of so many images, evenly taken."""
    if model is None:
        recipe = Recipe().with_settings(
            {"image_size": [224, 224], "backbone.weights": "none", "aggregator.name": "gem"}
        )
        torch.manual_seed(0)
        network = Network(settle_precision(recipe, default_device()))
        model = save_checkpoint(folder / "model", network, {})
    manifest = load_manifest(data)
    number = min(number, len(manifest))
    taken = manifest.take(np.arange(number) * len(manifest) // number)
    for name, value in {"split": "test", "role": "database"}.items():
        column = pa.array([value] * number)
        taken = taken.set_column(taken.column_names.index(name), name, column)
    pq.write_table(taken, folder / "manifest.parquet")
    size_px = load_model(model, "cpu").recipe.image_size
    cores = len(os.sched_getaffinity(0))
    return Work(model, folder / "manifest.parquet", taken["path"].to_pylist(), size_px, cores)


def _limit(speeds: dict[str, float]) -> float:
    loops = {name: speed for name, speed in speeds.items() if name != "forward"}
    return min(speeds.values()) if "reading" in speeds else max(loops.values())


def _extraction(work: Work, out: Path) -> Extracted:
    """Extract with Ray started for it, and time all but a tenth of the images."""
    try:
        outcome = extract(Request(work.model, str(work.data), ("test",), out))
    finally:
        disconnect()
    return Extracted(_steady_speed(outcome, work.cores), outcome)


def _steady_speed(outcome: Outcome, cores: int) -> float:
    """Return images/s after a tenth of them; 0 where nothing came after that.

    Those that were read by then, and not described, have had a part of their work done before the
    clock: what reading them takes of the cores is added.
    """
    read_at, came_at, images = outcome.blocks.T
    done = images.cumsum()
    begun = int(np.argmax(done >= done[-1] / 10))
    ahead = images[read_at <= came_at[begun]].sum() - done[begun]
    seconds = came_at[-1] - came_at[begun] + ahead * outcome.read_s / done[-1] / cores
    return float((done[-1] - done[begun]) / seconds) if begun < len(images) - 1 else 0.0


def _line(speeds: dict[str, float], found: Extracted) -> str:
    each = [f"{name} {speed:.1f}" for name, speed in speeds.items()]
    return ", ".join([*each, f"extraction {found.images_per_s:.1f} images/s"])


def _print_table(rounds: list[tuple[dict[str, float], Extracted]], cores: int) -> None:
    ratios = [found.images_per_s / _limit(speeds) for speeds, found in rounds]
    say("| | images/s | of the limit |")
    say("|---|---|---|")
    for name in rounds[0][0]:
        say(_row(name, [speeds[name] for speeds, _ in rounds], rounds))
    say(_row("limit", [_limit(speeds) for speeds, _ in rounds], rounds))
    say(_row("extraction", [found.images_per_s for _, found in rounds], rounds))
    say(f"extraction reaches {median(ratios):.2f} of the limit ({min(ratios):.2f} to "
        f"{max(ratios):.2f}), after a start of "
        f"{median(found.outcome.startup_s for _, found in rounds):.1f} s")  # fmt: skip
    outcome = rounds[-1][1].outcome
    number = outcome.num_described / 1000
    whole_ms = 1000 * cores / rounds[-1][1].images_per_s
    parts = {
        "reading": outcome.read_s,
        "describing": outcome.describe_s,
        "writing": outcome.write_s,
    }
    parts_ms = {name: seconds / number for name, seconds in parts.items()}
    parts_ms["the rest (transport, Ray, cores that wait or do other things)"] = whole_ms - sum(
        parts_ms.values()
    )
    each = ", ".join(f"{name} {spent_ms:.2f}" for name, spent_ms in parts_ms.items())
    say(f"of {whole_ms:.2f} ms of the cores for each image: {each}")


def _row(name: str, speeds: list[float], rounds: list[tuple[dict[str, float], Extracted]]) -> str:
    of_limit = median(
        speed / _limit(others) for speed, (others, _) in zip(speeds, rounds, strict=True)
    )
    return f"| {name} | {median(speeds):.1f} | {of_limit:.2f} |"


if __name__ == "__main__":
    typer.run(measure)
