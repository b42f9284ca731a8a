"""The errors that vgray raises on purpose."""


class UserError(Exception):
    """A mistake that the user can mend: a job prints its one line and exits with status 2.

    The message says what was found, what was expected and what to do, in that order.
    """


def nearest_name(name: str, known: list[str]) -> str:
    """Return ", did you mean 'x'?" for the known name closest to ``name``, or "" if none is."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean '{close[0]}'?" if close else ""
