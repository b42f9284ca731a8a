"""What the jobs share at their edge: options read, progress shown, a mistake said in one line."""

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from vgray.errors import UserError

console = Console()

EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130  # as shells have it: 128 + SIGINT


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a user's mistake into one line on stderr and status 2; use as decorator or ``with``.

    Ctrl-C ends with status 130, and a reader that went away (``| head``) with status 0, both
    without a traceback. Everything else is a bug and keeps its own.
    """
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_USER_MISTAKE)
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it ends; give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_INTERRUPTED)


def say(text: str) -> None:
    """Print a line as it is: not wrapped, nothing highlighted, brackets kept."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much of a number of things is done: the callback takes both numbers."""
    with progress_bar() as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def progress_bar(*more: ProgressColumn) -> Progress:
    """Return a progress bar with ``more`` columns; it shows nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        *more,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def demo_city() -> str:
    """Return the folder of the demo city, which is made on first use."""
    from vgray.places.demo_city import default_city

    with counting("making the demo city") as progress:
        return str(default_city(progress=progress))


def spread_values(arguments: Sequence[str], options: Collection[str]) -> list[str]:
    """Repeat an option before each of its values: ``--runs A B`` becomes ``--runs A --runs B``.

    Args:
        arguments: the words of the command line.
        options: those that may be followed by several values.
    """
    spread: list[str] = []
    current: str | None = None
    for word in arguments:
        if word.startswith("-") and word != "-":
            current = word if word in options else None
        elif current is not None and spread[-1] != current:
            spread.append(current)
        spread.append(word)
    return spread


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Read the ``key=value`` pairs of ``--set``; a value that is no JSON is a text.

    Raises:
        UserError: a pair has no key or no equals sign.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise UserError(f"--set {pair}: expected setting=value, as in optimizer.lr=1e-4")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


def parse_duration(text: str | None) -> float | None:
    """Read a time such as ``90`` (seconds), ``30m`` or ``8h``; returns seconds.

    Raises:
        UserError: it is no positive time.
    """
    if text is None:
        return None
    unit_s = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:])
    try:
        seconds = float(text[:-1] if unit_s else text) * (unit_s or 1)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"--time-budget {text}: expected a time such as 90, 30m or 8h")
    return seconds


def refuse_given(options: Mapping[str, object], because: str) -> None:
    """Refuse options that were given although ``because`` settles them.

    Raises:
        UserError: one of the values is not None.
    """
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise UserError(f"{because}: takes its settings from the run; leave out {', '.join(given)}")


def describe_duration(seconds: float) -> str:
    """Return a time as ``3 h 20 min``, ``3 min 20 s`` or ``20 s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
