"""Earlier runs, as they are read: nothing in them is written, mended or locked."""

import warnings
from pathlib import Path

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


def read_trials(journal: Path) -> list[FrozenTrial]:
    """Return all trials of a run's study, of one that is running those so far.

    Raises:
        UserError: the journal is damaged.
    """
    if not journal.exists():  # which Optuna would make
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.load_study(study_name=studies.STUDY_NAME, storage=storage).get_trials()
    except KeyError:  # written to for the first time just now
        return []
    except ValueError as error:
        raise UserError(
            f"{journal}: cannot be read ({error}); the file is damaged, so choose another run"
        ) from None
