"""Methods that the user names: an ensemble's members and weights, and the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vgray.errors import UserError, nearest_name
from vgray.reports.candidates import Candidate

SEARCHED = "search"
"""The name of the ensemble that is searched for."""


@dataclass(frozen=True)
class Ensemble:
    """Models to be joined."""

    name: str
    members: tuple[tuple[Candidate, float], ...]
    """With their weights."""
    chosen: str
    """How it came into the report."""


def read_ensembles(texts: Sequence[str], candidates: Sequence[Candidate]) -> list[Ensemble]:
    """Read ensembles by hand: ``NAME=A#3,B#0:2``, the number being a weight.

    Args:
        texts: one for each ensemble.
        candidates: of the report.

    Raises:
        UserError: a text is not of that form, a candidate is unknown or named twice, or a name is
            taken.
    """
    taken = {name for each in candidates for name in (each.name, each.short)} | {SEARCHED}
    ensembles = []
    for text in texts:
        name, equals, inside = text.partition("=")
        name = name.strip()
        parts = [part.strip() for part in inside.split(",") if part.strip()]
        if not (name and equals and parts):
            raise UserError(
                f"--ensemble {text}: expected a name and its models, as in night=A#3,B#0:2"
            )
        if name in taken:
            raise UserError(f"--ensemble {text}: the name {name} is taken; choose another")
        taken.add(name)
        members = tuple(_member(part, text, candidates) for part in parts)
        if len({member.name for member, _ in members}) < max(len(members), 2):
            raise UserError(f"--ensemble {text}: expected two or more different models")
        ensembles.append(Ensemble(name, members, "named"))
    return ensembles


def find_method(wanted: str, names: Sequence[str], option: str) -> str:
    """Return the method of a name, which may leave out the number of seeds.

    Args:
        wanted: such as ``A#10`` for ``A#10 x3``.
        names: of all methods.
        option: that names it.

    Raises:
        UserError: there is no such method.
    """
    short: Mapping[str, str] = {name.rpartition(" x")[0] or name: name for name in names}
    if wanted in names:
        return wanted
    if wanted in short:
        return short[wanted]
    raise UserError(
        f"{option} {wanted}: no such model in the report{nearest_name(wanted, list(short)) or ';'} "
        f"there are {', '.join(short)}"
    )


def _member(part: str, text: str, candidates: Sequence[Candidate]) -> tuple[Candidate, float]:
    name, colon, weight = part.rpartition(":")
    names = [candidate.name for candidate in candidates]
    option = f"--ensemble {text}:"
    if not colon or part in names:
        return candidates[names.index(find_method(part, names, option))], 1.0
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"{option} the weight of {name} is {weight!r}; expected a number above 0")
    return candidates[names.index(find_method(name, names, option))], value
