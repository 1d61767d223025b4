"""Runs of shards, joined into the run that one process would have measured.

Each picture is measured alone, so that the rows are those of a single run, but for the seconds that they took. Copies of one
picture under several names may lie in several shards; as in a single run, the first in the run's order counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from xai_core.core import part_store, shards, tables
from xai_core.core.cache_key import text_digest
from xai_core.core.errors import BadRequest
from xai_core.core.part_store import PARTS
from xai_core.core.shards import StoredShard
from xai_core.data.sample_list import Labelled
from xai_core.data.selection import COPY_OF, in_drawn_order
from xai_core.evaluation import store
from xai_core.evaluation.planner import TURN
from xai_core.evaluation.store import CELL, PICTURES, ROWS, THUMBNAILS, WORDS, EvaluationRun, without_control

PART_ROWS = 20_000  # of a joined run: what is in memory beside one part
MERGED_KINDS = ("models", "methods", "metrics")


def stored_shard(path: Path) -> StoredShard:
    """A shard's folder. Raises BadRequest where it is none."""
    run = store.open_run(path)
    manifest, asked = run.manifest, run.manifest["asked"]
    if "shard" not in asked:
        raise BadRequest(f"{path} is no shard: it is a run over all pictures.")
    settings = {name: value for name, value in asked.items() if name != "shard"}
    for kind in MERGED_KINDS:
        settings[kind] = ", ".join(manifest[kind])
        for name, entry in manifest[kind].items():
            settings |= {f"{name} {key}": value for key, value in entry.items() if key not in WORDS}
    settings |= {name: manifest["software"].get(name) for name in ("xai_core", "torch")}
    rows = text_digest(" ".join(sorted(part.name for part in run.parts)))
    return StoredShard(path, shards.parse(asked["shard"]), settings, rows, _unfinished(run))


def _unfinished(run: EvaluationRun) -> str:
    """How far a run is that is not at its end."""
    if run.damaged:
        return f"its part {run.damaged[0]} is damaged"
    if run.manifest.get("state") == "finished":
        return ""
    measured = sum(tables.read_parquet(part, ["metric"], schema=ROWS).num_rows for part in run.parts)
    return f"{measured:,} of {run.manifest.get('rows', 0):,} rows are measured"


def merge(paths: Sequence[Path], out: Path) -> EvaluationRun:
    """Join shards to the run in the folder `out`, which may hold some of their rows already: those stay. Raises BadRequest
    with what is wrong with the shards (see `shards.joined`), or with the folder."""
    found = shards.joined(stored_shard(path) for path in paths)
    runs = [store.open_run(one.path) for one in found]
    rows, copies = _order(runs)
    manifest = _manifest(runs, copies)
    with store.open_for_writing(out, manifest) as writer:
        done = store.open_run(out).cells()
        keys = zip(rows.picture, rows.model, rows.cell, strict=True)
        missing = rows[[cell not in done.get((picture, model), ()) for picture, model, cell in keys]]
        writer.describe(state="running", rows=writer.stored + len(missing))
        parts = [part for run in runs for part in run.parts]
        for table in _in_order(parts, missing):
            writer.write(PARTS, table)
        for table in _small_copies(runs, store.open_run(out)):
            writer.write(THUMBNAILS, table)
        writer.describe(state="finished")
    return store.open_run(out)


