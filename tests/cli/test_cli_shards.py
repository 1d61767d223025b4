"""`--shard` and `merge`: joined shards are what one process writes, and what does not fit together is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from xai_core.__main__ import main
from xai_core.analysis.merged_predictions import TOLERANCE
from xai_core.core import shards
from xai_core.data.predictions import settings_of
from xai_core.evaluation import merged_runs, store
from xai_core.pairs.benchmark_runs import open_benchmark

COUNT = 3  # shards
pytestmark = pytest.mark.usefixtures("loaded")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """24 pictures of the planted world in a folder; one of them five times, and two files that are no pictures."""
    folder = tmp_path_factory.mktemp("shards") / "pictures"
    assert main(["world", "--out", str(folder), "--count", "24", "--seed", "3"]) == 0
    first = sorted(folder.glob("*/*.png"))[0]
    for number in range(4):  # copies fall into different shards
        shutil.copy(first, first.with_name(f"copy{number}.png"))
    for number in range(2):
        (first.parent / f"broken{number}.png").write_bytes(b"no picture")
    return folder


def in_shards(command: list[str], count: int = COUNT) -> None:
    for number in range(1, count + 1):
        assert main([*command, "--shard", f"{number}/{count}"]) == 0


@pytest.fixture(scope="module")
def commands(pictures) -> dict[str, list[str]]:
    model, data = ["--model", "world_planted"], str(pictures)
    return {
        "classify": ["classify", data, *model],
        "evaluate": [
            "evaluate", data, "--models", "world_planted,world_planted/random", "--methods", "grad_cam,saliency",
            "--metrics", "sparseness", "--images", "20",
        ],
        "pairs-benchmark": [
            "pairs-benchmark", *model, "--data", data, "--images", "5", "--methods", "grad_cam,input_x_gradient",
            "--metrics", "SI", "--step", "4000",
        ],
        "audit": ["audit", data, *model, "--pictures", "8", "--groups", "1"],
    }  # fmt: skip


@pytest.fixture
def written(commands, tmp_path):
    """Run a command as one process and in shards; returns both outputs."""

    def write(name: str, file: str = "", *more: str) -> tuple[Path, Path]:
        outs = []
        for kind in ("single", "shards"):
            out = tmp_path / kind / file if file else tmp_path / kind
            command = [*commands[name], *more, "--out", str(out)]
            if kind == "single":
                assert main(command) == 0
            else:
                in_shards(command)
                assert not out.exists() and main(["merge", str(out)]) == 0
            outs.append(out)
        return outs[0], outs[1]

    return write


def assert_same_predictions(one: Path, other: Path) -> None:
    """All columns and settings; figures to TOLERANCE, for batches differ. Parts of rows are the same, too."""
    assert settings_of(one) == settings_of(other)
    first, second = (pq.ParquetFile(file) for file in (one, other))
    assert first.schema_arrow.equals(second.schema_arrow) and first.num_row_groups == second.num_row_groups
    tables = [pd.read_parquet(file) for file in (one, other)]
    lists = ["top5_probability", *({"embedding"} & {*tables[0]})]
    for name in lists:
        values = [np.stack(table[name].to_list()) for table in tables]
        assert np.abs(values[0] - values[1]).max() <= TOLERANCE * max(1.0, np.abs(values[0]).max())
    left = [table.drop(columns=lists).assign(top5=table["top5"].map(tuple)) for table in tables]
    pd.testing.assert_frame_equal(*left, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("more", [[], ["--embeddings"]])
def test_classify(written, more):
    assert_same_predictions(*written("classify", "predictions.parquet", *more))


def test_classify_writes_csv_too(written, capsys):
    one, other = written("classify", "predictions.csv")
    said = capsys.readouterr()
    assert said.err.count("left out:") == 2 * 3 and "30 of 30 pictures; 2 could not be read" in said.out
    pd.testing.assert_frame_equal(pd.read_csv(one), pd.read_csv(other), rtol=0, atol=TOLERANCE)


ROWS = [name for name in store.ROWS.names if name != "seconds"]


def test_evaluate(written, monkeypatch):
    """Exactly, in the order of the work, and so over several parts; copies of one picture are measured once."""
    monkeypatch.setattr(merged_runs, "PART_ROWS", 40)
    one, other = written("evaluate")
    runs = [store.open_run(out) for out in (one, other)]
    assert len(runs[1].parts) > 2
    tables = [run.table(ROWS) for run in runs]
    for name in ROWS:
        left, right = (table[name].astype(str).to_list() for table in tables)
        assert left == right, name
    own = ("created", "rows")
    first, second = ({key: value for key, value in run.manifest.items() if key not in own} for run in runs)
    assert first == second and sum(why.startswith("the same file") for why in first["left_out"].values()) > 1
    for picture in tables[0].picture.unique():
        assert runs[0].thumbnail(picture) == runs[1].thumbnail(picture) is not None


def test_pairs_benchmark(written):
    """The three files and the folder of measurements, exactly."""
    one, other = written("pairs-benchmark", "table.csv")
    for suffix in (".csv", ".md", ".tex"):
        assert one.with_suffix(suffix).read_bytes() == other.with_suffix(suffix).read_bytes()
    runs = [open_benchmark(out.with_name("table.csv.parts")) for out in (one, other)]
    assert str(runs[0].rows) == str(runs[1].rows) and len(runs[0].rows) >= 3
    asked = [{name: value for name, value in run.asked.items() if name != "created"} for run in runs]
    assert asked[0] == asked[1]


def test_audit(written, capsys):
    """Every table and the plan; the sentences that name counts, too."""
    one, other = written("audit")
    said = capsys.readouterr().out.split("\nOverview\n")
    assert len(said) == 3 and said[1].split("\n\n")[:6] == said[2].split("\n\n")[:6]
    assert_same_predictions(one / "predictions.parquet", other / "predictions.parquet")
    files = [{path.relative_to(out) for path in out.rglob("*") if path.is_file()} for out in (one, other)]
    assert files[0] == files[1] and len(files[0]) > 5
    for path in files[0]:
        if path.suffix == ".csv":
            pd.testing.assert_frame_equal(pd.read_csv(one / path), pd.read_csv(other / path), rtol=0, atol=1e-4)
    plans = [json.loads((out / "plan.json").read_text()) for out in (one, other)]
    assert [*plans[0]] == [*plans[1]]


def test_a_shard_again_computes_nothing_and_a_merge_again_writes_the_same(commands, tmp_path):
    out = tmp_path / "run"
    command = [*commands["evaluate"], "--out", str(out)]
    in_shards(command)
    parts = sorted(shards.folder_of(out).rglob("parts/*"))
    in_shards(command)
    assert parts and parts == sorted(shards.folder_of(out).rglob("parts/*"))
    for _ in range(2):
        assert main(["merge", str(out)]) == 0
    table, joined = store.open_run(out).table(), store.open_run(out).parts
    assert not table.duplicated(["picture", "model", "method", "metric"]).any()
    assert store.find_runs([tmp_path]) == [out]  # shards are no runs of their own on the pages
    assert main(command) == 0  # a run without shards goes on from the joined one
    assert store.open_run(out).parts == joined
