"""What a trial takes of a cluster, on clusters that are only described."""

import pytest

from vgray.errors import UserError
from vgray.orchestration import cluster as clusters
from vgray.orchestration.cluster import Cluster, TrialResources, connect, trial_resources

HEAD_16, WORKER_8_1, WORKER_32_4 = (16.0, 0.0), (8.0, 1.0), (32.0, 4.0)


def _settle(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[tuple[float, float]],
    cpus: float | None = None,
    gpus: float | None = None,
) -> TrialResources:
    described = [{"Alive": True, "Resources": {"CPU": c, "GPU": g}} for c, g in nodes]
    monkeypatch.setattr(clusters, "_alive", lambda: described)
    total = Cluster(None, len(nodes), sum(c for c, _ in nodes), sum(g for _, g in nodes))
    return trial_resources(total, cpus, gpus)


def test_without_a_gpu_a_trial_takes_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = _settle(monkeypatch, [HEAD_16])
    assert (taken.cpus, taken.gpus, taken.threads, taken.device) == (1, 0, 1, "cpu")


@pytest.mark.parametrize(
    ("nodes", "gpus", "cpus"),
    [
        ([WORKER_8_1], None, 8),
        ([WORKER_8_1], 0.5, 4),
        ([WORKER_32_4], None, 8),
        ([WORKER_32_4], 2, 16),
        # The head's cores are of no use to a trial that needs a GPU.
        ([HEAD_16, WORKER_8_1, WORKER_8_1], None, 8),
        # What fits on the smaller node fits on both.
        ([WORKER_8_1, (64.0, 1.0)], None, 8),
    ],
)
def test_with_gpus_a_trial_takes_its_share_of_its_nodes_cores(
    nodes: list[tuple[float, float]],
    gpus: float | None,
    cpus: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _settle(monkeypatch, nodes, gpus=gpus)
    assert (taken.cpus, taken.gpus, taken.device) == (cpus, gpus or 1, None)


def test_no_gpu_asked_for_on_a_machine_with_one_means_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _settle(monkeypatch, [WORKER_8_1], gpus=0).device == "cpu"


@pytest.mark.parametrize(
    ("cpus", "gpus", "message"),
    [
        (None, 2.0, "--gpus-per-trial 2: the largest node of the cluster has 1"),
        (None, 1.5, "--gpus-per-trial 1.5"),
        (12.0, 1.0, "--cpus-per-trial 12: the largest node with 1 GPUs has 8"),
        (17.0, 0.0, "--cpus-per-trial 17: the largest node has 16"),
    ],
)
def test_what_no_node_has_is_refused(
    cpus: float | None, gpus: float, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=message):
        _settle(monkeypatch, [HEAD_16, WORKER_8_1], cpus=cpus, gpus=gpus)


def test_a_part_of_several_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="a whole number, or a part of one GPU"):
        _settle(monkeypatch, [WORKER_32_4], gpus=1.5)


def test_rays_client_protocol_is_refused() -> None:
    with pytest.raises(UserError, match=r"cannot run this job; .*ray job submit"):
        connect("ray://127.0.0.1:10001")
