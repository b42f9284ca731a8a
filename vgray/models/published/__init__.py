"""Published models: official checkpoints, turned into checkpoint folders of this project."""

from vgray.models.published.importing import Imported, import_weights
from vgray.models.published.models import MODELS

__all__ = ["MODELS", "Imported", "import_weights"]
