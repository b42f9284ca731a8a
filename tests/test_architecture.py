"""Who may import whom: every package only what stands before it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each imports only from those before it; the first row knows plain values only.
ORDER = [
    "vgray.errors",
    "vgray.settings",
    "vgray.recipe",
    "vgray.provenance",
    "vgray.places",
    "vgray.console",
    "vgray.models",
    "vgray.retrieval",
    "vgray.training",
    "vgray.reports",
    "vgray.orchestration",
]


def _imports(path: Path) -> set[str]:
    """Return every module that a file names in an import, wherever in the file it stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _package(module: str) -> str | None:
    return next((p for p in ORDER if module == p or module.startswith(f"{p}.")), None)


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_every_package_imports_only_what_stands_before_it() -> None:
    seen = set()
    for path in sorted((ROOT / "vgray").rglob("*.py")):
        here = _package(_module(path))
        if here is None:
            assert path.name == "__init__.py", f"{path} belongs to no package of ORDER"
            continue
        seen.add(here)
        for imported in map(_package, _imports(path)):
            if imported is not None:
                assert ORDER.index(imported) <= ORDER.index(here), f"{path} imports {imported}"
    assert seen == set(ORDER)


def test_only_orchestration_imports_ray() -> None:
    importers = {
        path.relative_to(ROOT).parts[1]
        for folder in ("vgray", "jobs", "search_spaces")
        for path in (ROOT / folder).rglob("*.py")
        if any(name.split(".")[0] == "ray" for name in _imports(path))
    }
    assert importers == {"orchestration"}


def test_what_is_light_stays_light() -> None:
    """A recipe, a data set and a search space are read without waiting for torch or Ray."""
    code = (
        "import sys, vgray, vgray.places, search_spaces.optimizers, vgray.orchestration.sweep\n"
        "assert vgray.Recipe().epochs\n"
        "heavy = {'torch', 'ray', 'faiss'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_training_needs_no_ray() -> None:
    code = "import sys, vgray.training, vgray.models; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
