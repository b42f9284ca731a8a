"""How far a sweep has come: what is shown of each trial, and the time that is left."""

import time
from dataclasses import dataclass, field
from statistics import mean

from optuna.trial import FrozenTrial

from vgray.console import describe_duration
from vgray.orchestration import study as studies
from vgray.orchestration.records import STATUS, best_epoch, trial_epochs
from vgray.orchestration.report import METRIC
from vgray.settings import describe_settings


@dataclass
class TrialLine:
    """What is shown of one trial."""

    number: int
    setting: str
    epochs: int
    finalist_of: int | None = None
    """The number of the search's trial whose setting it repeats."""
    epoch: int = 0
    best: float | None = None
    low: float | None = None
    high: float | None = None
    images_per_s: float = 0.0
    status: str = "starting"
    has_begun: bool = False
    """Whether a process has worked on it since this sweep was started or resumed."""
    has_said: set[str] = field(default_factory=set)
    """Of ``note`` and ``warning``, what was shown already."""

    @property
    def is_live(self) -> bool:
        """Whether the trial is at work."""
        return self.status in ("starting", "running", "restarting")

    @property
    def has_ended(self) -> bool:
        """Whether the trial is over."""
        return not self.is_live and self.status != "waiting"

    def recall(self) -> str:
        """Return the best recall@1 with its interval, as text."""
        if self.best is None:
            return "–"
        return f"{self.best:5.1f} [{self.low:.1f}, {self.high:.1f}]"


def trial_line(trial: FrozenTrial) -> TrialLine:
    """Return the line of a trial that has epochs on record since before this sweep's start."""
    best = best_epoch(trial) or {}
    status = STATUS[trial.state] if trial.state.is_finished() else "waiting"
    finalist_of = trial.user_attrs.get(studies.FINALIST_OF)
    recipe = trial.user_attrs[studies.RECIPE]
    setting = describe_settings(trial.user_attrs.get(studies.SETTINGS))
    return TrialLine(
        number=trial.number,
        setting=finalist_words(finalist_of, recipe["seed"]) + setting,
        epochs=recipe["epochs"],
        finalist_of=finalist_of,
        epoch=len(trial_epochs(trial)),
        best=best.get(METRIC),
        low=best.get(f"{METRIC}_low"),
        high=best.get(f"{METRIC}_high"),
        status=status,
        has_said={key for metrics in trial_epochs(trial) for key in metrics},
    )


def finalist_words(finalist_of: int | None, seed: int) -> str:
    """Return what stands before a finalist's setting; nothing before another trial's."""
    return "" if finalist_of is None else f"finalist of {finalist_of}, seed {seed}: "


@dataclass
class Progress:
    """The state of a sweep as far as it is shown."""

    num_trials: int
    epochs: int
    expected_epochs: float
    """Epochs that a trial of the search lasts on average, with early stopping."""
    num_finalists: int = 0
    """How many of the trials are finalists that have still to be run, or to be finished."""
    lines: dict[int, TrialLine] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    new_epochs: int = 0
    images_per_s: float = 0.0

    def note_epoch(self) -> None:
        """Count an epoch that a trial has just shown, and take the rate of all at work.

        Between two trials none is at work; the rate of a moment ago says more than a zero.
        """
        self.new_epochs += 1
        self.images_per_s = sum(line.images_per_s for line in self.live())

    def expect_finalists(self, number: int) -> None:
        """Set how many finalists have still to be run, which the end of the search has settled."""
        self.num_trials += number - self.num_finalists
        self.num_finalists = number

    def best(self) -> TrialLine | None:
        """Return the line of the search's best trial that did not fail."""
        good = [
            line
            for line in self.lines.values()
            if line.best is not None and line.status != "failed" and line.finalist_of is None
        ]
        return max(good, key=lambda line: line.best or 0.0, default=None)

    def finalists(self) -> list[tuple[int, list[float]]]:
        """Return settings with their repeats' recalls: the most repeats first, then by mean."""
        recalls: dict[int, list[float]] = {}
        for line in self.lines.values():
            if line.finalist_of is not None and line.best is not None and line.status == "finished":
                recalls.setdefault(line.finalist_of, []).append(line.best)
        return sorted(recalls.items(), key=lambda each: (-len(each[1]), -mean(each[1])))

    def live(self) -> list[TrialLine]:
        """Return the lines of the trials at work."""
        return [line for line in self.lines.values() if line.is_live]

    def summary(self) -> str:
        """Return one line: trials done, images/s, time left."""
        live = self.live()
        ended = sum(line.has_ended for line in self.lines.values())
        parts = [
            f"{ended} of {self.num_trials} trials ended, {len(live)} running",
            f"{self.images_per_s:,.0f} images/s",
            f"{describe_duration(time.monotonic() - self.started)} so far",
        ]
        left = self._seconds_left(ended, live)
        if left:
            parts.append(f"about {describe_duration(left)} left")
        return ", ".join(parts)

    def best_line(self) -> str | None:
        """Return one line about the best trial so far, or about the finalists so far."""
        if finalists := self.finalists():
            words = [
                f"of trial {number} {mean(recalls):.1f} ({len(recalls)})"
                for number, recalls in finalists
            ]
            return f"finalists so far, mean recall@1 (repeats): {', '.join(words)}"
        best = self.best()
        if best is None:
            return None
        return f"best so far: trial {best.number}, recall@1 {best.recall().strip()}, {best.setting}"

    def _seconds_left(self, ended: int, live: list[TrialLine]) -> float | None:
        if not self.new_epochs:
            return None
        seconds_per_epoch = (time.monotonic() - self.started) / self.new_epochs
        waiting = max(self.num_trials - ended - len(live), 0)
        begun = sum(line.finalist_of is not None and line.has_begun for line in self.lines.values())
        finalists = min(max(self.num_finalists - begun, 0), waiting)
        epochs = (waiting - finalists) * self.expected_epochs + finalists * self.epochs
        return seconds_per_epoch * (epochs + sum(map(self._epochs_left, live)))

    def _epochs_left(self, line: TrialLine) -> float:
        # A trial past the average is on its way to the last epoch; a finalist is from the first.
        to_the_end = line.finalist_of is not None or line.epoch >= self.expected_epochs
        return (line.epochs if to_the_end else self.expected_epochs) - line.epoch
