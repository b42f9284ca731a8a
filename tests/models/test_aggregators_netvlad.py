"""NetVLAD and CRN: against a loop over clusters, in chunks, and their initialisation."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from vgray.models.aggregators import CRN, NetVLAD, netvlad

CLASSES = [NetVLAD, CRN]


def features(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def reweighting(crn: nn.Module, x: Tensor) -> Tensor:
    """The mask of one map (D, H, W), each mean and each bilinear weight by itself."""
    dim, height, width = x.shape
    rows, columns = ((max(side - 3, 0) + 1) // 2 + 1 for side in (height, width))
    small = x.new_empty(dim, rows, columns)
    for i in range(rows):
        for j in range(columns):
            small[:, i, j] = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].mean((1, 2))
    context = torch.cat(
        [
            functional.conv2d(small, layer.weight, layer.bias, padding=size // 2)
            for size, layer in ((3, crn.filter_3_3), (5, crn.filter_5_5), (7, crn.filter_7_7))
        ]
    )
    weights = context.clamp(min=0).sum(0)
    mask = x.new_empty(height, width)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            z = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(z)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = weights[top, left] * (1 - z + left) + weights[top, right] * (z - left)
            lower = weights[below, left] * (1 - z + left) + weights[below, right] * (z - left)
            mask[i, j] = upper * (1 - y + top) + lower * (y - top)
    return mask


def loop(head: NetVLAD, x: Tensor) -> Tensor:
    """The definition: for each image and cluster, the weighted sum of residuals."""
    described = []
    for image in x:
        if head.normalize_input:
            image = image / image.norm(dim=0)
        locations = image.flatten(1).T
        assignment = torch.softmax(locations @ head.conv.weight[:, :, 0, 0].T, dim=1)
        if isinstance(head, CRN):
            assignment = assignment * reweighting(head.crn, image).flatten()[:, None]
        rows = []
        for k in range(head.clusters_num):
            row = sum(
                weights[k] * (location - head.centroids[k])
                for weights, location in zip(assignment, locations, strict=True)
            )
            rows.append(row / row.norm())
        flat = torch.cat(rows)
        described.append(flat / flat.norm())
    return torch.stack(described)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 1), (2, 7)])
def test_descriptors_and_gradients_equal_a_plain_loop(
    cls: type[NetVLAD], normalize: bool, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    head = cls(3, 8, normalize_input=normalize).double()
    head.conv.weight.data *= 5
    x = features(2, 8, *size).requires_grad_()
    weights = features(2, 24)
    learned = [x, *(p for p in head.parameters() if p.requires_grad)]
    out, expected = head(x), loop(head, x)
    torch.testing.assert_close(out, expected)
    grads = torch.autograd.grad((out * weights).sum(), learned)
    for own, other in zip(
        grads, torch.autograd.grad((expected * weights).sum(), learned), strict=True
    ):
        torch.testing.assert_close(own, other)
    assert len(grads) == (3 if cls is NetVLAD else 9)


@pytest.mark.parametrize("size", [(4, 6), (20, 20), (2, 2)])
def test_crn_upsamples_even_maps_by_two_as_published(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    crn = CRN(3, 8).double().crn
    x = features(2, 8, *size)
    small = functional.avg_pool2d(x, 3, stride=2, ceil_mode=True)
    filters = (crn.filter_3_3, crn.filter_5_5, crn.filter_7_7)
    weights = functional.relu(
        crn.acc_w(functional.relu(torch.cat([layer(small) for layer in filters], dim=1)))
    )
    doubled = functional.interpolate(weights, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(crn(x), doubled, atol=0, rtol=0)


class Largest(TorchDispatchMode):
    """Sees every tensor that is computed: how many values the largest has."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        tensors = out if isinstance(out, tuple | list) else [out]
        self.values = max([self.values, *(t.numel() for t in tensors if isinstance(t, Tensor))])
        return out


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("images", [1, 2, 3])
def test_chunks_change_nothing_and_bound_what_is_kept(
    cls: type[NetVLAD], images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    head = cls(4, 8).double()
    batch, dim, locations = 7, 8, 10 * 12
    x = features(batch, dim, 10, 12).requires_grad_()
    weights = features(batch, 4 * dim)
    learned = [x, *(p for p in head.parameters() if p.requires_grad)]

    def describe() -> tuple[Tensor, tuple[Tensor, ...], int]:
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes() // 8
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = head(x)
        return out, torch.autograd.grad((out * weights).sum(), learned), sum(kept.values())

    whole, whole_grads, whole_kept = describe()
    # So that the last chunk is smaller where 7 is no multiple.
    monkeypatch.setattr(netvlad, "_CHUNK_VALUES", images * (dim + 4) * locations + 1)
    parts, part_grads, part_kept = describe()
    torch.testing.assert_close(parts, whole)
    for own, other in zip(part_grads, whole_grads, strict=True):
        torch.testing.assert_close(own, other)
    given = sum(t.numel() for t in learned) + sum(
        p.numel() for p in head.parameters() if not p.requires_grad
    )
    assert whole_kept > given + batch * 4 * locations
    assert part_kept <= given

    with torch.no_grad(), Largest() as largest:
        head(x)
    mid = 84 * 5 * 6 if cls is CRN else 0
    # The views of all chunks and the descriptors of the batch aside.
    assert largest.values <= max(images * max(dim * locations, mid), x.numel())


def test_never_a_tensor_of_residuals() -> None:
    head = NetVLAD(16, 32).double()
    x = features(2, 32, 10, 10).requires_grad_()
    with Largest() as largest:
        head(x).sum().backward()
    assert 0 < largest.values <= x.numel()


@pytest.mark.parametrize("kind", ["arrays", "float64 arrays", "tensors"])
@pytest.mark.parametrize("cls", CLASSES)
def test_initialised_in_place(cls: type[NetVLAD], kind: str) -> None:
    head = cls(3, 8)
    before = dict(head.named_parameters())
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    rng = np.random.default_rng(0)
    centroids = rng.normal(size=(3, 8)) * 2
    local = rng.normal(size=(50, 8))
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    directions = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    similarities = np.sort(local @ directions.T, axis=1)
    expected = -np.log(0.01) / (similarities[:, -1] - similarities[:, -2]).mean()
    given = {
        "arrays": (centroids.astype(np.float32), local.astype(np.float32)),
        "float64 arrays": (centroids, local),
        "tensors": (torch.tensor(centroids), torch.tensor(local).float()),
    }[kind]
    assert head.init_params(*given) == pytest.approx(expected, rel=1e-5)
    weight = head.conv.weight.detach().squeeze().numpy()
    np.testing.assert_allclose(weight, expected * directions, rtol=1e-4)
    np.testing.assert_allclose(head.centroids.detach().numpy(), centroids, rtol=1e-6)
    after = dict(head.named_parameters())
    assert all(after[name] is before[name] for name in after)
    assert head.centroids.requires_grad
    assert head.conv.weight.requires_grad
    head(torch.rand(2, 8, 3, 3)).sum().backward()
    optimizer.step()
    assert not np.allclose(head.centroids.detach().numpy(), centroids)


@pytest.mark.parametrize("centroids", [torch.ones(3, 8), torch.zeros(3, 8)])
def test_initialised_from_descriptors_that_are_alike(centroids: Tensor) -> None:
    head = NetVLAD(3, 8)
    alpha = head.init_params(centroids, torch.full((20, 8), 8**-0.5))
    assert alpha == pytest.approx(46051.7, abs=0.1)
    assert head.conv.weight.isfinite().all()
    x = torch.randn(2, 8, 3, 3, requires_grad=True)
    head(x).sum().backward()
    assert x.grad.isfinite().all()


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("centroids", "local", "message"),
    [
        (torch.ones(4, 8), torch.ones(5, 8), r"centroids \(4, 8\), expected \(3, 8\)"),
        (torch.ones(3, 7), torch.ones(5, 7), r"centroids \(3, 7\), expected \(3, 8\)"),
        (torch.ones(3, 8), torch.ones(5, 7), r"descriptors \(5, 7\), expected \(N, 8\)"),
        (torch.ones(3, 8), torch.ones(0, 8), r"descriptors \(0, 8\), expected \(N, 8\)"),
        (torch.ones(3, 8), torch.ones(8), r"descriptors \(8,\), expected \(N, 8\)"),
        (torch.full((3, 8), NAN), torch.ones(5, 8), r"not a finite number"),
        (torch.ones(3, 8), torch.full((5, 8), INF), r"not a finite number"),
    ],
)
def test_initialisation_that_does_not_fit_is_refused(
    centroids: Tensor, local: Tensor, message: str
) -> None:
    head = NetVLAD(3, 8)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        head.init_params(centroids, local)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