def _order(runs: Sequence[EvaluationRun]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Where each row lies, in the order of a single run's work, and for each copy of a picture the name that counts.

    Columns: picture, model, cell (method, metric), part (its place among all parts), row (its place there).
    """
    seed, models = int(runs[0].manifest["asked"]["seed"]), list(runs[0].manifest["models"])
    columns, frames = ["picture", "name", *CELL], []
    for place, part in enumerate(part for run in runs for part in run.parts):
        frame = tables.read_parquet(part, columns, schema=ROWS, dictionary=columns).to_pandas()
        frames.append(frame.astype(str).assign(part=place, row=np.arange(len(frame))))
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*columns, "part", "row"])
    names = in_drawn_order([Labelled(name, "") for name in rows.name.unique()], seed)
    order = {one.name: rank for rank, one in enumerate(names)}
    ranks = rows.name.map(order)
    first = ranks.groupby(rows.picture).transform("min")
    by_rank = [one.name for one in names]
    copies = {name: by_rank[rank] for name, rank in zip(rows.name, first, strict=True) if order[name] != rank}
    rows = rows.assign(rank=first, turn=first.rank(method="dense").sub(1).astype(int) // TURN)[ranks == first]
    pairs = list(zip(rows.method, rows.metric, strict=True))
    cells = {(method, metric): (without_control(method), metric) for method, metric in {*pairs}}
    rows["cell"] = [cells[pair] for pair in pairs]
    rows["number"] = rows.model.map({name: number for number, name in enumerate(models)})
    rows = rows.sort_values(["turn", "number", "rank", "part", "row"], kind="stable").reset_index(drop=True)
    if rows.duplicated(["picture", *CELL]).any():
        raise BadRequest("The shards hold measurements twice: remove the part that was copied into one of them.")
    return rows, copies


def _manifest(runs: Sequence[EvaluationRun], copies: dict[str, str]) -> dict[str, Any]:
    """That of a single run over all pictures."""
    first = runs[0].manifest
    asked = {name: value for name, value in first["asked"].items() if name != "shard"}
    left_out: dict[str, str] = {}
    for run in runs:
        left_out |= run.manifest.get("left_out", {})
    for name, why in left_out.items():
        other = why.removeprefix(COPY_OF)
        if why != other and other in copies:
            left_out[name] = f"{COPY_OF}{copies[other]}"
    left_out |= {name: f"{COPY_OF}{other}" for name, other in copies.items()}
    software = {
        name: "; ".join(dict.fromkeys(run.manifest["software"].get(name, "") for run in runs)) for name in first["software"]
    }
    return first | {
        "created": min(run.manifest["created"] for run in runs),
        "asked": asked,
        "pictures": sum(run.manifest["pictures"] for run in runs) - len(copies),
        "left_out": left_out,
        "software": software,
    }


def _in_order(parts: Sequence[Path], rows: pd.DataFrame) -> Iterator[pa.Table]:
    """These rows of the parts, in this order, in tables of about PART_ROWS. Those of one picture and model are in one table,
    so that a merge that is killed leaves none of them half there."""
    begins = np.flatnonzero((rows[["picture", "model"]] != rows[["picture", "model"]].shift()).any(axis=1))
    places, start = rows[["part", "row"]].to_numpy(np.int64), 0
    while start < len(places):
        stop = next(iter(begins[begins >= start + PART_ROWS]), len(places))
        some, taken, where = places[start:stop], [], []
        for part in np.unique(some[:, 0]):
            mine = np.flatnonzero(some[:, 0] == part)
            taken.append(tables.read_parquet(parts[part], ROWS.names, schema=ROWS).take(some[mine, 1]))
            where.append(mine)
        yield pa.concat_tables(taken).take(np.argsort(np.concatenate(where)))
        start = stop


def _small_copies(runs: Iterable[EvaluationRun], out: EvaluationRun) -> Iterator[pa.Table]:
    """The small copies of the pictures that the run has none of yet, a part at a time."""
    known: set[str] = set()
    for part in part_store.intact_parts(out.folder / THUMBNAILS):
        known |= {*tables.read_parquet(part, ["picture"], schema=PICTURES)["picture"].to_pylist()}
    for run in runs:
        for part in part_store.intact_parts(run.folder / THUMBNAILS):
            rows = tables.read_parquet(part, PICTURES.names, schema=PICTURES)
            new = [place for place, picture in enumerate(rows["picture"].to_pylist()) if picture not in known]
            known |= {*rows["picture"].to_pylist()}
            if new:
                yield rows.take(new)
