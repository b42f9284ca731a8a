"""Ray Tune as a sweep uses it: for the search, and once more for the finalists."""

import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vgray.orchestration.plan import Plan
from vgray.orchestration.report import NUMBER
from vgray.orchestration.run_folder import RunFolder

if TYPE_CHECKING:
    from vgray.orchestration.sweep import RunOptions

# A trial whose process dies is started again this often.
MAX_RESTARTS = 3


class Tuning:
    """Ray Tune, run once for the search and once for the finalists, within one time budget."""

    def __init__(
        self, plan: Plan, run: RunFolder, how: "RunOptions", resources: Any, callbacks: list[Any]
    ) -> None:
        self._plan = plan
        self._run = run
        self._how = how
        self._resources = resources
        self._callbacks = callbacks
        self._started = time.monotonic()
        self._was_stopped = False

    def seconds(self) -> float:
        """Return how long ago the sweep was started or resumed."""
        return time.monotonic() - self._started

    def goes_on(self) -> bool:
        """Return whether nobody has stopped the sweep and there is time left."""
        budget = self._how.time_budget_s
        return not self._was_stopped and (budget is None or self.seconds() < budget)

    def fit(self, search: Any, scheduler: Any, num_to_run: int) -> None:
        """Run trials until so many have ended, someone stops it, or the time is up."""
        from ray import tune

        from vgray.orchestration.trial import run_trial

        plan, run, how, resources = self._plan, self._run, self._how, self._resources
        trainable = tune.with_parameters(
            run_trial,
            manifest=plan.manifest,
            fingerprint=plan.data_fingerprint,
            trials_folder=str(run.trials),
            threads=resources.threads,
            device=resources.device,
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=num_to_run,
                max_concurrent_trials=how.max_concurrent,
                time_budget_s=how.time_budget_s and how.time_budget_s - self.seconds(),
                reuse_actors=True,
                trial_dirname_creator=_trial_dirname,
            ),
            run_config=tune.RunConfig(
                name=f"{datetime.now():%Y%m%d-%H%M%S-%f}",
                storage_path=str(run.path / "ray"),
                failure_config=tune.FailureConfig(max_failures=MAX_RESTARTS),
                callbacks=self._callbacks,
                verbose=0,
            ),
        )
        before = signal.getsignal(signal.SIGINT)
        tuner.fit()
        # Tune's handler of Ctrl-C takes itself away when it is called, and only then.
        self._was_stopped = signal.getsignal(signal.SIGINT) is before
        signal.signal(signal.SIGINT, before)


def _trial_dirname(trial: Any) -> str:
    return f"trial-{trial.config[NUMBER]:04d}-{trial.trial_id}"
