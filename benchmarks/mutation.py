"""How many small wrong changes of the code the tests notice.

    python -m benchmarks.mutation --workers 14 --budget 520 --out FILE [--count N] [--seed N] [--again] [--only TEXT]

A seeded sample of mutants (`benchmarks/mutants.py`) of the rooms below. First it is recorded, for each test, which lines of
these rooms it runs (`FILE.lines.gz`; kept, and made again for what has changed). Each mutant then meets the tests that run
its line, nearest first, until one fails. Everything happens in copies of the checkout.

FILE has one line of JSON for each mutant, written as soon as it is known: what is there is not done again, so that a run
that ended with its budget goes on where it was. `--again` runs the survivors again, after tests were added; `--only` takes
the mutants whose "file:line" contains a text. Each run ends with the share that was noticed and the list of survivors, with
the reason why each is no fault, where it is known (`benchmarks/results/mutation_*.json`, by the mutants' keys).

A process is forked for each mutant from one that has torch and the other libraries loaded, but nothing of this package.
"""

import argparse
import ast
import contextlib
import functools
import gc
import gzip
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest

from benchmarks.mutants import Mutant, mutants_of, sample

ROOT = Path(__file__).parents[1]
PACKAGE = "xai_core"
MUTATED = [
    "attribution",
    "metrics",
    "pairs",
    "explanation",
    *(f"evaluation/{name}.py" for name in ("summary", "significance", "ranking")),
]
TESTED = ["attribution", "metrics", "pairs", "explanation", "evaluation", "analysis"]  # the folders of tests that may notice
PARTS = {"tests/attribution/test_conformance.py": 16}  # thousands of tests: recorded in that many parts
LINKED = {"weights", "data"}  # large, and not written to by tests
ENVIRONMENT = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")} | {
    "CUDA_VISIBLE_DEVICES": "",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}
# Neither processes of xdist's nor plugins that were loaded before pytest could rewrite their asserts.
PYTEST = [
    "-x",
    "-q",
    "--no-header",
    "--tb=short",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
]
OPTIONS = ["-o", "addopts=--strict-markers --import-mode importlib"]  # the project's own, without the many processes
MOST_SECONDS = 60.0  # of tests that one mutant meets
MEMORY = 8 << 30  # for one mutant: one that makes an array without end is stopped
Record = dict[str, Any]  # as JSON has it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument(
        "--budget", type=float, default=float("inf"), help="seconds after which it stops; 0: only the summary"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "mutation.jsonl")
    parser.add_argument("--only", default="", help="mutants whose file:line contains this")
    parser.add_argument("--again", action="store_true", help="run the survivors of FILE again")
    asked = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):  # read when torch is imported
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.mutation", *sys.argv[1:]], os.environ | ENVIRONMENT)
    deadline = time.monotonic() + asked.budget
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    mutants = [mutant for mutant in sample(all_mutants(), asked.seed, asked.count) if asked.only in where(mutant)]
    known = results_in(asked.out)
    left = [one for one in mutants if one.key not in known or (asked.again and not known[one.key]["noticed"])]
    if asked.budget > 0 and left:
        preload()
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            copies = [copied(Path(folder) / str(index)) for index in range(min(asked.workers, max(len(left), 8)))]
            lines = recorded_lines(asked.out.with_name(f"{asked.out.name}.lines.gz"), copies, deadline)
            if lines is not None:
                run_mutants(left, lines, copies, deadline, asked.out)
    print(summary([results_in(asked.out).get(mutant.key) for mutant in mutants]))


# --- What is changed


def sources() -> list[Path]:
    named = [ROOT / PACKAGE / name for name in MUTATED]
    return sorted(file for path in named for file in ([path] if path.is_file() else path.rglob("*.py")))


def all_mutants() -> list[Mutant]:
    return [one for file in sources() for one in mutants_of(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)))]


def where(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line}"


def room_of(path: str) -> str:
    """ "pairs" of xai_core/pairs/methods/cam.py and of tests/pairs/test_pairs.py."""
    return Path(path).parts[1]


# --- Copies of the checkout, and processes that work in them


def copied(folder: Path) -> Path:
    """A checkout to be changed; the folder of pictures beside it, if there is one, is beside the copy too."""
    copy = folder / "checkout"
    copy.mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name in LINKED:
            (copy / path.name).symlink_to(path)
        elif path.is_dir() and path.name in {PACKAGE, "tests", "benchmarks", "pages", "docs", ".streamlit"}:
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__", "artifacts"))
        elif path.is_file() and path.name != ".git":
            shutil.copy2(path, copy)
    if (shared := ROOT.parent / "shared").exists():
        (folder / "shared").symlink_to(shared)
    return copy


