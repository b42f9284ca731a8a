"""What was scored on what: test sets, models, runs, versions and the command."""

import shlex
from collections.abc import Mapping

from vgray.reports.results import Method, Report, RunSource, TestSet
from vgray.reports.wording import escaped, number, plain, size, table

_SIZES_SHOWN = 3


def protocol_section(report: Report) -> list[str]:
    """Return the lines of the section in Markdown."""
    lines = ["", "## Protocol", ""]
    lines += table(
        ["test set", "split", "native sizes, px", "queries", "without positive", "database",
         "unreadable", "positive within, m"],
        [
            [
                escaped(test.name),
                escaped(test.split),
                _native_sizes(test),
                f"{test.num_queries:,}",
                f"{test.num_without_positive:,}",
                f"{test.num_database:,}",
                f"{test.num_skipped:,}",
                f"{test.distance_m:g}",
            ]
            for test in report.tests
        ],
        texts=3,
    )  # fmt: skip
    lines.append("")
    lines += [f"- {_data_set(test)}" for test in report.tests]
    lines += [f"- {_method(method)}" for method in report.methods if method.kind == "single"]
    lines += [f"- {_run(run)}" for run in report.runs]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines += [f"- Versions: {escaped(versions)}", f"- Made {escaped(report.created)} with"]
    lines += ["", f"      {plain(shlex.join(report.command))}"]
    return lines


def _native_sizes(test: TestSet) -> str:
    sizes = list(test.native_sizes_px.items())
    shown = ", ".join(f"{name} ({count:,})" for name, count in sizes[:_SIZES_SHOWN])
    more = len(sizes) - _SIZES_SHOWN
    return escaped(shown) + (f" and {more:,} more" if more > 0 else "")


def _data_set(test: TestSet) -> str:
    whole = "" if test.whole else ", of the described images only: the data set is out of reach"
    counts = "; ".join(
        f"{split} " + ", ".join(f"{count:,} {role}" for role, count in roles.items())
        for split, roles in test.counts.items()
    )
    return (
        f"Data of {escaped(test.name)}: {escaped(test.uri)}, {escaped(counts)}, "
        f"{test.gigabytes:.2g} GB{whole}; queries by {escaped(test.query_method)}, descriptors in "
        f"{escaped(test.dtype)}; fingerprint {escaped(test.fingerprint[:12])}"
    )


def _method(method: Method) -> str:
    sizes = ", ".join(dict.fromkeys(size(each) for each in method.image_size_px))
    seeds = ", ".join(str(seed) for seed in method.seeds)
    where = ", ".join(method.checkpoints)
    return (
        f"Model {escaped(method.name)}: {escaped(method.settings)}; {facts(method)}; image size "
        f"{sizes}; seed{'s'[: len(method.seeds) != 1]} {seeds}"
        + (f"; {escaped(where)}" if where else "")
    )


def _run(run: RunSource) -> str:
    trained = "" if run.num_train is None else f" ({run.num_train:,} images)"
    val = f", validated on {escaped(run.val or 'their val split')}{_counts(run.validation)}"
    val = val if run.val or run.validation else ""
    command = f"; {escaped(shlex.join(run.command))}" if run.command else ""
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return (
        f"Run {escaped(run.name)}: {escaped(run.path)}, {run.num_finished} of {run.num_trials} "
        f"trials finished, trained on {escaped(', '.join(run.data))}{trained}{val}, fingerprint "
        f"{escaped(run.fingerprint[:12])}{command}" + (f"; {escaped(versions)}" if versions else "")
    )


def _counts(images: Mapping[str, int]) -> str:
    counts = ", ".join(f"{count:,} {role}" for role, count in images.items())
    return f" ({escaped(counts)})" if counts else ""


def facts(method: Method) -> str:
    """Return a method's size, validation recall and origin, escaped."""
    said = [f"{method.dimension:,} dimensions"]
    if method.bytes_per_image is not None:
        said.append(f"{method.bytes_per_image:,} bytes an image")
    if method.num_parameters is not None:
        said.append(f"{method.num_parameters / 1e6:.1f} million parameters")
    if method.val_recall is not None:
        among = method.best_of_trials
        luck = "" if among is None else f" (one seed, among the best of {among:,} trials)"
        said.append(f"recall@1 of {number(method.val_recall)} % on validation images{luck}")
    said.append(f"chosen: {escaped(method.chosen)}")
    return ", ".join(said)
