"""Aggregators against plain loops over images, channels, locations, clusters, regions, queries."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vgray.models.aggregators import (
    RMAC,
    SALAD,
    Average,
    BoQ,
    ClassToken,
    ConvAP,
    CosPlace,
    GeM,
    Maximum,
    MixVPR,
    SequencePool,
)
from vgray.models.aggregators.salad import transport


def features(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum().sqrt()


@pytest.mark.parametrize("p", [1.0, 3.0, 4.5])
def test_pooling(p: float) -> None:
    x = features(3, 4, 5, 2)
    pools = {
        Average(): lambda values: sum(values) / len(values),
        Maximum(): max,
        GeM(p).double(): lambda values: (
            (sum(max(v, 1e-6) ** p for v in values) / len(values)) ** (1 / p)
        ),
    }
    for aggregator, pool in pools.items():
        expected = torch.stack(
            [
                unit(torch.tensor([pool(channel.flatten().tolist()) for channel in image]))
                for image in x
            ]
        ).double()
        torch.testing.assert_close(aggregator(x), expected, atol=1e-6, rtol=0)


def published_regions(height: int, width: int, levels: int) -> list[tuple[int, int, int]]:
    """R-MAC's regions, step by step as published; small maps have some of them twice."""
    short = min(height, width)
    overlaps = [
        (short**2 - short * (max(height, width) - short) / steps) / short**2
        for steps in range(1, 7)
    ]
    distances = [round(abs(overlap - 0.4), 9) for overlap in overlaps]
    more = distances.index(min(distances)) + 1
    found = []
    for level in range(1, levels + 1):
        side = math.floor(2 * short / (level + 1))
        rows = level + more * (height > width)
        columns = level + more * (width > height)
        for row in range(rows):
            top = row * (height - side) / (rows - 1) if rows > 1 else 0
            for column in range(columns):
                left = column * (width - side) / (columns - 1) if columns > 1 else 0
                if side:
                    found.append((math.floor(top + 1e-9), math.floor(left + 1e-9), side))
    return found


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((1, 1), 1),
        ((1, 6), 7),
        ((2, 2), 14),
        ((5, 9), 20),
        ((9, 5), 20),
        ((12, 8), 20),
        ((7, 7), 14),
    ],
)
@pytest.mark.parametrize("levels", [1, 3])
def test_rmac_sums_its_regions(size: tuple[int, int], count: int, levels: int) -> None:
    x = features(2, 6, *size)
    found = published_regions(*size, levels)
    if levels == 3:
        assert len(found) == count
    for image, out in zip(x, RMAC(levels)(x), strict=True):
        total = unit(image.flatten(1).max(dim=1).values)
        for top, left, side in found:
            region = image[:, top : top + side, left : left + side]
            assert region.shape[1:] == (side, side)
            total = total + unit(region.flatten(1).max(dim=1).values)
        torch.testing.assert_close(out, unit(total))


def test_cosplace() -> None:
    head = CosPlace(4, 3).double()
    x = features(2, 4, 3, 2)
    for image, out in zip(x, head(x), strict=True):
        locations = [unit(location).clamp(min=1e-6) for location in image.flatten(1).T]
        pooled = (sum(location**3 for location in locations) / len(locations)) ** (1 / 3)
        torch.testing.assert_close(out, unit(head.fc.weight @ pooled + head.fc.bias))


def test_convap() -> None:
    head = ConvAP(4, 3, s1=2, s2=3).double()
    x = features(2, 4, 5, 7)
    weight, bias = head.channel_pool.weight[:, :, 0, 0], head.channel_pool.bias
    rows, columns = ((0, 3), (2, 5)), ((0, 3), (2, 5), (4, 7))
    for image, out in zip(x, head(x), strict=True):
        projected = torch.einsum("oc,chw->ohw", weight, image) + bias[:, None, None]
        parts = [
            [projected[:, a:b, c:d].mean((1, 2)) for c, d in columns] for a, b in rows
        ]  # row, column, channel
        stacked = torch.stack([torch.stack(row) for row in parts]).permute(2, 0, 1)
        torch.testing.assert_close(out, unit(stacked.flatten()))


def test_mixvpr() -> None:
    head = MixVPR(4, 3, 2, 5, mix_depth=2, mlp_ratio=1.5, out_rows=2).double()
    assert head.mix[0].mix[1].out_features == 9
    x = features(2, 4, 3, 2)
    for image, out in zip(x, head(x), strict=True):
        rows = []
        for row in image.flatten(1):  # a channel's locations
            for mixer in head.mix:
                norm, first, _, second = mixer.mix
                standard = (row - row.mean()) / (row.var(correction=0) + 1e-5).sqrt()
                hidden = first.weight @ (standard * norm.weight + norm.bias) + first.bias
                row = row + second.weight @ hidden.clamp(min=0) + second.bias
            rows.append(row)
        projected = head.channel_proj(torch.stack(rows).T).T
        expected = projected @ head.row_proj.weight.T + head.row_proj.bias
        torch.testing.assert_close(out, unit(expected.flatten()))


