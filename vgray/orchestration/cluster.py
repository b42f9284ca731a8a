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


def connect(address: str | None, *, dashboard: bool = True) -> Cluster:
    """Connect to the cluster at ``address``, or start Ray on this machine.

    Args:
        address: of the cluster, if there is one.
        dashboard: whether Ray has one on this machine; its processes take seconds to start.

    Raises:
        UserError: there is no cluster at the address.
    """
    for name in ("ray", "ray.tune", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)
    address = address or os.environ.get("RAY_ADDRESS")
    if address and address.startswith("ray://"):
        raise UserError(
            f"--address {address}: Ray's client protocol cannot run this job; run it on the "
            "cluster with 'ray job submit', or give the head's address, as in 10.0.0.1:6379"
        )
    try:
        context = ray.init(
            address=address or "local",
            include_dashboard=None if address else dashboard,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        if not address:
            raise
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--address {address}: no cluster to be had ({reason}); give the address of a running "
            "one, or leave --address out to use this machine"
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

    def describe(self) -> str:
        """Return what a trial takes, in words."""
        gpus = f" and {self.gpus:g} GPU{'s'[: self.gpus > 1]}" if self.gpus else ""
        return f"{self.cpus:g} CPU{'s'[: self.cpus != 1]}{gpus}"

    @property
    def threads(self) -> int:
        """Threads to compute with."""
        return max(1, int(self.cpus))

    @property
    def device(self) -> str | None:
        """The device to compute on: the CPU, or None for the GPU that Ray gives the trial."""
        return None if self.gpus else "cpu"


def trial_resources(
    cluster: Cluster, cpus_per_trial: float | None, gpus_per_trial: float | None
) -> TrialResources:
    """Settle what a trial takes: unless told, a whole GPU if there are any, and its share of CPUs.

    Without a GPU a trial takes one CPU: two trials of one thread each are faster than one trial
    of two threads after another.

    Raises:
        UserError: no node has as much as is asked for.
    """
    nodes = [
        (node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in _alive()
    ]
    most_gpus = max(has_gpus for _, has_gpus in nodes)
    gpus = gpus_per_trial if gpus_per_trial is not None else min(1.0, most_gpus)
    if gpus > most_gpus:
        raise UserError(
            f"--gpus-per-trial {gpus:g}: the largest node of the cluster has {most_gpus:g}; "
            f"give at most {most_gpus:g}"
        )
    if gpus > 1 and gpus != int(gpus):
        raise UserError(f"--gpus-per-trial {gpus:g}: give a whole number, or a part of one GPU")
    fitting = [(has_cpus, has_gpus) for has_cpus, has_gpus in nodes if has_gpus >= gpus]
    if cpus_per_trial is not None:
        cpus = cpus_per_trial
    elif gpus:
        cpus = max(1.0, float(min(int(c / (g / gpus)) for c, g in fitting)))
    else:
        cpus = 1.0
    most_cpus = max(has_cpus for has_cpus, _ in fitting)
    if cpus > most_cpus:
        with_gpus = f" with {gpus:g} GPUs" if gpus else ""
        raise UserError(
            f"--cpus-per-trial {cpus:g}: the largest node{with_gpus} has {most_cpus:g}; "
            f"give at most {most_cpus:g}"
        )
    return TrialResources(cpus, gpus)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def disconnect() -> None:
    """Leave the cluster; stops Ray if this process started it."""
    ray.shutdown()
