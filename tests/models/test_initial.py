"""``init_from``: what a new network takes of a trained one."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from vgray.errors import UserError
from vgray.models import Network, ensure_network, load_initial, save_checkpoint
from vgray.recipe import Recipe


def network(**settings: Any) -> Network:
    paths = {key.replace("__", "."): value for key, value in settings.items()}
    small = {"image_size": 32, "backbone.weights": "none", "backbone.crop_last": 2}
    return Network(Recipe().with_settings({**small, **paths}))


def save(folder: Path, trained: Network) -> Path:
    """Write a checkpoint in which no value is what a new network has."""
    with torch.no_grad():
        for tensor in trained.state_dict().values():
            tensor.add_(1)
    return save_checkpoint(folder, trained, {"history": []})


def equal(one: Network, other: Network, part: str) -> set[bool]:
    """Return which answers there are to whether a tensor of the part is the same in both."""
    there = other.state_dict()
    return {
        torch.equal(tensor, there[name])
        for name, tensor in one.state_dict().items()
        if name.startswith(part) and name in there
    }


def test_everything_that_fits_is_taken(tmp_path: Path) -> None:
    settings = {"attention__name": "cbam", "projection__dim": 8}
    trained = network(**settings)
    checkpoint = save(tmp_path / "trained", trained)
    new = network(**settings)
    assert equal(new, trained, "") == {False}
    taken = load_initial(new, checkpoint)
    assert (taken.attention, taken.aggregator, taken.projection) == (True, True, True)
    assert taken.notes == () and taken.describe() is None
    assert equal(new, trained, "") == {True}


def test_weights_alone_do_as_well(tmp_path: Path) -> None:
    trained = network()
    file = save(tmp_path / "trained", trained) / "model.safetensors"
    new = network()
    assert load_initial(new, file).aggregator
    assert equal(new, trained, "") == {True}
    with pytest.raises(UserError, match=r"crop_last 1; missing backbone\.blocks\.3"):
        load_initial(network(backbone__crop_last=1), file)
    with pytest.raises(UserError, match="does not fit resnet34"):
        load_initial(network(backbone__name="resnet34"), file)


def test_another_aggregator_starts_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained = network(aggregator__name="gem", projection__dim=8)
    checkpoint = save(tmp_path / "trained", trained)
    new = network(aggregator__name="netvlad", aggregator__clusters_num=4, projection__dim=8)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    with caplog.at_level(logging.INFO):
        taken = load_initial(new, checkpoint)
    assert (taken.attention, taken.aggregator, taken.projection) == (False, False, False)
    said = taken.describe()
    assert said == (
        f"init_from {checkpoint}: aggregator (netvlad here, gem there) starts anew; "
        "projection (projection.weight is (8, 512) here, (8, 128) there) starts anew"
    )
    assert said in caplog.text
    assert equal(new, trained, "backbone") == {True}
    for name, tensor in new.state_dict().items():
        if not name.startswith("backbone"):
            assert torch.equal(tensor, before[name])


def test_parts_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    trained = network(aggregator__name="netvlad", aggregator__clusters_num=4)
    checkpoint = save(tmp_path / "trained", trained)
    other = network(aggregator__name="netvlad", aggregator__clusters_num=8)
    taken = load_initial(other, checkpoint)
    assert not taken.aggregator
    assert taken.notes == (
        "aggregator (aggregator.centroids is (8, 128) here, (4, 128) there) starts anew",
    )
    crn = network(aggregator__name="crn", aggregator__clusters_num=4)
    taken = load_initial(crn, checkpoint)
    assert taken.aggregator
    assert taken.notes == ("the reweighting of aggregator crn (missing there) starts anew",)
    assert equal(crn, trained, "aggregator") == {True}
    again = network(aggregator__name="crn", aggregator__clusters_num=4)
    taken = load_initial(again, save(tmp_path / "crn", crn))
    assert taken.aggregator and taken.notes == ()
    assert equal(again, crn, "") == {True}
    plain = network(aggregator__name="netvlad", aggregator__clusters_num=4)
    (note,) = load_initial(plain, tmp_path / "crn").notes
    assert note.startswith("aggregator.crn.") and "(netvlad here, crn there) not taken" in note


def test_what_the_recipe_has_no_place_for_is_told(tmp_path: Path) -> None:
    trained = network(attention__name="cbam", aggregator__name="gem", projection__dim=8)
    checkpoint = save(tmp_path / "trained", trained)
    attention, *others = load_initial(network(aggregator__name="avg"), checkpoint).notes
    assert attention.startswith("attention.")
    assert attention.endswith("(none here, cbam there) not taken")
    assert others == [
        "aggregator.p (avg here, gem there) not taken",
        "projection.bias, projection.weight (none here, one there) not taken",
    ]
    taken = load_initial(network(), checkpoint / "model.safetensors")
    assert taken.notes[-1] == "projection.bias, projection.weight (not in the recipe) not taken"


def test_other_crops_share_their_blocks(tmp_path: Path) -> None:
    trained = network(backbone__crop_last=2)
    checkpoint = save(tmp_path / "trained", trained)
    longer = network(backbone__crop_last=1, backbone__train_from=3)
    taken = load_initial(longer, checkpoint)
    assert equal(longer, trained, "") == {True}
    (note,) = taken.notes
    assert note.startswith("backbone.blocks.3")
    assert note.endswith("more (missing there) start from random values")
    shorter = network(backbone__crop_last=3)
    assert load_initial(shorter, checkpoint).notes == ()
    assert equal(shorter, trained, "") == {True}


def test_blocks_that_would_stay_random_are_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "trained", network(backbone__crop_last=2))
    frozen = network(backbone__crop_last=1, backbone__train_from=4)
    with pytest.raises(UserError, match=r"lacks backbone\.blocks\.3\S+, .* stay random") as caught:
        load_initial(frozen, checkpoint)
    assert "\n" not in str(caught.value)


def test_blocks_that_the_checkpoint_lacks_are_the_pretrained_ones(tmp_path: Path) -> None:
    """With a file in the place of what would be downloaded."""
    trained = network(backbone__crop_last=2)
    checkpoint = save(tmp_path / "trained", trained)
    file = tmp_path / "resnet18.pth"
    published = resnet18(weights=None)
    torch.save(published.state_dict(), file)
    settings = {"backbone__crop_last": 1, "backbone__train_from": 4}
    recipe = network(**settings).recipe.with_settings({"backbone.weights": str(file)})
    new = Network(recipe, load_weights=False)
    (note,) = load_initial(new, checkpoint).notes
    assert note.endswith(f"more (missing there) start from backbone.weights={file}")
    assert equal(new, trained, "") == {True}
    state, known = new.state_dict(), trained.state_dict().keys()
    added = [t for name, t in state.items() if name.startswith("backbone.") and name not in known]
    expected = published.layer3.state_dict().values()
    assert [torch.equal(*pair) for pair in zip(added, expected, strict=True)] == [True] * 30
    file.unlink()
    with pytest.raises(UserError, match="no such file"):
        load_initial(Network(recipe, load_weights=False), checkpoint)


def test_positions_of_another_image_size_are_interpolated(tmp_path: Path) -> None:
    settings = {"backbone__name": "cct14_7x2_224", "backbone__crop_last": 12}
    trained = network(**settings, image_size="32x64")
    checkpoint = save(tmp_path / "trained", trained)
    new = network(**settings, image_size=64)
    assert load_initial(new, checkpoint).notes == ()
    key = "backbone.blocks.0.positions"
    there, here = trained.state_dict()[key], new.state_dict()[key]
    assert (there.shape[1], here.shape[1]) == (8, 16)
    torch.testing.assert_close(here.mean(1), there.mean(1), atol=1e-2, rtol=1e-2)
    assert equal(new, trained, "backbone.blocks.1") == {True}
    with pytest.raises(UserError, match=r"positions has shape .* images of 64x64"):
        load_initial(network(**settings, image_size=64), checkpoint / "model.safetensors")


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "trained", network())
    with pytest.raises(UserError, match="backbone resnet18, the recipe says resnet34") as caught:
        load_initial(network(backbone__name="resnet34"), checkpoint)
    assert "\n" not in str(caught.value)


def test_nothing_is_written_when_it_is_refused(tmp_path: Path) -> None:
    trained = network()
    with torch.no_grad():
        trained.get_parameter("aggregator.p").fill_(float("nan"))
    checkpoint = save(tmp_path / "trained", trained)
    new = network()
    with pytest.raises(UserError, match=r"aggregator\.p holds values that are not finite"):
        load_initial(new, checkpoint)
    assert equal(new, trained, "backbone") == {False}


def test_checkpoints_that_cannot_be_read(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "run" / "best", network())
    damaged = Path(shutil.copytree(checkpoint, tmp_path / "damaged"))
    (damaged / "model.safetensors").write_bytes(b"short")
    pickled = tmp_path / "model.pth"
    torch.save({"aggregator.p": torch.ones(1)}, pickled)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((checkpoint / "model.safetensors").read_bytes()[:-8])
    save_file({"fc.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    for path, message in (
        (tmp_path / "missing", "no such folder"),
        (damaged, "is damaged"),
        (damaged / "model.safetensors", "no weights as .safetensors"),
        (pickled, "no weights as .safetensors"),
        (cut, "no weights as .safetensors"),
        (tmp_path / "other.safetensors", "does not fit resnet18"),
        (tmp_path / "run", f"holds checkpoints and is none itself; give one, as {checkpoint}"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load_initial(network(), path)
        assert str(caught.value).startswith("init_from") and "\n" not in str(caught.value)


def test_ensure_network_downloads_nothing_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("nothing is to be downloaded")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    checkpoint = save(tmp_path / "trained", network())
    pretrained = {"image_size": 32, "backbone.weights": "pretrained", "backbone.crop_last": 2}
    recipe = Recipe().with_settings({**pretrained, "init_from": str(checkpoint)})
    taken = ensure_network(recipe)
    assert taken is not None and taken.aggregator
    assert (
        ensure_network(recipe.with_settings({"init_from": None, "backbone.weights": "none"}))
        is None
    )
    with pytest.raises(UserError, match="cannot be downloaded"):
        ensure_network(recipe.with_settings({"backbone.crop_last": 1}))
    with pytest.raises(UserError, match="no such folder"):
        ensure_network(recipe.with_settings({"init_from": str(tmp_path / "missing")}))
