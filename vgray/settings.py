"""Settings by dotted path: put in, flattened, described, and explained where they are wrong."""

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from vgray.errors import UserError, nearest_name


def merge_settings(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of nested ``values`` with dotted ``settings`` put in, names first."""
    merged: dict[str, Any] = json.loads(json.dumps(values))
    for path in sorted(settings, key=lambda path: not path.endswith(".name")):
        *parents, key = path.split(".")
        group = merged
        for i, parent in enumerate(parents):
            inner = group.get(parent)
            if inner is None:
                inner = group[parent] = {}
            elif not isinstance(inner, dict):
                where = ".".join(parents[: i + 1])
                raise UserError(f"{path}: '{where}' is {inner!r}, which has no settings inside")
            group = inner
        if key == "name" and group.get("name") != settings[path]:
            group.clear()
        group[key] = settings[path]
    return merged


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested ``values`` as one dict keyed by dotted paths; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten_settings(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def describe_settings(settings: Mapping[str, Any] | None) -> str:
    """Return what varies in one short line: ``sgd lr=0.0123 momentum=0.9``.

    Where methods of several families vary, each is named with its own: ``loss=triplet margin=0.1
    miner=none``. Elsewhere the family is left out, except where two paths would read the same.
    """
    if not settings:
        return "base recipe"
    short = [_within_family(path) for path in settings]
    words = []
    for path, value in settings.items():
        key = _within_family(path)
        if key == "name":
            is_one = short.count(key) == 1
            words.append(str(value) if is_one else f"{path.removesuffix('.name')}={value}")
        else:
            key = path if short.count(key) > 1 else key
            words.append(f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}")
    return " ".join(words)


def _within_family(path: str) -> str:
    return path.partition(".")[2] or path


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """Return one line for the first thing that is wrong: dotted path, value, what is allowed.

    Args:
        error: of the validation.
        root: the model that was validated.
    """
    first = error.errors()[0]
    kind, value = first["type"], first["input"]
    path, group, members = _dotted(first["loc"], root)
    if kind == "union_tag_invalid":
        found = str(first["ctx"]["tag"])
        known = [name for member in members.values() for name in known_names(member)]
        hint = nearest_name(found, known)
        return f"{path}.name: found '{found}'{hint or ';'} known are {', '.join(known)}"
    if isinstance(value, str) and kind in ("union_tag_not_found", "model_attributes_type"):
        return f"{path}: found '{value}', expected settings; give {path}.name={value}"
    if kind == "union_tag_not_found":
        return f"{path}.name: missing; say which {path} is meant, as in {path}.name=..."
    if kind == "extra_forbidden":
        known = sorted(group.model_fields) if group else []
        hint = nearest_name(path.rpartition(".")[2], known)
        return (
            f"{path}: no such setting (found {value!r}){hint or ';'} "
            f"allowed here are {', '.join(known)}"
        )
    message = first["msg"].removeprefix("Value error, ")
    if kind == "literal_error" and path.endswith("name"):
        known = [name.strip("' ") for name in first["ctx"]["expected"].split(",")]
        return f"{path}: found {value!r}; known are {', '.join(known)}"
    if kind == "value_error":
        return f"{path}: {message}" if path else message
    message = re.sub(r"^\w+ should", "it should", message)
    return f"{path}: found {value!r}; {message}"


def _dotted(
    location: tuple[str | int, ...], root: type[BaseModel]
) -> tuple[str, type[BaseModel] | None, dict[str, type[BaseModel]]]:
    """Turn pydantic's location, which names union members too, into a dotted path.

    Also returns the settings class in which the location's last key was looked up, and the members
    of the union that the key names.
    """
    keys: list[str] = []
    group: type[BaseModel] | None = root
    members: dict[str, type[BaseModel]] = {}
    for part in location:
        tagged = next((c for tag, c in members.items() if part in (tag, *known_names(c))), None)
        if tagged is not None:
            group, members = tagged, {}
            continue
        keys.append(str(part))
        field = group.model_fields.get(str(part)) if group else None
        inner = settings_in(field.annotation) if field else []
        if len(inner) == 1:
            group = inner[0]
        members = {cls.__name__: cls for cls in inner} if len(inner) > 1 else {}
    return ".".join(keys), group, members


def known_names(settings: type[BaseModel]) -> tuple[str, ...]:
    """Return the names that a settings class of a tagged union answers to."""
    field = settings.model_fields["name"]
    literals = get_args(field.annotation)
    return literals or (str(field.default).partition("/")[0] + "/...",)


def settings_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes that an annotation, perhaps a union, is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [cls for part in get_args(annotation) for cls in settings_in(part)]
