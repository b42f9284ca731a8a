"""The errors that vgray raises on purpose."""


class UserError(Exception):
    """A mistake that the user can mend: a job prints its one line and exits with status 2.

    The message says what was found, what was expected and what to do, in that order.
    """


def nearest_name(name: str, known: list[str]) -> str:
    """Return ", did you mean 'x'?" for the known name closest to ``name``, or "" if none is.

    Upper and lower case count alike.
    """
    import difflib

    names = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), list(names), n=1)
    return f", did you mean '{names[close[0]]}'?" if close else ""
