"""What a person sees of a running sweep: a live table, or plain lines without a terminal."""

import logging
from typing import Any

import optuna
from ray.tune import Callback
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vgray.orchestration.progress import Progress, TrialLine, finalist_words
from vgray.orchestration.report import EPOCH, FAILURE, METRIC, NUMBER, reported_metrics
from vgray.orchestration.run_folder import RunFolder
from vgray.orchestration.study import FINALIST_OF
from vgray.settings import describe_settings

# Rows shown at most: the running trials and the best of the others.
MAX_ROWS = 20

logger = logging.getLogger(__name__)


class Screen(Callback):
    """Shows a sweep while it runs; Ray Tune calls it as trials go on."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._live = (
            Live(get_renderable=self._render, console=console, refresh_per_second=2)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "Screen":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune's snapshots are not read back.

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Show the trial as starting, as going on after an interruption, or as restarting."""
        config = trial.config
        line = self._progress.lines.get(config[NUMBER])
        if line is None:
            finalist_of, recipe = config[FINALIST_OF], config["recipe"]
            setting = describe_settings(config["settings"])
            words = finalist_words(finalist_of, recipe["seed"])
            line = TrialLine(config[NUMBER], words + setting, recipe["epochs"], finalist_of)
            self._progress.lines[line.number] = line
        if line.is_live and line.has_begun:
            line.status = "restarting"
            self._say(f"trial {line.number} starts again from its last checkpoint")
        else:
            line.status = "starting"
            after = f" after epoch {line.epoch}" if line.epoch else ""
            self._say(f"trial {line.number} starts{after}: {line.setting}")
        line.has_begun = True

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show an epoch."""
        line = self._progress.lines[trial.config[NUMBER]]
        if FAILURE in result:
            line.status = "failed"
            self._say(f"trial {line.number} failed: {result[FAILURE]}")
            return
        if result[EPOCH] <= line.epoch:
            return  # known already: the trial was restarted and tells it again
        metrics = reported_metrics(result)
        line.status = "running"
        line.epoch = result[EPOCH]
        line.images_per_s = metrics["images_per_s"]
        self._progress.note_epoch()
        if line.best is None or result[METRIC] > line.best:
            line.best = result[METRIC]
            line.low, line.high = metrics[f"{METRIC}_low"], metrics[f"{METRIC}_high"]
        for key, verb in (("note", "notes"), ("warning", "warns")):
            if key in metrics and key not in line.has_said:
                line.has_said.add(key)
                # Beside a live table too: nobody would look for it in the tables of the run.
                self._console.print(
                    f"trial {line.number} {verb}: {metrics[key]}",
                    highlight=False,
                    soft_wrap=True,
                    markup=False,
                )
        self._say(
            f"trial {line.number} epoch {line.epoch}/{line.epochs}: loss {metrics['loss']:.3f}, "
            f"recall@1 {result[METRIC]:.1f} "
            f"[{metrics[f'{METRIC}_low']:.1f}, {metrics[f'{METRIC}_high']:.1f}], "
            f"{line.images_per_s:,.0f} images/s"
        )

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Show how the trial ended."""
        line = self._progress.lines.get(trial.config[NUMBER])
        if line is None or line.status == "failed":
            return
        line.status = "finished" if line.epoch >= line.epochs else "stopped early"
        self._say(f"trial {line.number} {line.status} after epoch {line.epoch}")
        self._say(self._progress.best_line() or "")
        self._say(self._progress.summary())

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Show that the trial's process was lost for good."""
        line = self._progress.lines.get(trial.config[NUMBER])
        if line:
            line.status = "failed"
            self._say(f"trial {line.number} failed: its process was lost too often")

    def _say(self, text: str) -> None:
        if self._live is None:
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title, justify in (
            ("trial", "right"),
            ("setting", "left"),
            ("epoch", "right"),
            ("recall@1 [95 %]", "right"),
            ("images/s", "right"),
            ("status", "left"),
        ):
            table.add_column(title, justify=justify, no_wrap=title != "setting")  # type: ignore[arg-type]
        best = self._progress.best()
        live = self._progress.live()
        ended = [line for line in self._progress.lines.values() if not line.is_live]
        ended.sort(key=lambda line: -(line.best or 0.0))
        room = max(min(MAX_ROWS, self._console.height - 6) - len(live), 1)
        for line in live + ended[:room]:
            style = "bold green" if line is best else "red" if line.status == "failed" else ""
            table.add_row(
                str(line.number),
                Text(line.setting),
                f"{line.epoch}/{line.epochs}",
                line.recall(),
                f"{line.images_per_s:,.0f}" if line.is_live and line.epoch else "",
                line.status,
                style=style if line is best or not line.is_live else "",
            )
        hidden = len(ended) - room
        parts: list[RenderableType] = [table]
        if hidden > 0:
            parts.append(Text(f"and {hidden} more that ended lower", style="dim"))
        if best_line := self._progress.best_line():
            parts.append(Text(best_line))
        parts.append(Text(self._progress.summary()))
        return Group(*parts)


class RunFolderWriter(Callback):
    """Keeps the run folder's tables and best checkpoint up to date as trials end."""

    def __init__(self, run: RunFolder, study: optuna.Study) -> None:
        self._run = run
        self._study = study

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune's snapshots are not read back.

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Write the tables, and drop what an ended trial does not need any more."""
        self._write()
        self._run.drop_leftovers(self._study.get_trials(deepcopy=False)[trial.config[NUMBER]])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Write the tables."""
        self._write()

    def _write(self) -> None:
        # Tune would take an error here for one of the trial's, and run the ended trial again. The
        # tables follow from the study, so the next that can be written has everything.
        try:
            self._run.write_tables(self._study, running=True)
        except OSError as error:
            logger.warning("%s: cannot be written now (%s)", self._run.path, error.strerror)
