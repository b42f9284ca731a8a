"""The benchmarks run, and print what they are for."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *arguments],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_aggregators_are_compared_in_a_table(tiny_city: Path) -> None:
    small = [
        "image_size=[32, 32]", "backbone.weights=none", "backbone.crop_last=2", "batch.places=4",
        "epochs=1", "aggregator.name=netvlad", "aggregator.clusters_num=2",
    ]  # fmt: skip
    settings = [word for setting in small for word in ("--set", setting)]
    printed = run("aggregators.py", "gem", "netvlad", "--data", str(tiny_city), *settings)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    assert [row[0] for row in rows] == ["aggregator", "---", "gem", "netvlad"]
    assert [row[1] for row in rows[2:]] == ["128", "256"]
    assert all(re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", row[4]) for row in rows[2:])


@pytest.mark.slow
def test_netvlad_is_much_faster_than_a_loop_over_its_clusters() -> None:
    printed = run("netvlad.py")
    ratio = re.search(r"([\d.]+) times as fast", printed)
    assert ratio, printed
    # 5 is the aim; a busy machine is no reason to fail.
    assert float(ratio[1]) > 2


@pytest.mark.slow
def test_losses_and_minings_are_compared_in_a_table(tiny_city: Path) -> None:
    small = [
        "image_size=[32, 32]", "backbone.weights=none", "backbone.crop_last=2", "batch.places=4",
        "epochs=1", "mining.queries_per_epoch=4", "mining.negatives=2", "loss.neg_margin=0.8",
        "miner.name=pair_margin", "miner.distance=cosine",
    ]  # fmt: skip
    settings = [word for setting in small for word in ("--set", setting)]
    names = ["contrastive", "multi-similarity 1/50/0", "tuples full"]
    printed = run("losses.py", *names, "--data", str(tiny_city), *settings)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    assert [row[0] for row in rows] == ["trained with", "---", *names]
    assert [row[2] for row in rows[2:4]] == ["–", "–"] and re.fullmatch(r"\d+\.\d", rows[4][2])
    assert all(re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", row[4]) for row in rows[2:])


def losses() -> ModuleType:
    path = ROOT / "benchmarks" / "losses.py"
    spec = importlib.util.spec_from_file_location("losses_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_given_holds_for_the_rows_that_have_it() -> None:
    module = losses()
    rows = module.LOSSES | module.MINING
    given = {
        "loss.margin": 0.5, "loss.alpha": 3.0, "mining.pool_size": 7, "mining.negatives": 2,
        "miner.name": "pair_margin", "miner.pos_margin": 0.3, "epochs": 3,
    }  # fmt: skip
    recipes = {name: module._recipe(row, given).to_dict() for name, row in rows.items()}
    assert not any("," in name for name in recipes)
    assert {recipe["epochs"] for recipe in recipes.values()} == {3}

    def found(family: str, key: str) -> dict[str, object]:
        return {n: each[family][key] for n, each in recipes.items() if key in each[family]}

    tuples = ["tuples random", "tuples partial", "tuples full"]
    assert found("loss", "margin") == {
        "triplet 0.1": 0.1, "triplet 1.0": 1.0, **dict.fromkeys(tuples, 0.5),
    }  # fmt: skip
    assert found("loss", "alpha") == {
        "multi-similarity 1/50/0": 3.0, "multi-similarity 2/50/0.5": 2.0,
    }  # fmt: skip
    assert found("mining", "pool_size") == dict.fromkeys(tuples[1:], 7)
    assert found("mining", "negatives") == dict.fromkeys(tuples, 2)
    assert found("miner", "pos_margin") == dict.fromkeys(module.LOSSES, 0.3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loss.name=triplet", "the rows settle it"),
        ("loss.margin=0.5", "none of the rows has it open"),
        ("loss.no=1", "none of the rows has it open"),
        ("miner.epsilon=0.5", "none of the rows has it open"),
        ("optimizer.no=1", "no such setting"),
    ],
)
def test_what_no_row_has_is_refused(
    setting: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        losses().compare(["triplet 0.1", "contrastive"], data="missing", set_=[setting])
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


@pytest.mark.slow
def test_searches_are_compared_in_a_table() -> None:
    small = ["--database", "3000", "--queries", "50", "--dimension", "16", "--k", "10"]
    printed = run("search.py", *small)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    assert [row[0] for row in rows if row] == ["search", "---", "plain", "in blocks"]
    same = re.search(r"([\d.]+) % of the ranks are the same", printed)
    assert same, printed
    assert float(same[1]) > 99.9
    assert "| plain |" not in run("search.py", *small, "--no-plain")


@pytest.mark.ray
@pytest.mark.slow
def test_extraction_is_compared_with_the_limit(tiny_city: Path, tmp_path: Path) -> None:
    from vgray.models.checkpoint import save_checkpoint
    from vgray.models.network import Network
    from vgray.recipe import Recipe

    recipe = Recipe().with_settings(
        {"image_size": [32, 32], "backbone.weights": "none", "backbone.crop_last": 2}
    )
    model = save_checkpoint(tmp_path / "model", Network(recipe), {})
    printed = run(
        "extraction.py", "--data", str(tiny_city), "--model", str(model),
        "--images", "150", "--repeats", "1",
    )  # fmt: skip
    table = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("|")]
    names = [row[0].strip() for row in table]
    assert names[-2:] == ["limit", "extraction"] and "forward" in names
    speeds = {row[0].strip(): float(row[1]) for row in table[2:]}
    assert all(speed > 0 for speed in speeds.values())
    ratio = re.search(r"reaches ([\d.]+) of the limit", printed)
    assert ratio, printed
    assert float(ratio[1]) == pytest.approx(speeds["extraction"] / speeds["limit"], abs=0.011)
    assert "reading" in printed and "describing" in printed and "writing" in printed
