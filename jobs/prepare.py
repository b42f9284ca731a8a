"""Check a dataset, make a demo city, preview augmentation, or import published weights."""

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from search_spaces.demo import DEMO_SETTINGS
from vgray.console import demo_city as default_city
from vgray.console import parse_settings, user_errors
from vgray.errors import UserError
from vgray.places import Report, load_manifest
from vgray.places import check as check_dataset
from vgray.places.files import local_or_uri
from vgray.recipe import Recipe

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)


@app.command()
@user_errors()
def check(
    data: Annotated[
        str, typer.Argument(help="Folder of images in any layout, or a manifest file.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole report as JSON, every bad image named.")
    ] = False,
    decode: Annotated[
        bool, typer.Option(help="Decode every image to its end, or read headers only.")
    ] = True,
    distance: Annotated[
        float, typer.Option(min=0, help="Metres within which a database image is a positive.")
    ] = 25.0,
) -> None:
    """Say what a dataset holds and whether it can be trained on and scored; exit 2 if not."""
    table = load_manifest(data)
    with _progress("reading images") as step:
        report = check_dataset(table, decode=decode, distance_m=distance, progress=step)
    if as_json:
        print(json.dumps(dataclasses.asdict(report), indent=2))
    else:
        _show(report)
    if report.problems:
        raise UserError(f"{report.root} can't be trained or scored: {'; '.join(report.problems)}")
    if not as_json:
        print(f"checked {report.root}")
        _next(data)


@app.command("demo-city")
@user_errors()
def demo_city(
    out: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
    places: Annotated[int, typer.Option(min=5, help="Number of places.")] = 300,
    size: Annotated[str, typer.Option(help="Width x height of the images in pixels.")] = "128x96",
    images_per_place: Annotated[int, typer.Option(min=2, help="Images of each place.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another city.")] = 0,
) -> None:
    """Make street-level photographs of a city that does not exist, in the VPR folder layout."""
    from vgray.places.demo_city import CitySettings, generate

    width, height = _size(size)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another --out")
    settings = CitySettings(
        places=places, width=width, height=height, images_per_place=images_per_place, seed=seed
    )
    with _progress("making images") as step:
        generate(settings, out, progress=step)
    print(f"wrote {out}")
    _next(str(out))


@app.command("preview")
@user_errors()
def preview_augmentation(
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe's JSON file. Default: the default recipe.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, as in augmentation.brightness=0.1-0.3."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Photos with positions. Left out: the demo city.")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG to write; an older one is replaced.")] = Path(
        "preview.png"
    ),
    images: Annotated[int, typer.Option(min=1, max=100, help="Number of images to show.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws otherwise.")] = 0,
) -> None:
    """Show what a recipe's augmentation does: a sheet of training images, before and after."""
    base = Recipe().with_settings(DEMO_SETTINGS if data is None else {})
    base = Recipe.from_file(recipe) if recipe is not None else base
    chosen = base.with_settings(parse_settings(set_ or []))

    from vgray.places.preview import describe_augmentation, preview, spread_images

    said = describe_augmentation(chosen.augmentation)
    manifest = load_manifest(local_or_uri(data or default_city()))
    sheet = preview(
        spread_images(manifest, chosen.image_size, images), chosen.augmentation, seed=seed
    )
    try:
        sheet.save(out, format="PNG")
    except OSError as error:
        raise UserError(
            f"--out {out}: cannot be written ({error.strerror}); give a PNG in a folder that exists"
        ) from None
    print(f"augmentation: {', '.join(said)}")
    print(f"wrote {out}")


