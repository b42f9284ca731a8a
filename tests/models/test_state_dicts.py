"""State dicts found inside whatever was saved around them, and nothing run on the way."""

import argparse
import gzip
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vgray import UserError
from vgray.models.state_dicts import read_state_dict, strip_prefixes

STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.ones(2)}
WHAT = "--from FILE"


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    "saved",
    [
        STATE,
        {"state_dict": STATE},
        {"model_state_dict": STATE},
        {"model": STATE},
        {"teacher": STATE},
        {"model": {"state_dict": STATE}, "epoch": 3},
        {"state_dict": {}, "model": STATE},
        {"step": torch.tensor(3), "model": STATE},
        {  # Lightning
            "epoch": 3,
            "pytorch-lightning_version": "2.0",
            "state_dict": STATE,
            "loops": {"fit_loop": {"state_dict": {}}},
            "optimizer_states": [{"state": {0: {"momentum": torch.ones(2)}}, "param_groups": []}],
            "hyper_parameters": {"lr": 0.03, "layers": [1, 2], "crop": None},
        },
        {  # deep-visual-geo-localization-benchmark
            "epoch_num": 7,
            "model_state_dict": STATE,
            "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 1e-5}]},
            "recalls": np.array([80.1, 90.2]),
            "best_r5": np.float64(90.2),
            "not_improved_num": 0,
        },
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_every_nest(tmp_path: Path, saved: dict[str, Any], suffix: str) -> None:
    torch.save(saved, tmp_path / f"saved{suffix}")
    assert_equal(read_state_dict(tmp_path / f"saved{suffix}", WHAT), STATE)


def test_numbers_of_older_numpy_are_plain_values(tmp_path: Path) -> None:
    torch.save({"model": STATE, "best": np.float64(1.5)}, tmp_path / "new.pth", pickle_protocol=2)
    content = (tmp_path / "new.pth").read_bytes()
    assert b"cnumpy._core.multiarray\n" in content
    torch.save(
        {"model": STATE, "best": np.float64(1.5)},
        tmp_path / "old.pth",
        pickle_module=_PickleOfOlderNumpy,
    )
    content = (tmp_path / "old.pth").read_bytes()
    assert b"cnumpy.core.multiarray\n" in content
    assert_equal(read_state_dict(tmp_path / "old.pth", WHAT), STATE)


class _PickleOfOlderNumpy:
    """Writes the module's name that numpy had before version 2."""

    class Pickler(pickle._Pickler):
        def save_global(self, obj: Any, name: str | None = None) -> None:
            if obj is np._core.multiarray.scalar:
                self.write(pickle.GLOBAL + b"numpy.core.multiarray\nscalar\n")
                self.memoize(obj)
            else:
                super().save_global(obj, name)


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "saved.safetensors")
    assert_equal(read_state_dict(tmp_path / "saved.safetensors", WHAT), STATE)


class Attack:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("nested", [False, True])
def test_more_than_plain_values_is_refused_and_not_run(tmp_path: Path, nested: bool) -> None:
    mark = tmp_path / "was-run"
    attack = np.array([Attack(mark)], dtype=object) if nested else Attack(mark)
    for i, extra in enumerate((attack, argparse.Namespace(lr=1), Path("here"))):
        torch.save({"state_dict": STATE, "extra": extra}, tmp_path / f"{i}.ckpt")
        with pytest.raises(UserError) as caught:
            read_state_dict(tmp_path / f"{i}.ckpt", WHAT)
        message = str(caught.value)
        assert message.startswith(f"{WHAT}: holds more than tensors and plain values")
        assert "a pickle can run any code" in message
        assert "\n" not in message
    assert not mark.exists()


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ([torch.ones(1)], "found no state dict"),
        ({"epoch": 1}, "found no state dict"),
        ({"state_dict": {"a": 1}}, "found no state dict"),
        ({}, "found no state dict"),
        ({1: torch.ones(1)}, "found no state dict"),
    ],
)
def test_what_holds_no_state_dict(tmp_path: Path, saved: Any, message: str) -> None:
    torch.save(saved, tmp_path / "saved.pt")
    with pytest.raises(UserError, match=f"^{WHAT}: {message}"):
        read_state_dict(tmp_path / "saved.pt", WHAT)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{WHAT}: no such file; give a .safetensors, .pth"):
        read_state_dict(tmp_path / "missing.pth", WHAT)
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UserError, match=f"^{WHAT}: cannot be opened .Is a directory.; give a"):
        read_state_dict(tmp_path / "folder.pth", WHAT)


