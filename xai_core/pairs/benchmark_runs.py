"""Stored runs of the pairs benchmark: which there are, and what is measured in one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xai_core.core import part_store
from xai_core.core.errors import BadRequest
from xai_core.pairs.benchmark import FORMAT, BenchmarkPlan, BenchmarkRow, read_part, setup_as_told, stored_parts
from xai_core.pairs.study import Setup


@dataclass(frozen=True)
class StoredBenchmark:
    """The latest plan of a folder, with the rows of each picture that is measured, by the picture's number."""

    folder: Path
    model: str
    plan: BenchmarkPlan
    asked: Mapping[str, Any]
    rows: Mapping[int, list[BenchmarkRow]]

    @property
    def pictures(self) -> list[list[BenchmarkRow]]:
        """The rows of each picture, in the order of the pictures' numbers."""
        return [self.rows[number] for number in sorted(self.rows)]

    @property
    def names(self) -> list[str]:
        """The names of the pictures that the run is of, measured or not."""
        names: list[str] = self.asked["names"]
        return names

    @property
    def being_written(self) -> bool:
        """Whether a process is writing to the folder now."""
        return part_store.is_being_written(self.folder)

    @property
    def setup(self) -> Setup:
        """Those settings that the study's are compared with."""
        return setup_as_told(self.model, self.asked, self.plan, len(self.rows))

    def table(self) -> pd.DataFrame:
        """Every row, with the number and the name of its picture."""
        return pd.DataFrame(
            {"number": number, "picture": self.names[number] if number < len(self.names) else "", **row}
            for number, rows in sorted(self.rows.items())
            for row in rows
        )


def find_benchmarks(roots: Iterable[Path]) -> list[Path]:
    """The folders of runs of the pairs benchmark under these folders, at most three levels down, sorted."""
    return [folder for folder in part_store.find_folders(roots) if part_store.holds_plans(folder)]


def open_benchmark(folder: Path) -> StoredBenchmark:
    """The latest plan of a folder and its rows. Raises BadRequest where it cannot be read."""
    try:
        manifest = part_store.read_manifest(folder)
        if manifest["format"] != FORMAT:
            raise BadRequest(f"{folder.name} is a benchmark of format {manifest['format']}; this program reads {FORMAT}.")
        digest, asked = manifest["latest"], dict(manifest["asked"])
        settings = manifest["plans"][digest]
        told = settings["plan"]
        plan = BenchmarkPlan(
            tuple(map(str, told["methods"])), tuple(map(str, told["controls"])), tuple(map(str, told["metrics"])),
            int(told["seed"]), int(told["step"]), bool(told["normalised"]), dict(told["options"]),
        )  # fmt: skip
        names = [str(name) for name in asked["names"]]
        asked = {**asked, "title": str(asked["title"]), "data": str(asked["data"]), "names": names}
        asked["options"] = {str(name): dict(options) for name, options in asked["options"].items()}
        parts = {number: read_part(part) for (number, _), part in stored_parts(folder, digest).items()}
        return StoredBenchmark(folder, str(settings["model"]), plan, asked, parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f"The benchmark in {folder.name} cannot be read: its manifest is damaged.") from error
