"""Attention modules against plain loops, and what an untrained one does."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vgray.models.attention import ATTENTION
from vgray.models.attention.adaptive import AdaptiveAttention
from vgray.models.attention.cbam import CBAM

CHANNELS = 64
NAMES = sorted(ATTENTION.keys() - {"none"})


def built(name: str, *, random: bool = False) -> nn.Module:
    """A module in float64; ``random`` also draws what starts at zero, statistics included."""
    torch.manual_seed(0)
    module = ATTENTION[name](CHANNELS).double()
    if random:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.data.uniform_(-0.5, 0.5)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_var.uniform_(0.5, 2.0)
    return module


def features(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def test_the_names_of_which_none_is_the_identity() -> None:
    assert NAMES == ["adageo", "cbam", "non_local", "soa"]
    x = features(1, CHANNELS, 2, 2)
    assert ATTENTION["none"](CHANNELS)(x) is x


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_an_untrained_module_changes_nothing_but_the_scale(name: str, training: bool) -> None:
    x = features(2, CHANNELS, 5, 4)
    expected = x / 4 if name == "cbam" else x
    torch.testing.assert_close(built(name).train(training)(x), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    module, x = built(name), features(3, CHANNELS, 5, 4).abs()
    before = {key: p.clone() for key, p in module.named_parameters()}
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.5)
    target = features(3, CHANNELS, 5, 4).roll(1, 0)
    for _ in range(4):
        optimizer.zero_grad()
        (module(x) - target).square().mean().backward()
        optimizer.step()
    idle = {key for key, p in module.named_parameters() if (p - before[key]).abs().max() < 1e-12}
    # BatchNorm subtracts what the two biases add; the class is chosen without a gradient.
    assert idle == {"soa": {"f.0.bias", "g.0.bias"}, "adageo": {"fc.bias"}}.get(name, set())


def loop_linear(weight: Tensor, bias: Tensor | None, x: list[float]) -> list[float]:
    rows = weight.flatten(1).tolist()
    added = [0.0] * len(rows) if bias is None else bias.tolist()
    return [
        sum(w * v for w, v in zip(row, x, strict=True)) + a
        for row, a in zip(rows, added, strict=True)
    ]


def loop_norm(bn: nn.BatchNorm2d, x: list[float]) -> list[float]:
    values = zip(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, strict=True)
    return [
        (v - m.item()) / math.sqrt(s.item() + 1e-5) * w.item() + b.item()
        for v, m, s, w, b in values
    ]


def softmax(x: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in x)
    return [math.exp(v) / total for v in x]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def dot(a: list[float], b: list[float]) -> float:
    return sum(u * v for u, v in zip(a, b, strict=True))


def loop_pairs(
    queries: list[list[float]], keys: list[list[float]], values: list[list[float]]
) -> list[list[float]]:
    """The mean value for each query; one list of channels for each location."""
    means = []
    for query in queries:
        weights = softmax([dot(query, key) / math.sqrt(len(query)) for key in keys])
        means.append([dot(weights, list(channel)) for channel in zip(*values, strict=True)])
    return means


def loop_non_local(m: nn.Module, x: list[list[float]]) -> list[list[float]]:
    parts = ([loop_linear(c.weight, c.bias, v) for v in x] for c in (m.theta, m.phi, m.g))
    means = loop_pairs(*parts)
    return [loop_norm(m.bn, loop_linear(m.out.weight, None, mean)) for mean in means]


def loop_second_order(m: nn.Module, x: list[list[float]]) -> list[list[float]]:
    queries, keys = (
        [[max(0.0, u) for u in loop_norm(s[1], loop_linear(s[0].weight, s[0].bias, v))] for v in x]
        for s in (m.f, m.g)
    )
    means = loop_pairs(queries, keys, [loop_linear(m.h.weight, m.h.bias, v) for v in x])
    return [loop_linear(m.v.weight, m.v.bias, mean) for mean in means]


@pytest.mark.parametrize(
    ("name", "loop"), [("non_local", loop_non_local), ("soa", loop_second_order)]
)
def test_attention_of_all_pairs_equals_a_plain_loop(name: str, loop: object) -> None:
    module, x = built(name, random=True).eval(), features(2, CHANNELS, 2, 3)
    out = module(x)
    assert (out - x).abs().mean() > 0.01
    for b in range(2):
        added = torch.tensor(loop(module, x[b].flatten(1).T.tolist()), dtype=torch.float64)
        torch.testing.assert_close(out[b].flatten(1), x[b].flatten(1) + added.T, rtol=0, atol=1e-9)


def test_cbam_equals_a_plain_loop() -> None:
    module, x = built("cbam", random=True).eval(), features(2, CHANNELS, 3, 5)
    out = module(x)
    first, last = module.channel[0], module.channel[2]
    kernel = module.spatial[0].weight[0].tolist()
    for b in range(2):
        maps = x[b].tolist()
        gates = [0.0] * CHANNELS
        for pooled in (
            [sum(map(sum, m)) / 15 for m in maps],
            [max(map(max, m)) for m in maps],
        ):
            hidden = [max(0.0, v) for v in loop_linear(first.weight, first.bias, pooled)]
            out_layer = loop_linear(last.weight, last.bias, hidden)
            gates = [g + v for g, v in zip(gates, out_layer, strict=True)]
        scaled = [
            [[v * sigmoid(g) for v in row] for row in m] for m, g in zip(maps, gates, strict=True)
        ]
        expected = torch.empty(CHANNELS, 3, 5, dtype=torch.float64)
        for i, j in product(range(3), range(5)):
            total = 0.0
            for di, dj in product(range(-3, 4), range(-3, 4)):
                if 0 <= i + di < 3 and 0 <= j + dj < 5:
                    here = [scaled[c][i + di][j + dj] for c in range(CHANNELS)]
                    total += kernel[0][di + 3][dj + 3] * max(here)
                    total += kernel[1][di + 3][dj + 3] * sum(here) / CHANNELS
            (normed,) = loop_norm(module.spatial[1], [total])
            for c in range(CHANNELS):
                expected[c, i, j] = scaled[c][i][j] * sigmoid(normed)
        torch.testing.assert_close(out[b], expected, rtol=0, atol=1e-9)


def test_adaptive_attention_equals_a_plain_loop() -> None:
    x = features(4, CHANNELS, 3, 5)
    module = AdaptiveAttention(CHANNELS, num_classes=7).double()
    weight, bias = features(7, CHANNELS), features(7)
    module.load_classifier(weight, bias)
    out = module(x)
    classes = set()
    for b in range(4):
        pooled = [sum(m) / 15 for m in x[b].flatten(1).tolist()]
        scores = loop_linear(weight, bias, pooled)
        best = scores.index(max(scores))
        classes.add(best)
        places = x[b].flatten(1).T.tolist()
        attention = softmax([dot(weight[best].tolist(), place) for place in places])
        expected = [[15 * a * v for v in place] for a, place in zip(attention, places, strict=True)]
        torch.testing.assert_close(
            out[b].flatten(1).T, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9
        )
    assert len(classes) > 1


def test_any_map_type_and_batch() -> None:
    seen = 0
    for name, dtype, batch, (height, width), training, last in product(
        NAMES,
        (torch.float32, torch.bfloat16, torch.float64),
        (0, 2),
        ((1, 1), (7, 4), (1, 9)),
        (True, False),
        (True, False),
    ):
        module = built(name, random=True).to(dtype).train(training)
        x = features(batch, CHANNELS, height, width, dtype=dtype)
        if last:
            x = x.contiguous(memory_format=torch.channels_last)
        out = module(x)
        assert out.shape == x.shape
        assert out.dtype == dtype, name
        assert out.isfinite().all()
        assert all(b.isfinite().all() for b in module.buffers()), name
        seen += 1
    assert seen == 4 * 3 * 2 * 3 * 2 * 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_type_of_the_features(name: str, dtype: torch.dtype) -> None:
    module = built(name, random=True).float().eval()
    x = features(2, CHANNELS, 6, 5, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    assert out.dtype == dtype
    exact = module(x.float())
    assert (out.float() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("name", ["non_local", "soa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_of_all_pairs_are_never_in_memory(name: str, dtype: torch.dtype) -> None:
    module, x = built(name).to(dtype), features(2, CHANNELS, 6, 5, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    # It raises where this kernel, whose memory is bounded, cannot be used.
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        module(x).sum().backward()
    assert x.grad is not None


def test_adaptive_attention_chooses_between_close_classes_inside_autocast() -> None:
    x = features(1, CHANNELS, 6, 5, dtype=torch.float32)
    module = AdaptiveAttention(CHANNELS, num_classes=2)
    # The second class leads by 0.001, which bfloat16 does not tell from 1.
    module.load_classifier(features(2, CHANNELS), torch.zeros(2))
    scores = module.fc(x.mean((2, 3)))[0]
    module.load_classifier(module.fc.weight, torch.tensor([1.0, 1.001]) - scores)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    attention = torch.einsum("c,bchw->bhw", module.fc.weight[1], x).flatten().softmax(0)
    torch.testing.assert_close(out, x * 30 * attention.view(6, 5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, -1.0, 1.0, 1000.0])
def test_gradients_are_finite(name: str, value: float) -> None:
    module = built(name, random=True).float()
    x = torch.full((2, CHANNELS, 3, 3), value, requires_grad=True)
    module(x)[:, 0].sum().backward()
    gradients = [x.grad, *(p.grad for p in module.parameters() if p.requires_grad)]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert len(gradients) > 1


@pytest.mark.parametrize("name", NAMES)
def test_export_equals_eager_at_any_size(name: str) -> None:
    module = built(name, random=True).eval()
    dims = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(
        module, (features(3, CHANNELS, 4, 5),), dynamic_shapes=(dims,)
    ).module()
    x = features(2, CHANNELS, 7, 3)
    torch.testing.assert_close(exported(x), module(x))


def test_parameters_and_buffers() -> None:
    counters = ("running_mean", "running_var", "num_batches_tracked")
    norm = ["weight", "bias", *counters]
    soa = [f"{k}.0.{p}" for k in "fg" for p in ("weight", "bias")]
    soa += [f"{k}.1.{p}" for k in "fg" for p in norm] + [f"{k}.{p}" for k in "hv" for p in norm[:2]]
    assert {name: set(built(name).state_dict()) for name in NAMES} == {
        "adageo": {"fc.weight", "fc.bias"},
        "cbam": {f"channel.{i}.{p}" for i in (0, 2) for p in norm[:2]}
        | {"spatial.0.weight"}
        | {f"spatial.1.{p}" for p in norm},
        "non_local": {f"{k}.weight" for k in ("theta", "phi", "g", "out")}
        | {"theta.bias"}
        | {f"bn.{p}" for p in norm},
        "soa": set(soa),
    }


def test_fewer_channels_than_the_reduction_leave_one() -> None:
    x = features(2, 3, 4, 4, dtype=torch.float32)
    outputs = [cls(3).eval()(x) for cls in ATTENTION.values()]
    assert len(outputs) == 5
    assert all(out.shape == x.shape for out in outputs)


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="odd kernel_size, found 4"):
        CBAM(8, kernel_size=4)
    with pytest.raises(
        ValueError, match=r"expected a classifier \(10, 8\), \(10,\), found \(10, 9"
    ):
        AdaptiveAttention(8, num_classes=10).load_classifier(torch.zeros(10, 9), torch.zeros(10))
