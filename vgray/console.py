"""What every job does at its edge: one line and an exit status instead of a traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vgray.errors import UserError

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