@pytest.mark.parametrize("training", [True, False])
def test_boq_equals_torchs_own_layers(training: bool) -> None:
    torch.manual_seed(0)
    head = BoQ(6, 128, 5, 2, 3).double().train(training)
    for parameter in head.parameters():  # biases and norms do not stay what they begin as
        nn.init.normal_(parameter, std=0.2)
    x = features(3, 6, 4, 5)
    y = head.proj_c(x).flatten(2).permute(0, 2, 1)
    y = functional.layer_norm(y, (128,), head.norm_input.weight, head.norm_input.bias)
    answers = []
    for block in head.boqs:
        assert block.encoder.self_attn.num_heads == 2
        y = block.encoder(y)
        queries = block.queries.repeat(3, 1, 1)
        queries = block.norm_q(queries + block.self_attn(queries, queries, queries)[0])
        answers.append(block.norm_out(block.cross_attn(queries, y, y)[0]))
    expected = head.fc(torch.cat(answers, dim=1).permute(0, 2, 1)).flatten(1)
    out = head(x)
    torch.testing.assert_close(out, functional.normalize(expected))
    weights = features(3, 384)
    for parameter, own, other in zip(
        head.parameters(),
        torch.autograd.grad((out * weights).sum(), tuple(head.parameters())),
        torch.autograd.grad(
            (functional.normalize(expected) * weights).sum(), tuple(head.parameters())
        ),
        strict=True,
    ):
        assert own.shape == parameter.shape
        torch.testing.assert_close(own, other)


def plain_transport(scores: list[list[float]], dust: float) -> list[list[float]]:
    """Sinkhorn's iterations on the shares themselves."""
    clusters, locations = len(scores), len(scores[0])
    shares = [[math.exp(s) for s in row] for row in [*scores, [dust] * locations]]
    masses = [1.0] * clusters + [float(locations - clusters)]
    for _ in range(3):
        for row, mass in zip(shares, masses, strict=True):
            total = sum(row)
            row[:] = [share / total * mass for share in row]
        for n in range(locations):
            total = sum(row[n] for row in shares)
            for row in shares:
                row[n] /= total
    return shares[:-1]


def test_salad() -> None:
    torch.manual_seed(0)
    head = SALAD(6, 3, 4, 5).double().eval()
    x, tokens = features(2, 6, 3, 4), features(5, 6)[:2]
    for image, token, out in zip(x, tokens, head((x, tokens)), strict=True):
        local = head.cluster_features(image[None])[0].flatten(1)
        scores = head.score(image[None])[0].flatten(1)
        shares = plain_transport(scores.tolist(), head.dust_bin.item())
        clusters = [unit(sum(local[:, n] * share for n, share in enumerate(row))) for row in shares]
        scene = unit(head.token_features(token))
        expected = torch.cat([scene, torch.stack(clusters, dim=1).flatten()])
        torch.testing.assert_close(out, unit(expected))


def test_transport_of_scores_far_apart() -> None:
    dust = torch.tensor(1.0)
    for scale in (0.0, 1.0, 50.0, 1e4):
        scores = (features(2, 3, 9) * scale).float()
        shares = transport(scores, dust)
        assert shares.isfinite().all()
        assert shares.sum(dim=1).max() < 1 + 1e-3
    shares = transport(features(2, 3, 9), dust.double())
    expected = [plain_transport(s.tolist(), 1.0) for s in features(2, 3, 9)]
    torch.testing.assert_close(shares, torch.tensor(expected, dtype=torch.float64))


def test_salad_drops_only_in_training() -> None:
    torch.manual_seed(0)
    head = SALAD(6, 3, 4, 5, dropout=0.5)
    pair = (features(2, 6, 3, 4).float(), features(2, 6).float())
    assert not torch.equal(head(pair), head(pair))
    assert torch.equal(head.eval()(pair), head(pair))


def test_tokens() -> None:
    x, tokens = features(2, 6, 3, 4), features(5, 6)[:2]
    head = SequencePool(6).double()
    for image, token, pooled, out in zip(
        x, tokens, head(x), ClassToken()((x, tokens)), strict=True
    ):
        locations = image.flatten(1).T
        logits = [location @ head.attention_pool.weight[0] for location in locations]
        weights = [logit.exp() for logit in logits]
        total = sum(w * location for w, location in zip(weights, locations, strict=True))
        torch.testing.assert_close(pooled, unit(total))
        torch.testing.assert_close(out, unit(token))
