"""Several scales: sizes, resized images, and combinations against plain loops."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vgray.models.multi_scale import combine, resize_images
from vgray.recipe.fit import scaled_size

WAYS = ("average", "power_mean", "concatenate")


def unit(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return functional.normalize(x, dim=-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("how", WAYS)
def test_combinations_equal_a_plain_loop(how: str, dtype: torch.dtype) -> None:
    scales = [unit(4, 6, dtype=dtype, seed=s) for s in range(3)]
    scales[0][0] = 0
    expected = []
    for image in range(4):
        rows = [d[image].tolist() for d in scales]
        joined = [v for row in rows for v in row]
        if how != "concatenate":
            joined = []
            for values in zip(*rows, strict=True):
                p = 3 if how == "power_mean" else 1
                mean = sum(abs(v) ** p * (1 if v > 0 else -1) for v in values) / 3
                joined.append(abs(mean) ** (1 / p) * (1 if mean > 0 else -1))
        norm = sum(v * v for v in joined) ** 0.5
        expected.append([v / norm for v in joined])
    out = combine(scales, how)
    assert out.dtype == dtype
    torch.testing.assert_close(
        out.double(),
        torch.tensor(expected, dtype=torch.float64),
        rtol=0,
        atol=1e-6 if dtype == torch.float32 else 1e-12,
    )


def test_power_mean_of_what_is_never_negative_is_the_usual_one() -> None:
    scales = [unit(5, 8, seed=s).abs() for s in range(3)]
    usual = (sum(d.pow(4.2) for d in scales) / 3).pow(1 / 4.2)
    torch.testing.assert_close(
        combine(scales, "power_mean", p=4.2), usual / usual.norm(dim=1, keepdim=True)
    )


@pytest.mark.parametrize("how", WAYS)
def test_one_scale_is_returned_as_it_is(how: str) -> None:
    one = unit(3, 5, dtype=torch.float32)
    assert combine([one], how) is one


def test_the_same_descriptor_at_every_scale_stays_the_same() -> None:
    one = unit(3, 5)
    for how in ("average", "power_mean"):
        torch.testing.assert_close(combine([one] * 3, how), one)
    torch.testing.assert_close(combine([one] * 3, "concatenate"), one.repeat(1, 3) / 3**0.5)


def test_zero_vectors_and_opposite_ones_stay_zero() -> None:
    zero, one = torch.zeros(2, 5), unit(2, 5, dtype=torch.float32)
    for how in WAYS:
        assert (combine([zero, zero], how) == 0).all()
        assert combine([zero[:0], zero[:0]], how).shape[0] == 0
        torch.testing.assert_close(combine([zero, one], how).norm(dim=1), torch.ones(2))
    for how in WAYS[:2]:
        assert (combine([one, -one], how) == 0).all()


def test_large_powers_do_not_underflow() -> None:
    scales = [unit(2, 512, dtype=torch.float32, seed=s) for s in range(2)]
    larger = torch.where(scales[0].abs() > scales[1].abs(), scales[0], scales[1])
    out = combine(scales, "power_mean", p=300)
    assert (out * functional.normalize(larger, dim=1)).sum(1).min() > 0.9999


def test_combinations_that_are_none() -> None:
    one = unit(1, 4)
    with pytest.raises(ValueError, match="at least one scale"):
        combine([], "average")
    with pytest.raises(ValueError, match="found median"):
        combine([one, one], "median")
    for p in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="expected a positive p"):
            combine([one, one], "power_mean", p=p)


def test_resizing() -> None:
    x = torch.arange(8.0).view(1, 1, 2, 4).expand(2, 3, 2, 4)
    assert resize_images(x, (2, 4)) is x
    plain = functional.interpolate(x, (4, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize_images(x, (4, 8)), plain)
    half = resize_images(x.bfloat16(), (1, 2))
    assert half.dtype == torch.bfloat16
    assert half.shape == (2, 3, 1, 2)


def test_shrinking_averages_all_pixels() -> None:
    dots = torch.zeros(1, 1, 32, 32)
    dots[..., 4::8, 4::8] = 64
    inside = resize_images(dots, (4, 4))[..., 1:3, 1:3]
    torch.testing.assert_close(inside, torch.ones(1, 1, 2, 2))
    assert resize_images(torch.ones(1, 3, 30, 31), (4, 5)).allclose(torch.ones(1, 3, 4, 5))


def test_export_equals_eager() -> None:
    class TwoScales(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes = [scaled_size((x.shape[2], x.shape[3]), s, 2) for s in (0.5, 1.0, 1.5)]
            pooled = [resize_images(x, size).amax((2, 3)) for size in sizes]
            return combine([functional.normalize(d, dim=1) for d in pooled], "power_mean")

    x = torch.randn(3, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    batch = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(TwoScales(), (x[:2],), dynamic_shapes=batch).module()
    torch.testing.assert_close(exported(x), TwoScales()(x))
