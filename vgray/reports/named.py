"""What the rows of a report are called, and the methods that the user names."""

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


def by_similarity(ensemble: str) -> str:
    """Return what an ensemble is called whose members' similarities are averaged."""
    return f"{ensemble} by similarity"


def reduced(ensemble: str, dimension: int) -> str:
    """Return what an ensemble is called that a PCA reduces to so many dimensions."""
    return f"{ensemble} PCA {dimension}"


def read_ensembles(texts: Sequence[str], candidates: Sequence[Candidate]) -> list[Ensemble]:
    """Read ensembles by hand: ``NAME=A#3,B#0:2``, the number being a weight.

    Args:
        texts: one for each ensemble.
        candidates: of the report.

    Raises:
        UserError: a text is not of that form, or a candidate is unknown or named twice.
    """
    known = {each.name: each for each in candidates}
    names = {alias: each.name for each in candidates for alias in (each.name, each.short)}
    ensembles = []
    for text in texts:
        name, equals, inside = text.partition("=")
        parts = [part.strip() for part in inside.split(",") if part.strip()]
        if not (name.strip() and equals and parts):
            raise UserError(
                f"--ensemble {text}: expected a name and its models, as in night=A#3,B#0:2"
            )
        found = [_member(part, f"--ensemble {text}:", names) for part in parts]
        if len(dict(found)) < max(len(found), 2):
            raise UserError(f"--ensemble {text}: expected two or more different models")
        members = tuple((known[member], weight) for member, weight in found)
        ensembles.append(Ensemble(name.strip(), members, "named"))
    return ensembles


def row_names(
    candidates: Sequence[Candidate],
    ensembles: Sequence[Ensemble],
    *,
    pca: int | None,
    searches: bool,
) -> dict[str, str]:
    """Return whatever a row of the report may be asked for by, with the row's name.

    Args:
        candidates: of the report.
        ensembles: by hand.
        pca: the dimension that ensembles are reduced to, besides.
        searches: whether an ensemble is searched for.

    Raises:
        UserError: two rows, or a row and a member of an ensemble, would be called the same.
    """
    owners = [
        _Owner(
            f"the model {each.name}",
            {each.member: None, each.short: each.name, each.name: each.name},
            "rename the folder of one of them",
        )
        for each in candidates
    ]
    joined = [(each.name, f"--ensemble {each.name}", "choose another") for each in ensembles]
    if searches:
        joined.append((SEARCHED, "the ensemble searched for", "rename that, or give --no-search"))
    for name, whose, remedy in joined:
        rows = [name, by_similarity(name), *([] if pca is None else [reduced(name, pca)])]
        owners.append(_Owner(whose, {row: row for row in rows}, remedy))
    taken: dict[str, str] = {}
    for owner in owners:
        for name in owner.names:
            if name in taken:
                raise UserError(
                    f"{owner.whose}: the name {name} is taken by {taken[name]}; {owner.remedy}"
                )
        taken |= dict.fromkeys(owner.names, owner.whose)
    return {name: row for owner in owners for name, row in owner.names.items() if row is not None}


def find_method(wanted: str, names: Mapping[str, str], option: str) -> str:
    """Return the name of the row that is asked for.

    Args:
        wanted: such as ``A#10`` for ``A#10 x3``.
        names: of all rows, see :func:`row_names`.
        option: that names it.

    Raises:
        UserError: there is no such row.
    """
    if wanted in names:
        return names[wanted]
    raise UserError(
        f"{option} {wanted}: no such model in the report{nearest_name(wanted, list(names)) or ';'} "
        f"there are {', '.join(dict.fromkeys(names.values()))}"
    )


@dataclass(frozen=True)
class _Owner:
    """Whose names are not to be those of another."""

    whose: str
    names: Mapping[str, str | None]
    """What it may be called -> its row; None of a name by which no row is meant."""
    remedy: str


def _member(part: str, option: str, names: Mapping[str, str]) -> tuple[str, float]:
    """Return the candidate's name and its weight."""
    name, colon, weight = part.rpartition(":")
    if not colon or part in names:
        return find_method(part, names, option), 1.0
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"{option} the weight of {name} is {weight!r}; expected a number above 0")
    return find_method(name, names, option), value
