"""Shards of the pairs benchmark, joined into the folder and the table of one run.

Each picture is measured alone, and its views are drawn by its number among all pictures: the rows are those of one run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xai_core.core import part_store, shards
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import BadRequest
from xai_core.core.part_store import PARTS
from xai_core.core.shards import Shard, StoredShard
from xai_core.pairs import benchmark
from xai_core.pairs.benchmark_runs import StoredBenchmark, open_benchmark

TOLD = ("created", "software", "shard")  # of a shard alone, or compared one by one


def stored_shard(path: Path) -> StoredShard:
    """A shard's folder. Raises BadRequest where it is none."""
    run = open_benchmark(path)
    told = run.asked.get("shard")
    if not told:
        raise BadRequest(f"{path} is no shard: it is a benchmark over all pictures.")
    manifest = part_store.read_manifest(path)
    settings = dict(manifest["plans"][manifest["latest"]])
    settings |= {name: value for name, value in settings.pop("plan").items()}
    settings |= {name: value for name, value in run.asked.items() if name not in TOLD}
    settings |= run.asked["software"]
    settings["names"] = f"{len(run.names)} names, {text_digest(str(run.names))[:16]}"
    damaged = part_store.damaged_parts(path / PARTS)
    unfinished = ""
    if damaged:
        unfinished = f"its part {damaged[0].name} is damaged"
    elif not told.get("finished") or len(run.rows) + len(told["left_out"]) != told["pictures"]:
        unfinished = f"{len(run.rows):,} of {told['pictures']:,} pictures are measured"
    rows = text_digest(str(sorted(run.rows.items())))
    return StoredShard(path, Shard(told["number"], told["count"]), settings, rows, unfinished)


def merge(paths: Sequence[Path], folder: Path) -> tuple[StoredBenchmark, list[str]]:
    """Join shards to the folder of one run, which may hold some of their pictures already. Returns the run, and a line for
    each picture that could not be read. Raises BadRequest with what is wrong with the shards: see `shards.joined`."""
    found = [one.path for one in shards.joined(stored_shard(path) for path in paths)]
    manifests: list[dict[str, Any]] = [part_store.read_manifest(path) for path in found]
    digest, asked = manifests[0]["latest"], dict(manifests[0]["asked"])
    failures = [failure for one in manifests for failure in one["asked"]["shard"]["left_out"]]
    order = {name: number for number, name in enumerate(asked["names"])}
    failures.sort(key=lambda line: order.get(line.partition(": ")[0], 0))
    asked = {name: value for name, value in asked.items() if name != "shard"}
    asked["created"] = min(one["asked"]["created"] for one in manifests)
    every = {key: part for path in found for key, part in benchmark.stored_parts(path, digest).items()}
    with part_store.locked(folder, f"Another benchmark is writing to {folder}: wait for it, or give another folder."):
        benchmark.prepare_folder(folder, digest, manifests[0]["plans"][digest], asked)
        there = benchmark.stored_parts(folder, digest)
        for key in sorted(every.keys() - there.keys()):
            part_store.copy_part(folder / PARTS, every[key])
    return open_benchmark(folder), failures
