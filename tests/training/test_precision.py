"""`auto` becomes what the device has; a choice stays."""

import pytest
import torch

from vgray import Recipe
from vgray.models import devices
from vgray.training import precision, settle_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("has", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_settled_by_the_device(
    monkeypatch: pytest.MonkeyPatch, has: bool, expected: str
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    settled = settle_precision(Recipe(), CPU)
    assert settled.precision == expected
    assert settled.model_copy(update={"precision": "auto"}) == Recipe()


@pytest.mark.parametrize("chosen", ["float32", "bfloat16"])
def test_a_choice_stays(chosen: str) -> None:
    recipe = Recipe().with_settings({"precision": chosen})
    assert settle_precision(recipe, CPU) is recipe


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"avx2"}, False), ({"avx512f", "avx512_bf16"}, True), ({"amx_bf16"}, True), (set(), False)],
)
def test_processors(monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: bool) -> None:
    monkeypatch.setattr(devices, "_CPU_FLAGS", frozenset(flags))
    assert devices.has_bfloat16.__wrapped__(CPU) is expected
    assert devices.has_bfloat16.__wrapped__(torch.device("meta")) is False