def _zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"weights")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"\n<!DOCTYPE html><p>Sign in", "found a web page, .*; the download failed"),
        (b"<HTML>", "found a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "found a Git LFS pointer"),
        (gzip.compress(b"weights"), "found a gzip archive, .*; unpack it"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "found a JPEG image"),
        (b"\x89PNG\r\n\x1a\n", "found a PNG image"),
        (
            b"see the readme\n",
            "found a file that begins with see the readme.*, which neither torch.save nor safe",
        ),
        (bytes(100), r"found a file that begins with .x00"),
        (_zip("archive/readme.txt"), "found a zip archive of other files, .*; unpack it"),
        (_zip("net/constants.pkl"), r"found a program \(TorchScript\), expected a state dict"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_weights_is_named(
    tmp_path: Path, content: bytes, message: str, suffix: str
) -> None:
    (tmp_path / f"file{suffix}").write_bytes(content)
    with pytest.raises(UserError, match=f"^{WHAT}: {message}") as caught:
        read_state_dict(tmp_path / f"file{suffix}", WHAT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.ckpt", "w.safetensors", "w.pth.tar", "w.bin", "w"])
def test_the_content_decides_how_a_file_is_read(tmp_path: Path, name: str) -> None:
    for state, begins_as_a_pickle in ((STATE, True), ({**STATE, "more": torch.ones(1)}, False)):
        save_file(state, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x80") is begins_as_a_pickle
        assert_equal(read_state_dict(tmp_path / name, WHAT), state)
    for new in (True, False):
        torch.save({"model": STATE}, tmp_path / name, _use_new_zipfile_serialization=new)
        assert_equal(read_state_dict(tmp_path / name, WHAT), STATE)


def test_every_cut_is_one_line(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE}, tmp_path / "whole.pth")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    refused = 0
    for name in ("whole.pth", "old.pth"):
        content = (tmp_path / name).read_bytes()
        for length in range(0, len(content), 37):
            (tmp_path / "cut.pth").write_bytes(content[:length])
            with pytest.raises(UserError) as caught:
                read_state_dict(tmp_path / "cut.pth", WHAT)
            assert "\n" not in str(caught.value)
            refused += 1
    assert refused > 30


@pytest.mark.parametrize(
    "prefix", ["module.", "backbone.", "_orig_mod.", "encoder.", "module.backbone.model.", "x.y."]
)
def test_prefixes_are_left_out(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    wrapped = {prefix + key: value for key, value in STATE.items()}
    with caplog.at_level("INFO"):
        stripped = strip_prefixes({**wrapped, "head.p": torch.ones(1)}, STATE)
    assert_equal({key: stripped[key] for key in STATE}, STATE)
    if prefix != "_orig_mod.":  # which is left out of the middle of keys too
        assert "head.p" not in stripped
        assert f"begin with {prefix}, left out" in caplog.text


def test_prefixes_inside_and_of_incomplete_states() -> None:
    compiled = {f"module.conv._orig_mod.{k.partition('.')[2]}": v for k, v in STATE.items()}
    assert_equal(strip_prefixes(compiled, STATE), STATE)
    needed = ["conv.weight", "conv.bias", "fc.weight"]
    wrapped = {f"module.{key}": value for key, value in STATE.items()}
    assert_equal(strip_prefixes(wrapped, needed), STATE)


def test_what_fits_keeps_all_its_keys() -> None:
    both = {**STATE, **{f"module.{key}": value for key, value in STATE.items()}}
    assert strip_prefixes(both, STATE) is both
    assert strip_prefixes(STATE, []) is STATE
    strangers = {"other": torch.ones(1)}
    assert_equal(strip_prefixes(strangers, STATE), strangers)
