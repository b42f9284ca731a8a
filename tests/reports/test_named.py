"""Names of rows, ensembles by hand and the baseline: names found, and mistakes said."""

from pathlib import Path

import pytest
from made_runs import SMALL, trial, write_checkpoint, write_run

from vgray.errors import UserError
from vgray.recipe import Recipe
from vgray.reports.candidates import Candidate, read_runs
from vgray.reports.named import find_method, read_ensembles, row_names


@pytest.fixture
def run(tmp_path: Path) -> Path:
    repeats = [trial(n, 5.0, lr=0.1, seed=n, phase="finalist") for n in (5, 6)]
    trials = [trial(0, 9.0, lr=0.1), trial(3, 8.0), *repeats]
    return write_run(tmp_path / "A", trials, finalists={0: [5, 6]})


@pytest.fixture
def candidates(run: Path) -> list[Candidate]:
    return list(read_runs([run], 3)[0].candidates)


def _checkpoint(folder: Path) -> Path:
    return write_checkpoint(folder, Recipe().with_settings(SMALL), 9.0)


def _rows(runs: list[Path], *ensembles: str, searches: bool = False) -> dict[str, str]:
    found = [each for run in read_runs(runs, 3) for each in run.candidates]
    return row_names(found, read_ensembles(ensembles, found), pca=16, searches=searches)


def test_members_and_weights_are_read(candidates: list[Candidate]) -> None:
    (found,) = read_ensembles(["night = A#3:2, A#0"], candidates)
    members = [(member.name, weight) for member, weight in found.members]
    assert (found.name, members) == ("night", [("A#3", 2.0), ("A#0 x2", 1.0)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A#3,A#0", "expected a name and its models"),
        ("night=", "expected a name and its models"),
        ("night=A#3", "two or more different models"),
        ("night=A#0,A#0 x2", "two or more different models"),
        ("night=A#3,A#7", r"A#7: no such model in the report.*there are A#0 x2, A#3"),
        ("night=A#3:x,A#0", r"the weight of A#3 is 'x'"),
        ("night=A#3:-1,A#0", r"the weight of A#3 is '-1'"),
    ],
)
def test_a_mistake_in_an_ensemble_is_said(
    candidates: list[Candidate], text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_ensembles([text], candidates)


def test_every_row_has_its_name_and_a_finalist_a_short_one_too(run: Path) -> None:
    names = _rows([run], "both=A#0,A#3", searches=True)
    assert names["A#0"] == names["A#0 x2"] == "A#0 x2"
    assert list(dict.fromkeys(names.values())) == [
        "A#0 x2", "A#3", "both", "both by similarity", "both PCA 16",
        "search", "search by similarity", "search PCA 16",
    ]  # fmt: skip
    assert "search" not in _rows([run])


def test_folders_whose_names_end_like_a_number_of_seeds_keep_them(tmp_path: Path) -> None:
    folders = [_checkpoint(tmp_path / name) for name in ("net xl", "net xs")]
    names = _rows(folders)
    assert names == {"net xl": "net xl", "net xs": "net xs"}
    with pytest.raises(UserError, match="--baseline net: no such model"):
        find_method("net", names, "--baseline")


@pytest.mark.parametrize(
    ("folders", "ensembles", "message"),
    [
        ([], ["a=A#3,A#0", "a=A#3,A#0"], "--ensemble a: the name a is taken by --ensemble a"),
        ([], ["A#0=A#3,A#0"], "--ensemble A#0: the name A#0 is taken by the model A#0 x2"),
        (
            [],
            ["b=A#3,A#0", "b by similarity=A#3,A#0"],
            "the name b by similarity is taken by --ensemble b; choose another",
        ),
        ([], ["b=A#3,A#0", "b PCA 16=A#3,A#0"], "the name b PCA 16 is taken by --ensemble b"),
        ([], ["search=A#3,A#0"], "the name search is taken by --ensemble search; .*--no-search"),
        (["search"], [], "the name search is taken by the model search; .*--no-search"),
        (["A#3"], [], "the model A#3: the name A#3 is taken by the model A#3; rename the folder"),
        # The best of the finalist's two seeds is its member of ensembles.
        (["A#0 seed 5"], [], "the name A#0 seed 5 is taken by the model A#0 x2"),
    ],
)
def test_a_name_is_given_once(
    run: Path, tmp_path: Path, folders: list[str], ensembles: list[str], message: str
) -> None:
    runs = [run, *(_checkpoint(tmp_path / name) for name in folders)]
    with pytest.raises(UserError, match=message) as refused:
        _rows(runs, *ensembles, searches=True)
    assert "\n" not in str(refused.value)


def test_a_row_is_found_by_any_of_its_names() -> None:
    names = {"A#0": "A#0 x2", "A#0 x2": "A#0 x2", "both by similarity": "both by similarity"}
    assert find_method("A#0", names, "--baseline") == "A#0 x2"
    assert find_method("A#0 x2", names, "--baseline") == "A#0 x2"
    assert find_method("both by similarity", names, "--baseline") == "both by similarity"
    with pytest.raises(UserError, match=r"--baseline B: no such model.*there are A#0 x2, both"):
        find_method("B", names, "--baseline")
