"""vgray: find, train and ship the best visual place recognition model for your photographs.

The names below are the library's front door. They are imported when first used, so that code
which only handles recipes does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from vgray.errors import UserError
from vgray.recipe import Recipe

if TYPE_CHECKING:
    from vgray.models import load_model
    from vgray.places.manifest import load_manifest

_PACKAGES = ("models", "places", "retrieval", "training")

__all__ = ["Recipe", "UserError", "load_manifest", "load_model"]


def __getattr__(name: str) -> Any:
    if name == "load_manifest":
        from vgray.places.manifest import load_manifest

        return load_manifest
    if name == "load_model":
        from vgray.models import load_model

        return load_model
    if name in _PACKAGES:
        return importlib.import_module(f"vgray.{name}")
    raise AttributeError(f"module 'vgray' has no attribute '{name}'")
