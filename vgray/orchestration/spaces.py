"""Search spaces: found by name or path, composed with ``+``, and turned into recipes."""

import importlib
import importlib.util
import pkgutil
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import optuna

import search_spaces
from vgray.errors import UserError, nearest_name
from vgray.recipe import Recipe

Suggest = Callable[[Any], None]
Value = TypeVar("Value")


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
    """What the user fixes whatever is drawn: dotted path -> value."""

    def recipe(self, base: Recipe, settings: Mapping[str, Any]) -> Recipe:
        """Return ``base`` with drawn settings.

        A drawn name starts its family from defaults, so what the user fixed is put in once more.

        Raises:
            UserError: the recipe is not valid.
        """
        return base.with_settings({**self.fixed, **settings})

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
        part = RecipeTrial(trial, known)
        for suggest in self.suggests:
            part.begin()
            try:
                suggest(part)
            except _VariedTwiceError as error:
                raise UserError(
                    f"--space {self.name}: {error} is varied by two of the spaces; compose spaces "
                    "that vary different settings"
                ) from None
        return {**known, **part.settings}


class _VariedTwiceError(Exception):
    pass


class RecipeTrial:
    """What ``suggest`` of a search space is given: an Optuna trial that speaks recipe paths.

    Optuna sees ``optimizer[sgd].lr`` where the space says ``optimizer.lr``: the learning rates of
    two optimizers are two parameters, each with its own range, and the sampler must not learn one
    from the other.
    """

    def __init__(self, trial: optuna.trial.BaseTrial, known: Mapping[str, Any]) -> None:
        self._trial = trial
        self._known = known
        self._of_others: set[str] = set()
        self.settings: dict[str, Any] = {}

    def begin(self) -> None:
        """Begin the next of several spaces: it may read, not vary, what those before it drew."""
        self._of_others = set(self.settings)

    def suggest_float(
        self, path: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draw a float for a recipe path; arguments as Optuna's."""
        self._claim(path)
        if self._lies_outside(path, low, high):
            return self._keep(path, cast(float, self._known[path]))
        value = self._trial.suggest_float(self._name(path), low, high, step=step, log=log)
        return self._keep(path, value)

    def suggest_int(
        self, path: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Draw an integer for a recipe path; arguments as Optuna's."""
        self._claim(path)
        if self._lies_outside(path, low, high):
            return self._keep(path, cast(int, self._known[path]))
        value = self._trial.suggest_int(self._name(path), low, high, step=step, log=log)
        return self._keep(path, value)

    def suggest_categorical(self, path: str, choices: Sequence[Any]) -> Any:
        """Draw one of ``choices`` (None, bool, int, float or str) for a recipe path."""
        self._claim(path)
        if path in self._known and self._known[path] not in choices:
            return self._keep(path, self._known[path])
        value = self._trial.suggest_categorical(self._name(path), choices)
        return self._keep(path, value)

    def _claim(self, path: str) -> None:
        if path in self._of_others:
            raise _VariedTwiceError(path)

    def _name(self, path: str) -> str:
        return parameter_name(path, {**self._known, **self.settings})

    def _lies_outside(self, path: str, low: float, high: float) -> bool:
        # A published setting may lie outside what is worth searching (a weight decay of 0 has no
        # logarithm). Optuna would silently draw another value in its place, so it isn't asked.
        return path in self._known and not low <= self._known[path] <= high

    def _keep(self, path: str, value: Value) -> Value:
        self.settings[path] = value
        return value


def parameter_name(path: str, settings: Mapping[str, Any]) -> str:
    """Return Optuna's name for a recipe path: ``optimizer.lr`` of sgd is ``optimizer[sgd].lr``."""
    family, _, rest = path.partition(".")
    method = settings.get(f"{family}.name")
    return path if rest == "name" or method is None else f"{family}[{method}].{rest}"


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
    base: dict[str, Any] = {}
    published: list[Mapping[str, Any]] = []
    for module in modules:
        base |= module.BASE
        published += module.PUBLISHED
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


def sample_settings(
    space: SearchSpace, base: Recipe, count: int, seed: int
) -> list[dict[str, Any]]:
    """Draw ``count`` settings at random, to find mistakes in a space before anything starts.

    Each makes a valid recipe of ``base``.

    Raises:
        UserError: the space fails, varies a path twice, varies what a sweep settles, or draws
            values that no recipe allows.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn: list[dict[str, Any]] = []
    for _ in range(count):
        trial = study.ask()
        try:
            settings = space.draw(trial, {})
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"--space {space.name}: suggest() failed with {type(error).__name__}: {error} "
                f"({Path(where.filename).name}, line {where.lineno}); mend the space"
            ) from error
        settled = sorted({"epochs", "seed"} & settings.keys())
        if settled:
            raise UserError(
                f"--space {space.name}: varies {settled[0]}, which is one for the whole sweep; "
                f"leave it out and give --{settled[0]}"
            )
        space.recipe(base, settings)
        drawn.append(settings)
    return drawn


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
