"""Published models that are not what they are said to be: refused in one line, or told apart."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from official_models import mixvpr_head, prefixed, smallest_model
from torch import Tensor

from vgray import UserError
from vgray.models.published import MODELS, import_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def official() -> State:
    return smallest_model()


def import_it(folder: Path, file: str = "official.pth", **options: Any) -> Any:
    settings = {"model": "convap", "image_size": "32", "out": folder / "model", **options}
    return import_weights(folder / file, **settings)


def without(key: str) -> Callable[[State], State]:
    return lambda s: {k: t for k, t in s.items() if k != key}


def with_(**tensors: Tensor) -> Callable[[State], State]:
    return lambda s: {**s, **{key.replace("__", "."): t for key, t in tensors.items()}}


CONV = "layer1.1.conv2.weight"
POOL = "aggregator__channel_pool__weight"
UNFIT: dict[str, tuple[Callable[[State], Any], dict[str, Any], str]] = {
    "a backbone's tensor is missing": (
        without(f"backbone.model.{CONV}"), {}, f"resnet18: .*missing {re.escape(CONV)}",
    ),
    "a head's tensor is missing": (
        without("aggregator.channel_pool.bias"), {}, r"missing aggregator\.channel_pool\.bias",
    ),
    "left over inside a block": (
        with_(backbone__model__layer1__0__adapter__weight=torch.ones(2)), {},
        r"resnet18: .*unexpected layer1\.0\.adapter\.weight",
    ),
    "left over in the backbone": (
        with_(backbone__model__adapter__weight=torch.ones(2)), {},
        r"backbone\.model\.adapter\.weight, which resnet18 does not have",
    ),
    "left over in the head": (
        with_(aggregator__extra__weight=torch.ones(2)), {}, r"left over aggregator\.extra\.weight",
    ),
    "a shape in the backbone": (
        with_(backbone__model__conv1__weight=torch.ones(64, 3, 3, 3)), {},
        r"conv1\.weight has shape \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)",
    ),
    "a shape in the head": (
        with_(**{POOL: torch.ones(3, 65, 1, 1)}), {},
        r"channel_pool\.weight has shape \(3, 65, 1, 1\), expected \(3, 64, 1, 1\)",
    ),
    "a scalar in the head": (
        with_(**{POOL: torch.tensor(1.0)}), {}, r"the shapes of aggregator\.\*",
    ),
    "no number": (
        with_(**{POOL: torch.full((3, 64, 1, 1), torch.nan)}), {},
        r": aggregator\.channel_pool\.weight holds values that are not finite numbers",
    ),
    "a sparse tensor in the head": (
        with_(**{POOL: torch.ones(3, 64).to_sparse()}), {},
        r": aggregator\.channel_pool\.weight is torch\.sparse_coo, expected a dense tensor",
    ),
    "a complex tensor in the head": (
        with_(**{POOL: torch.ones(3, 64, 1, 1) * 1j}), {},
        r": aggregator\.channel_pool\.weight is torch\.complex64, expected a dense tensor",
    ),
    "a sparse tensor in the backbone": (
        with_(backbone__model__bn1__weight=torch.ones(64).to_sparse()), {},
        r": backbone\.model\.bn1\.weight is torch\.sparse_coo",
    ),
    "an unknown ResNet": (
        without("backbone.model.layer1.1.conv1.weight"), {}, r"missing layer1\.1\.conv1\.weight",
    ),
    "no layers": (
        lambda s: {k: t for k, t in s.items() if ".layer1." not in k}, {}, "no known backbone",
    ),
    "another backbone": (lambda s: s, {"backbone": "vgg16"}, "found the backbone resnet18"),
    "two models": (
        lambda s: {**prefixed(s, "student."), **prefixed(s, "teacher_net.")}, {},
        "one published model",
    ),
    "a backbone only": (
        lambda s: {k: t for k, t in s.items() if k.startswith("backbone")}, {},
        "one published model",
    ),
    "a plain network": (
        lambda s: {k.removeprefix("backbone.model."): t for k, t in s.items()}, {},
        "one published model",
    ),
    "nothing": (lambda s: {}, {}, "no state dict"),
    "a list": (lambda s: list(s.values()), {}, "no state dict"),
    "an impossible size": (lambda s: s, {"image_size": "large"}, "image_size"),
    "an unknown model": (lambda s: s, {"model": "MixVPRR"}, "did you mean 'mixvpr'"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "options", "message"), UNFIT.values(), ids=list(UNFIT))
def test_what_does_not_fit_is_refused(
    tmp_path: Path, official: State, change: Callable[[State], Any], options: Any, message: str
) -> None:
    torch.save(change(official), tmp_path / "official.pth")
    with pytest.raises(UserError, match=message) as caught:
        import_it(tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert "tmp" not in str(caught.value).replace(str(tmp_path), "")  # no file but the user's
    assert not (tmp_path / "model").exists()


HEADS: dict[str, tuple[str, dict[str, Tensor]]] = {
    "mixvpr": ("aggregator", {
        "mix.0.mix.0.weight": torch.ones(16), "channel_proj.weight": torch.ones(2, 64),
        "row_proj.weight": torch.ones(2, 16)}),
    "convap": ("aggregator", {"channel_pool.weight": torch.ones(2, 64, 1, 1)}),
    "cosplace": ("aggregation", {"1.p": torch.ones(1), "3.weight": torch.ones(2, 64)}),
    "salad": ("aggregator", {"dust_bin": torch.ones(()), "score.3.weight": torch.ones(2, 2)}),
    "boq": ("aggregator", {"boqs.0.queries": torch.ones(1, 2, 64), "proj_c.weight": torch.ones(2)}),
    "netvlad": ("aggregation", {"centroids": torch.ones(2, 64), "conv.weight": torch.ones(2, 64)}),
    "crn": ("aggregation", {
        "centroids": torch.ones(2, 64), "conv.weight": torch.ones(2, 64),
        "crn.acc_w.weight": torch.ones(1, 84, 1, 1)}),
    "gem": ("aggregation", {"1.p": torch.ones(1)}),
}  # fmt: skip


@pytest.mark.parametrize("model", list(MODELS))
def test_another_model_is_recognised(tmp_path: Path, official: State, model: str) -> None:
    body = {k: t for k, t in official.items() if k.startswith("backbone")}
    seen = set()
    for other, (name, head) in HEADS.items():
        if other == model or (model, other) == ("eigenplaces", "cosplace"):
            continue
        state = {**body, **prefixed(head, f"{name}.")}
        torch.save(state, tmp_path / "official.pth")
        with pytest.raises(UserError, match=f"looks like {other}.*: give --as {other}$"):
            import_it(tmp_path, model=model)
        seen.add(other)
    assert len(seen) == len(HEADS) - 1


@pytest.mark.parametrize("name", ["ConvAP", "CONVAP", "convap"])
def test_a_model_s_name_may_be_in_upper_case(tmp_path: Path, official: State, name: str) -> None:
    torch.save(official, tmp_path / "official.pth")
    done = import_it(tmp_path, model=name)
    assert done.model == "convap"
    said = json.loads((done.folder / "metrics.json").read_text())["imported"]
    assert said["model"] == "convap"


CCT = {
    "backbone.tokenizer.conv_layers.0.0.weight": torch.ones(64, 3, 7, 7),
    "backbone.classifier.positional_emb": torch.ones(1, 4, 384),
    "backbone.classifier.blocks.0.norm1.weight": torch.ones(384),
}
NETVLAD_OF_TOKENS = {
    "aggregation.centroids": torch.ones(2, 384), "aggregation.conv.weight": torch.ones(2, 384, 1)
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("netvlad", {}, "cct14_7x2_384: .*missing "),
        ("netvlad", {"backbone.classifier.extra": torch.ones(2)}, "unexpected classifier.extra"),
        ("netvlad", {"backbone.extra": torch.ones(2)}, "backbone.extra, which cct14_7x2_384 does"),
        ("netvlad", {"backbone.classifier.blocks.14.norm1.weight": torch.ones(384)}, "missing"),
        ("netvlad", {"backbone.classifier.positional_emb": torch.ones(1, 4, 256)}, "no known"),
        ("netvlad", {"backbone.classifier.positional_emb": torch.ones(())}, "no known backbone"),
        ("netvlad", {"backbone.cls_token": torch.ones(())}, "no known backbone"),
        ("gem", {"aggregation.1.p": torch.ones(1)}, "normalises each channel over all locations"),
    ],
)
def test_what_does_not_fit_of_cct(tmp_path: Path, model: str, change: State, message: str) -> None:
    head = NETVLAD_OF_TOKENS if model == "netvlad" else {}
    torch.save({**CCT, **head, **change}, tmp_path / "official.pth")
    with pytest.raises(UserError, match=message) as caught:
        import_it(tmp_path, model=model, image_size=None)
    assert "\n" not in str(caught.value)


def test_a_file_may_leave_the_backbone_open(tmp_path: Path) -> None:
    network = torchvision.models.resnet50()
    kept = ("conv1.", "bn1.", "layer1.", "layer2.")
    state = {f"backbone.net.{key}": tensor for key, tensor in network.state_dict().items()
             if key.startswith(kept)}  # fmt: skip
    state["aggregator.channel_pool.weight"] = torch.randn(3, 512, 1, 1)
    state["aggregator.channel_pool.bias"] = torch.randn(3)
    torch.save(state, tmp_path / "official.pth")
    with pytest.raises(UserError, match=r"may be resnet50 or resnet101, .* say which"):
        import_it(tmp_path)
    done = import_it(tmp_path, backbone="resnet101")
    assert (done.recipe.backbone.name, done.recipe.backbone.crop_last) == ("resnet101", 2)


def test_the_image_size_of_mixvpr_is_in_its_weights(tmp_path: Path, official: State) -> None:
    body = {k: t for k, t in official.items() if k.startswith("backbone")}
    torch.save(
        {**body, **prefixed(mixvpr_head(64, 144, 7), "aggregator.")}, tmp_path / "square.pth"
    )
    options = {"model": "mixvpr", "image_size": None}
    done = import_it(tmp_path, "square.pth", **options, out=tmp_path / "a")
    assert done.recipe.image_size == (48, 48)
    same = import_it(tmp_path, "square.pth", **{**options, "image_size": "46x48"})
    assert same.recipe.image_size == (46, 48)  # which gives the same map
    # As many locations in another shape are no better than another number of them.
    for size, map_ in (("32x32", "8x8"), ("32x72", "8x18")):
        with pytest.raises(
            UserError, match=f"{size} give a map of {map_}, .* one of 12x12; leave out --image-size"
        ):
            import_it(tmp_path, "square.pth", model="mixvpr", image_size=size, out=tmp_path / "b")
    torch.save({**body, **prefixed(mixvpr_head(64, 96, 7), "aggregator.")}, tmp_path / "long.pth")
    with pytest.raises(UserError, match=r"96 locations, which are no square.*give --image-size"):
        import_it(tmp_path, "long.pth", **options, out=tmp_path / "b")
    with pytest.raises(UserError, match=r"8x8, .* one of 96 locations; give the --image-size"):
        import_it(tmp_path, "long.pth", model="mixvpr", out=tmp_path / "b")
    done = import_it(tmp_path, "long.pth", model="mixvpr", image_size="32x48", out=tmp_path / "b")
    assert done.dimension == 48


@pytest.mark.parametrize("locations", [49, 103, 400])
def test_every_hidden_width_of_mixvpr_is_a_ratio(locations: int) -> None:
    [layout] = MODELS["mixvpr"]
    head = mixvpr_head(64, locations, 7)
    for hidden in range(1, 2 * locations):
        head["mix.0.mix.1.weight"] = torch.empty(hidden, 1)
        ratio = layout.read(head, 64).settings["mlp_ratio"]
        assert int(locations * ratio) == hidden
