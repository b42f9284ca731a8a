"""The Ray cluster: connecting to one, or starting one on this machine."""

import logging
import os
from dataclasses import dataclass
from typing import Any

# Read by Ray when it is imported, so these come first.
for _name, _value in {
    "RAY_AIR_NEW_OUTPUT": "0",  # its progress table ignores ours
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # and no warning about that
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # 4 ms a report for files that nothing reads
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",  # or Ctrl-C waits for the epochs in flight, 10 minutes long
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the study is the record, not Tune's snapshots
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402

from vgray.errors import UserError  # noqa: E402


@dataclass(frozen=True)
class Cluster:
    """What the cluster has."""

    dashboard_url: str | None
    nodes: int
    cpus: float
    gpus: float

    def describe(self) -> str:
        """Return one line: nodes, CPUs, GPUs."""
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ", no GPU"
        return f"{self.nodes} node{'s'[: self.nodes != 1]}, {self.cpus:g} CPUs{gpus}"


def connect(address: str | None) -> Cluster:
    """Connect to the cluster at ``address``, or start Ray on this machine.

    Raises:
        UserError: there is no cluster at the address.
    """
    for name in ("ray", "ray.tune", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        context = ray.init(
            address=address or "local",
            include_dashboard=True if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except ConnectionError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--address {address}: no cluster answers ({reason}); start one with 'ray up "
            "cluster.yaml' or leave --address out to use this machine"
        ) from None
    resources = ray.cluster_resources()
    url = context.dashboard_url
    return Cluster(
        dashboard_url=f"http://{url}" if url else None,
        nodes=len(_alive()),
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
    )


@dataclass(frozen=True)
class TrialResources:
    """What one trial takes of the cluster."""

    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """Threads to compute with."""
        return max(1, int(self.cpus))


def trial_resources(
    cluster: Cluster, cpus_per_trial: float | None, gpus_per_trial: float | None
) -> TrialResources:
    """Settle what a trial takes: unless told, a whole GPU if there are any, and its share of CPUs.

    Without a GPU a trial takes one CPU: two trials of one thread each are faster than one trial
    of two threads after another.

    Raises:
        UserError: no node has as much as is asked for.
    """
    gpus = gpus_per_trial if gpus_per_trial is not None else (1.0 if cluster.gpus else 0.0)
    if cpus_per_trial is not None:
        cpus = cpus_per_trial
    elif gpus:
        cpus = max(1.0, float(int(cluster.cpus / max(cluster.gpus / gpus, 1.0))))
    else:
        cpus = 1.0
    for option, asked, kind in (
        ("--gpus-per-trial", gpus, "GPU"),
        ("--cpus-per-trial", cpus, "CPU"),
    ):
        has = max((node["Resources"].get(kind, 0.0) for node in _alive()), default=0.0)
        if asked > has:
            raise UserError(
                f"{option} {asked:g}: the largest node of the cluster has {has:g}; "
                f"give at most {has:g}"
            )
    return TrialResources(cpus, gpus)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def disconnect() -> None:
    """Leave the cluster; stops Ray if this process started it."""
    ray.shutdown()