@app.command("import-weights")
@user_errors()
def import_published(
    file: Annotated[
        Path, typer.Option("--from", help="Official checkpoint: .pth, .pt, .ckpt, .safetensors.")
    ],
    model: Annotated[
        str,
        typer.Option(
            "--as",
            help="What it is: mixvpr, convap, cosplace, eigenplaces, salad, boq; netvlad, crn or "
            "gem of the deep-visual-geo-localization-benchmark.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write; must be new or empty.")],
    image_size: Annotated[
        str | None,
        typer.Option(
            help="Height x width in pixels; default: what the model was published for.",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Its name, needed only where the file leaves it open.", show_default=False
        ),
    ] = None,
) -> None:
    """Turn an official checkpoint into one that vgray loads, without running what it holds."""
    from vgray.models.published import import_weights

    done = import_weights(file, model, out, image_size=image_size, backbone=backbone)
    height, width = done.recipe.image_size
    backbone_found = done.recipe.backbone
    print(
        f"found {done.model} on {backbone_found.name} (crop_last {backbone_found.crop_last})"
        f": {done.dimension:,} dimensions, images of {height}x{width}, "
        f"{done.parameters:,} parameters; tensors of the file left out: {done.ignored:,}"
    )
    print(f"wrote {done.folder}")
    # A JSON text is a Python text too, in double quotes, which a shell needs no escapes for.
    folder = json.dumps(str(done.folder))
    code = f'import vgray; print(vgray.load_model({folder}).describe("PHOTO.jpg"))'
    print(f"next: python -c {shlex.quote(code)}")


def _size(text: str) -> tuple[int, int]:
    """Return (width, height) of "WxH"."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UserError(f"--size {text!r} is not WIDTHxHEIGHT in pixels, such as 160x120")
    return int(width), int(height)


def _next(data: str) -> None:
    print(f"next: python jobs/tune.py --space optimizers --data {shlex.quote(data)}")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, and a plain line every ten seconds where stderr is redirected."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(what)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(what: str) -> Callable[[int, int], None]:
    printed = time.monotonic()

    def step(done: int, total: int) -> None:
        nonlocal printed
        if time.monotonic() - printed >= 10:
            printed = time.monotonic()
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return step


def _show(report: Report) -> None:
    console = Console()
    text = f"{report.root}: {report.layout}, {report.images:,} images, {report.gigabytes:.3f} GB"
    console.print(escape(text), highlight=False, soft_wrap=True)
    table = Table("split", "role", "images")
    table.columns[2].justify = "right"
    for split, roles in report.counts.items():
        for role, count in roles.items():
            table.add_row(split, role, f"{count:,}")
    console.print(table)
    facts = Table("what", "found", show_header=False)
    facts.add_row("training places", f"{report.trainable_places:,} of {report.places:,} usable")
    for split, found in report.evaluations.items():
        facts.add_row(
            f"{split} queries without a positive",
            f"{found.queries_without_positive:,} of {found.queries:,} "
            f"(within {report.distance_m:g} m; {found.mean_positives:.2f} positives on average)",
        )
    for split, zones in report.utm_zones.items():
        facts.add_row(f"{split} UTM zone", ", ".join(zone or "not given" for zone in zones))
    sizes = [f"{size} ({count:,})" for size, count in report.sizes_px.items()]
    more = f" and {len(sizes) - 5} more sizes" if len(sizes) > 5 else ""
    facts.add_row("height x width in pixels", ", ".join(sizes[:5]) + more)
    facts.add_row("duplicate positions", f"{report.duplicate_positions:,}")
    how = "" if report.decoded else " (headers only)"
    facts.add_row("unreadable images", f"{len(report.unreadable):,}{how}")
    for reason, paths in report.left_out.items():
        facts.add_row(f"left out: {escape(reason)}", f"{len(paths):,}")
    console.print(facts)
    for path, why in report.unreadable[:20]:
        console.print(escape(f"unreadable: {path}: {why}"), highlight=False, soft_wrap=True)
    if len(report.unreadable) > 20:
        console.print(f"... and {len(report.unreadable) - 20} more (--json lists all)")
    for warning in report.warnings:
        console.print(escape(f"warning: {warning}"), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