def preload() -> None:
    """Load the libraries that the package and its tests use, and forget what came of the package itself."""
    from xai_core.core import torchvision_compat

    torchvision_compat.ensure_importable()
    tests = [ROOT / "tests" / room for room in TESTED]
    files = [
        *(ROOT / PACKAGE).rglob("*.py"),
        *(ROOT / "tests").glob("*.py"),
        *(file for room in tests for file in room.glob("*.py")),
    ]
    names = {name for file in files if "app" not in file.relative_to(ROOT).parts for name in imported_by(file)}
    own = {PACKAGE, "benchmarks", *(file.stem for file in (ROOT / "tests").glob("*.py"))}
    with warnings.catch_warnings(), contextlib.redirect_stderr(None):
        warnings.simplefilter("ignore")
        for name in sorted(names):
            if name.split(".")[0] not in own | {"streamlit", "playwright"}:
                with contextlib.suppress(Exception):  # a library that is not here: its tests say so
                    importlib.import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] in own and name != torchvision_compat.__name__]:
        del sys.modules[name]  # but the remedy: it declares operators, which can be done once in a process
    gc.collect()
    gc.freeze()  # or each process would write to every object it shares


def imported_by(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


class Job(NamedTuple):
    """Work for one process in one copy; the report is what `work` returned, or {"end": "timeout" or "crash"}."""

    subject: Any
    work: Callable[[Path], Record]
    seconds: float  # after which it is stopped
    before: Callable[[Path], Callable[[], None]] | None = None  # changes the copy; what it returns undoes that


class Running(NamedTuple):
    job: Job
    copy: Path
    since: float
    undo: Callable[[], None]


def in_processes(jobs: Iterable[Job], copies: list[Path], deadline: float) -> Iterator[tuple[Job, Record, float]]:
    """Each job with its report and seconds, as they end. Jobs under way at the deadline are given up."""
    waiting, free, running = iter(jobs), list(copies), dict[int, Running]()
    try:
        while True:
            while free and time.monotonic() < deadline and (job := next(waiting, None)) is not None:
                copy = free.pop()
                (copy.parent / "report.json").unlink(missing_ok=True)
                undo = job.before(copy) if job.before else lambda: None
                running[forked(functools.partial(job.work, copy), copy)] = Running(job, copy, time.monotonic(), undo)
            if not running or time.monotonic() >= deadline:
                return
            for process, one in list(running.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                seconds, late = time.monotonic() - one.since, time.monotonic() - one.since > one.job.seconds
                if ended or late:
                    stop(process, ended != 0)
                    del running[process]
                    one.undo()
                    free.append(one.copy)
                    report = one.copy.parent / "report.json"
                    end = {"end": "timeout" if late and not ended else "crash"}
                    yield (
                        one.job,
                        json.loads(report.read_text()) if ended and status == 0 and report.exists() else end,
                        seconds,
                    )
            time.sleep(0.01)
    finally:
        for process in running:
            stop(process, False)


def forked(work: Callable[[], Record], copy: Path) -> int:
    """The id of a new process that does the work in a copy and writes down what it returns."""
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        os.chdir(copy)
        sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
        out = os.open(copy.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(out, stream)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        (copy.parent / "report.json").write_text(json.dumps(work()))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def stop(process: int, ended: bool) -> None:
    """End what a process of ours has left running, and itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    if not ended:
        os.waitpid(process, 0)


# --- Which lines each test runs


class LineRecorder:
    """A pytest plugin: for each test that passes, its seconds and the lines of the mutated files that it ran.

    What a fixture or a cached helper did for the first of several tests counts for all of them.
    """

    def __init__(self, copy: Path, part: int, parts: int) -> None:
        self.part, self.parts = part, parts
        self.names = {str(copy / file.relative_to(ROOT)): str(file.relative_to(ROOT)) for file in sources()}
        self.copy = copy
        self.lines = set[tuple[str, int]]()
        self.of_fixtures = defaultdict[Any, set[tuple[str, int]]](set)
        self.tests: dict[str, Record] = {}

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        code: CodeType = frame.f_code
        if code.co_filename not in self.names or code.co_name == "<module>":
            return None
        add, file = self.lines.add, code.co_filename

        def each_line(frame: FrameType, event: str, argument: object) -> Any:
            if event == "line":
                add((file, frame.f_lineno))
            return each_line

        add((file, frame.f_lineno))
        return each_line

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = items[self.part :: self.parts]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.forget_cached()
        self.lines = set()
        began, failed = time.perf_counter(), item.session.testsfailed
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        try:
            result = yield
        finally:
            sys.settrace(None)
            threading.settrace(None)
        if item.session.testsfailed == failed:
            for name in getattr(item, "fixturenames", ()):
                self.lines |= self.of_fixtures[name]
            by_file: dict[str, list[int]] = defaultdict(list)
            for file, line in sorted(self.lines):
                by_file[self.names[file]].append(line)
            self.tests[item.nodeid] = {"seconds": time.perf_counter() - began, "lines": by_file}
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        before, self.lines = self.lines, set()
        try:
            return (yield)
        finally:
            self.of_fixtures[fixturedef.argname] |= self.lines
            self.lines |= before

    def forget_cached(self) -> None:
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None) or ""
            if file in self.names or (file.startswith(f"{self.copy}/tests/") and Path(file).name.startswith("test_")):
                for value in list(vars(module).values()):
                    if callable(clear := getattr(value, "cache_clear", None)):
                        clear()


def recorded_lines(file: Path, copies: list[Path], deadline: float) -> dict[str, Record] | None:
    """By the test's name: {"seconds": ..., "lines": {file: [line, ...]}}. Kept, and recorded anew for what has changed.

    None, if the deadline came before everything was recorded.
    """
    kept: dict[str, Record] = json.loads(gzip.decompress(file.read_bytes())) if file.exists() else {}
    helpers = digest([*sources(), *sorted((ROOT / "tests").glob("*.py"))])
    jobs = []
    for test in (test for room in TESTED for test in sorted((ROOT / "tests" / room).glob("test_*.py"))):
        name, digests = str(test.relative_to(ROOT)), helpers + digest([test])
        for part in range(PARTS.get(name, 1)):
            jobs.append(Job((name, part, digests), functools.partial(record_file, name, part), 1200))
    current = {f"{name} {part}": digests for (name, part, digests), *_ in jobs}
    kept = {name: one for name, one in kept.items() if current.get(name) == one["digest"]}
    jobs = [job for job in jobs if f"{job.subject[0]} {job.subject[1]}" not in kept]
    jobs.sort(key=lambda job: job.subject[0] not in PARTS)  # the longest first
    for job, report, seconds in in_processes(jobs, copies, deadline):
        name, part, digests = job.subject
        if not report.get("tests"):
            print(f"{name}: no test passes here, so none of it is used")
        kept[f"{name} {part}"] = {"digest": digests, "tests": report.get("tests", {})}
        print(f"{name}: {len(report.get('tests', {}))} tests recorded in {seconds:.0f} s", flush=True)
        file.write_bytes(gzip.compress(json.dumps(kept).encode(), 5))
    if len(kept) < len(current):
        return None
    return {test: one for record in kept.values() for test, one in record["tests"].items()}


def record_file(name: str, part: int, copy: Path) -> Record:
    recorder = LineRecorder(copy, part, PARTS.get(name, 1))
    pytest.main([*PYTEST[1:], *OPTIONS, f"--basetemp={copy.parent / 'tmp'}", name], plugins=[recorder])
    return {"tests": recorder.tests}


def digest(files: list[Path]) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


# --- Mutants and the tests that meet them


def tests_of(mutant: Mutant, lines: dict[str, Record]) -> list[str]:
    """The tests that run a mutant's line, the files of its own room first; at the top of a file, all that run any of it."""
    first, last = mutant.lines or (0, sys.maxsize)
    meeting = {
        test: one["seconds"]
        for test, one in lines.items()
        if any(first <= line <= last for line in one["lines"].get(mutant.file, ()))
    }
    mean: dict[str, list[float]] = defaultdict(list)
    for test, seconds in meeting.items():
        mean[test.split("::")[0]].append(seconds)

    def near(test: str) -> tuple[object, ...]:
        file = test.split("::")[0]
        return room_of(file) != room_of(mutant.file), min(mean[file]), file, meeting[test]

    return sorted(meeting, key=near)


class Chosen:
    """A pytest plugin: only these tests, in this order; remembers the first that fails."""

    def __init__(self, tests: list[str]) -> None:
        self.places = {test: place for place, test in enumerate(tests)}
        self.failed = ""
        self.ran = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self.places), key=lambda item: self.places[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran += report.when == "call"
        if report.failed and not self.failed:
            self.failed = report.nodeid


def run_tests(tests: list[str], copy: Path) -> Record:
    """The first of these tests that fails, or none. Files are collected only when those before them have passed."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for test in tests:
        by_file[test.split("::")[0]].append(test)
    ran = 0
    for file, chosen in by_file.items():
        plugin = Chosen(chosen)
        code = pytest.main([*PYTEST, *OPTIONS, f"--basetemp={copy.parent / 'tmp'}", file], plugins=[plugin])
        ran += plugin.ran
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return {"end": "failed" if plugin.failed else "import", "by": plugin.failed or file, "ran": ran}
    return {"end": "passed", "ran": ran}


def applied_to(mutant: Mutant, count: int, copy: Path) -> Callable[[], None]:
    """Write the mutant into a copy; its time of change is its own, so that no compiled file is taken for it."""
    file = copy / mutant.file
    source, before = file.read_text(encoding="utf-8"), file.stat()
    file.write_text(mutant.applied(source), encoding="utf-8")
    os.utime(file, (1_000_000_000 + count, 1_000_000_000 + count))

    def undo() -> None:
        file.write_text(source, encoding="utf-8")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    return undo


def run_mutants(mutants: list[Mutant], lines: dict[str, Record], copies: list[Path], deadline: float, out: Path) -> None:
    """Append what became of each to a file."""

    def jobs() -> Iterator[Job]:
        for count, mutant in enumerate(mutants):
            tests, seconds = tests_of(mutant, lines), 0.0
            met = []
            for test in tests:
                seconds += lines[test]["seconds"]
                if met and seconds > MOST_SECONDS:
                    break
                met.append(test)
            limit = 60 + 5 * min(seconds, MOST_SECONDS)
            yield Job(
                (mutant, len(tests)), functools.partial(run_tests, met), limit, functools.partial(applied_to, mutant, count)
            )

    for done, (job, report, seconds) in enumerate(in_processes(jobs(), copies, deadline), 1):
        mutant, of = job.subject
        noticed = report["end"] != "passed"
        line = {"key": mutant.key, "room": room_of(mutant.file), "where": where(mutant), "operator": mutant.operator}
        line |= {"original": mutant.original, "mutated": mutant.mutated, "noticed": noticed, **report, "of": of}
        with out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line | {"seconds": round(seconds, 1)}) + "\n")
        print(f"{done}/{len(mutants)} {'noticed' if noticed else 'SURVIVED'} {line['where']} {seconds:.1f} s", flush=True)


def results_in(file: Path) -> dict[str, Record]:
    """By the mutant's key; of several lines for one mutant the last counts. A line cut off is not there."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            one = json.loads(line)
            found[one["key"]] = one
    return found


def reasons() -> dict[str, Record]:
    """Known survivors by their key: file, place, the change, and why it is no fault."""
    files = sorted((ROOT / "benchmarks" / "results").glob("mutation_*.json"))
    return {key: one for file in files for key, one in json.loads(file.read_text(encoding="utf-8")).items()}


def summary(results: list[Record | None]) -> str:
    """Noticed shares by room, and every survivor with the reason why it is no fault, where it is known."""
    done = [one for one in results if one]
    rooms = sorted({one["room"] for one in done})
    text = [f"{'room':14}{'mutants':>8}{'noticed':>9}{'share':>8}   of these at import, by time, by a crash"]
    for room in [*rooms, "all"]:
        here = [one for one in done if room in (one["room"], "all")]
        noticed = sum(one["noticed"] for one in here)
        ends = [sum(one["end"] == end for one in here) for end in ("import", "timeout", "crash")]
        share = f"{noticed / len(here):.1%}" if here else "-"
        text.append(f"{room:14}{len(here):8}{noticed:9}{share:>8}   {', '.join(map(str, ends))}")
    text.append(f"{len(results) - len(done)} of {len(results)} are not run yet. Survivors:")
    known = reasons()
    for one in sorted((one for one in done if not one["noticed"]), key=lambda one: one["where"]):
        text.append(
            f"{one['where']} [{one['operator']}] {one['original']} -> {one['mutated']} ({one['ran']} of {one['of']} tests)"
        )
        if one["key"] in known:
            text.append(f"    {known[one['key']]['reason']}")
    return "\n".join(text)


if __name__ == "__main__":
    main()
