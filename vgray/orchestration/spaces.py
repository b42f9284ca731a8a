"""Search spaces: found by name or path, composed with ``+``, and turned into recipes."""

import importlib
import importlib.util
import pkgutil
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna

import search_spaces
from vgray.errors import UserError, nearest_name
from vgray.orchestration.recipe_trial import Allows, RecipeTrial, VariedTwiceError
from vgray.recipe import Recipe
from vgray.settings import known_names, merge_settings, settings_in

Suggest = Callable[[Any], None]


@dataclass(frozen=True)
class SearchSpace:
    """One search space, or several composed."""

    name: str
    base: Mapping[str, Any]
    """The fixed part of the recipe: dotted path -> value."""
    published: Sequence[Mapping[str, Any]]
    """Settings from the literature: dotted path -> value."""
    suggests: Sequence[Suggest]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """What holds whatever is drawn: dotted path -> value."""
    allows: Allows | None = None
    """Given, choices of methods and image sizes that it refuses are left out of the search."""

    @property
    def names(self) -> dict[str, Any]:
        """The methods that hold where none is drawn: dotted path -> value."""
        held = {**self.base, **self.fixed}
        return {path: value for path, value in held.items() if path.endswith(".name")}

    def recipe(self, base: Recipe, settings: Mapping[str, Any]) -> Recipe:
        """Return ``base`` with drawn settings.

        A drawn name starts its family from defaults, so what is fixed is put in once more, as far
        as the methods that are drawn have such settings.

        Raises:
            UserError: the recipe is not valid.
        """
        together = {**self.fixed, **settings}
        names = {path: value for path, value in together.items() if path.endswith(".name")}
        methods = merge_settings(base.to_dict(), names)
        fixed = {path: value for path, value in self.fixed.items() if _applies(path, methods)}
        return base.with_settings({**fixed, **settings})

    def draw(self, trial: optuna.trial.BaseTrial, known: Mapping[str, Any]) -> dict[str, Any]:
        """Let every part of the space draw from ``trial``.

        Args:
            trial: an Optuna trial.
            known: settings that are given rather than drawn (of a published setting).

        Returns:
            Dotted recipe path -> value; what the space does not vary of ``known`` is included.

        Raises:
            UserError: two parts vary the same path.
        """
        part = RecipeTrial(trial, known, self.names, self.allows)
        self.run(part)
        return {**known, **part.settings}

    def run(self, part: RecipeTrial) -> None:
        """Let every part of the space draw from ``part``, which keeps the settings.

        Raises:
            UserError: two parts vary the same path, or one fails.
        """
        for suggest in self.suggests:
            part.begin()
            try:
                suggest(part)
            except (UserError, KeyboardInterrupt):
                raise
            except VariedTwiceError as error:
                raise UserError(
                    f"--space {self.name}: {error} is varied by two of the spaces; compose spaces "
                    "that vary different settings"
                ) from None
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                raise UserError(
                    f"--space {self.name}: suggest() failed with {type(error).__name__}: {error} "
                    f"({Path(where.filename).name}, line {where.lineno}); mend the space"
                ) from error


def _applies(path: str, methods: Mapping[str, Any]) -> bool:
    """Return whether the method of the path's family has the setting, or there is no choice."""
    family, _, key = path.partition(".")
    field = Recipe.model_fields.get(family)
    members = settings_in(field.annotation) if field else []
    name = (methods[family] or {}).get("name") if len(members) > 1 else None
    member = next((each for each in members if name and name in known_names(each)), None)
    return member is None or key.partition(".")[0] in member.model_fields


def known_spaces() -> list[str]:
    """Return the names of the spaces that come with vgray."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules(search_spaces.__path__)
        if hasattr(_import(module.name), "suggest")
    )


def load_space(names: str) -> SearchSpace:
    """Load one space, or several joined by ``+``; each a known name or the path of a .py file.

    Raises:
        UserError: an unknown name, a missing or failing file, or one that is no search space.
    """
    parts = _split(names)
    twice = {part for part in parts if parts.count(part) > 1}
    if twice:
        raise UserError(f"--space {names}: '{twice.pop()}' is given twice; give each space once")
    modules = [_load_module(part) for part in parts]
    base = {path: value for module in modules for path, value in module.BASE.items()}
    # In turn, so that a short sweep tries the best of each.
    rounds = zip_longest(*(module.PUBLISHED for module in modules))
    published = [setting for each in rounds for setting in each if setting is not None]
    return SearchSpace(names, base, published, [module.suggest for module in modules])


def default_name(names: str) -> str:
    """Return a name for a run of these spaces: theirs, date and time."""
    stems = "+".join(Path(part).stem for part in _split(names))
    plain = re.sub(r"[^\w.+-]+", "-", stems)
    return f"{plain}-{datetime.now():%Y%m%d-%H%M%S}"


def absolute_space(names: str) -> str:
    """Return the names with a file's path made absolute: the run may be resumed elsewhere."""
    return "+".join(
        str(Path(part).expanduser().absolute()) if _is_path(part) else part
        for part in _split(names)
    )


def _split(names: str) -> list[str]:
    return [names] if Path(names).is_file() else names.split("+")


def _is_path(name: str) -> bool:
    return name.endswith(".py") or "/" in name


def _load_module(name: str) -> ModuleType:
    if _is_path(name):
        module = _import_file(Path(name))
    elif name.isidentifier() and importlib.util.find_spec(f"search_spaces.{name}"):
        module = _import(name)
    else:
        known = known_spaces()
        raise UserError(
            f"--space {name}: unknown{nearest_name(name, known) or ';'} known are "
            f"{', '.join(known)}, or give the path of your own .py file"
        )
    missing = [key for key in ("BASE", "PUBLISHED", "suggest") if not hasattr(module, key)]
    if missing:
        raise UserError(
            f"--space {name}: has no {' and no '.join(missing)}; a search space is a .py file "
            "with BASE, PUBLISHED and suggest(trial), as in search_spaces/optimizers.py"
        )
    return module


def _import(name: str) -> ModuleType:
    return importlib.import_module(f"search_spaces.{name}")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"--space {path}: no such file; give a known space or a .py file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--space {path}: not a Python file; a search space is a .py file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(
            f"--space {path}: cannot be imported ({type(error).__name__}: {error}); mend the file"
        ) from error
    return module
