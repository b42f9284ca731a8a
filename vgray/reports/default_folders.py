"""Where a report and the descriptors go that no folder is named for."""

from pathlib import Path
from typing import NamedTuple

_OF_A_RUN = ("trials.parquet", "run.json")


class DefaultFolders(NamedTuple):
    """Folders that others go into."""

    reports: Path
    """In which each report is a folder."""
    descriptors: Path
    """In which each model's descriptors of a data set are a folder."""


def default_folders(run: Path) -> DefaultFolders:
    """Return where reports and descriptors go.

    Reports lie beside the run, descriptors beside the folder of the runs; of a checkpoint that
    belongs to no run, both lie beside it.

    Args:
        run: the folder of a sweep or of a training, or a checkpoint in one.
    """
    given = run.expanduser().absolute()
    for file in _OF_A_RUN:
        for folder in (given, *given.parents):
            if (folder / file).is_file():
                return DefaultFolders(folder.parent, folder.parent.parent / "descriptors")
    return DefaultFolders(given.parent, given.parent / "descriptors")
