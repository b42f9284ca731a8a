"""Earlier runs, as they are read: nothing in them is written, mended or locked."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial

from vgray.errors import UserError
from vgray.orchestration import study as studies
from vgray.orchestration.run_folder import RunFolder


def find_run(name: str, storage: Path) -> RunFolder:
    """Return a run by its name in ``storage``, or by the path of its folder.

    Raises:
        UserError: there is none.
    """
    folders = [RunFolder(storage / name), RunFolder(Path(name).expanduser().absolute())]
    found = next((run for run in folders if run.exists()), folders["/" in name])
    found.description()  # says what is wrong
    return found


class EarlierStudy(NamedTuple):
    """A run's study as it was when it was read."""

    trials: list[FrozenTrial]
    attributes: dict[str, Any]
    """The study's own."""


def read_trials(journal: Path) -> list[FrozenTrial]:
    """Return all trials of a run's study, as :func:`read_study`."""
    return read_study(journal).trials


def read_study(journal: Path) -> EarlierStudy:
    """Return a run's study, of one that is running as it is so far.

    Raises:
        UserError: the journal is damaged.
    """
    if not journal.exists():  # which Optuna would make
        return EarlierStudy([], {})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.load_study(study_name=studies.STUDY_NAME, storage=storage)
        return EarlierStudy(study.get_trials(), study.user_attrs)
    except KeyError:  # written to for the first time just now
        return EarlierStudy([], {})
    except ValueError as error:
        raise UserError(
            f"{journal}: cannot be read ({error}); the file is damaged, so choose another run"
        ) from None
