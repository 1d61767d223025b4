"""The examples of docs/deployment.md for Slurm and Kubernetes, taken from the page and run as local processes."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from xai_core.__main__ import main
from xai_core.core.shards import folder_of
from xai_core.data.predictions import read_predictions
from xai_core.evaluation import store

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
PICTURES = 12
# Reads the words of the commands in its arguments, forks a process for each, and says how they ended.
PROCESSES = """
import json, os, sys
import torch
from xai_core.__main__ import main
from xai_core.analysis import merged_predictions
from xai_core.evaluation import merged_runs, runner
from xai_core.core import runtime
runtime.device()
torch.set_num_threads(1)
for together in json.loads(sys.argv[1]):
    children = []
    for words in together:
        child = os.fork()
        if not child:
            torch.set_num_threads(1)  # makes the pool that the fork has lost, before threads look for it
            os._exit(main(words))
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit(1)
"""
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    assert main(["world", "--out", str(folder / "pets"), "--count", str(PICTURES), "--seed", "3"]) == 0
    return folder


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def words(command: str, shared: Path, **environment: str) -> list[str]:
    """The words of a command behind xai-core, as a shell makes them with this environment; the model is the small one."""
    program, rest = command.strip().split(" ", 1)
    assert program == "xai-core"
    told = subprocess.run(
        ["/bin/sh", "-c", f'for word in {rest}; do echo "$word"; done'], env=environment, capture_output=True, check=True,
        text=True,
    )  # fmt: skip
    made = told.stdout.replace("/shared/", f"{shared}/").splitlines()
    return ["world_planted" if word == "resnet50" else word for word in made]


def run(*steps: list[list[str]]) -> str:
    """Each step's commands at the same time, one process each; the next step once all have ended well."""
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES, json.dumps(steps)], capture_output=True, text=True, timeout=240, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_slurm_array(shared):
    script = next(block for block in blocks("bash") if "#SBATCH" in block)
    submitted = next(block for block in blocks("bash") if "sbatch --parsable" in block)
    assert script.startswith("#!/bin/bash\n") and "sbatch --parsable classify.sh" in submitted
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", script).groups())
    (command,) = [line for line in script.splitlines() if line.startswith("xai-core")]
    (merge,) = [word for word in shlex.split(submitted) if word.startswith("xai-core merge")]
    assert "--dependency=afterok:$job" in submitted and command.endswith(f"/{last}")
    shards = [words(command, shared, SLURM_ARRAY_TASK_ID=str(number)) for number in range(first, last + 1)]
    run(shards, [words(merge, shared)])
    table = read_predictions(shared / "out" / "pets.parquet")
    assert len(table) == table["path"].nunique() == PICTURES
    assert len([*folder_of(shared / "out" / "pets.parquet").iterdir()]) == last


def test_the_kubernetes_indexed_job(shared):
    (text,) = blocks("yaml")
    job, merge = (one["spec"] for one in yaml.safe_load_all(text))
    assert job["completionMode"] == "Indexed" and job["parallelism"] <= job["completions"] and "completionMode" not in merge
    pods = [one["template"]["spec"] for one in (job, merge)]
    assert all(pod["containers"][0]["command"] == ["/bin/sh", "-c"] for pod in pods)
    command, last = (pod["containers"][0]["args"][0] for pod in pods)
    shards = [words(command, shared, JOB_COMPLETION_INDEX=str(index)) for index in range(job["completions"])]
    said = run(shards, [words(last, shared)])
    table = store.open_run(shared / "out" / "run").table()
    assert table.picture.nunique() == PICTURES and not table.duplicated(["picture", "method", "metric"]).any()
    assert "Sparseness (higher is better), world_planted" in said
