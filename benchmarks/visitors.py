"""Many visitors at once on a small machine: twenty sessions over the real server, on Streamlit Cloud's terms.

    python -m benchmarks.visitors [--sessions N] [--minutes M] [--seed S] [--out FILE]

The server has two cores and at most 2,700 MB of memory, in a control group of its own: the kernel ends it where it takes
more, as it would there. (This needs Linux and the right to make control groups. RLIMIT_DATA would count addresses that are
reserved and never used, more than twice what the server takes.) A session is a connection that speaks Streamlit's protocol,
as a browser's does, and loads the pictures that it is shown; twenty browsers would take the two cores for themselves. Each
session does what `PATHS` says, over and over, with the pauses of a person who looks: it opens a page, chooses another
method, picture, view or model, or leaves and comes back.

`waits`: seconds from a click to the end of the page's run with all its pictures, by what was clicked; `asks` is how many of
these runs ended with a button that starts the work, because it would take long. `errors`: faults in the server's log,
exceptions and error boxes on pages, lost connections. `memory`: resident, every second; `growth` is the slope of a straight
line through it after the first two minutes. `turns`: a visitor begins work of a few seconds, and another one short work just
after; once the first stays, once he closes his tab at once.
"""

import argparse
import asyncio
import contextlib
import json
import re
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

from benchmarks.page import PORT, served
from benchmarks.paired import machine, spread

LIMIT = 2700  # MB: where Streamlit Cloud ends an app
SETTLED = 120.0  # seconds after which memory is to be flat
PATIENCE = 120.0  # seconds after which a run counts as an error
METHODS = ("Grad-CAM", "HiResCAM", "LayerCAM", "XGrad-CAM", "Saliency", "Grad-CAM++", "Integrated gradients")
PICTURES = ("Astronaut", "Chelsea the cat", "Coffee", "Rocket")
LONG, SHORT = "Integrated gradients", "Grad-CAM"
PAUSE = 5.0, 20.0  # seconds for which a person looks, at least and at most
# What sessions do on each page: the label of a control, and what is chosen there (None: any of its options).
PATHS: dict[str, tuple[tuple[str, tuple[str, ...] | None], ...]] = {
    "Single_image": (("Method", METHODS), ("Picture", PICTURES), ("Method", METHODS), ("Method", METHODS)),
    "Method_comparison": (("Picture", PICTURES),),
    "Misclassifications": (("View", ("Groups", "Map", "Per class")), ("View", ("Calibration", "Confusion"))),
    "Training_evolution": (),
    "Failure_analysis": (("Part", None),),
    "Report": (),
}


@contextlib.contextmanager
def control_group(name: str, megabytes: int) -> Iterator[Path]:
    """A control group (version 1 or 2) that limits the memory of its processes, which must have ended at the end."""
    root = Path("/sys/fs/cgroup")
    first = root / "memory"
    group = (first if first.is_dir() else root) / name
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if first.is_dir() else "memory.max")).write_text(str(megabytes * 10**6))
    except OSError as fault:
        raise SystemExit(f"No control group with a limit of memory can be made here: {fault}.") from fault
    try:
        yield group
    finally:
        group.rmdir()


@dataclass
class Visitor:
    """A session: its connection, what its page shows by place, and the values of its controls by id."""

    socket: Any
    page: str = ""
    shown: dict[tuple[int, ...], Any] = field(default_factory=dict)
    values: dict[str, WidgetState] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    async def open(self, page: str) -> float:
        """Open a page of the app, as a link does. Returns seconds until its run has ended."""
        self.page = page
        self.values.clear()
        return await self.run()

    async def choose(self, label: str, option: str) -> float:
        """Choose in a control. Returns seconds until the page's run has ended."""
        self.take(label, option)
        return await self.run()

    def take(self, label: str, option: str) -> None:
        """Give a control this value, for the next run."""
        kind, control = self._control(label)
        state = WidgetState(id=control.id)
        if kind == "selectbox":
            state.string_value = option
        else:
            state.string_array_value.data.append(option)
        self.values[control.id] = state

    def options(self, label: str) -> list[str]:
        """What can be chosen in a control."""
        kind, control = self._control(label)
        return list(control.options) if kind == "selectbox" else [option.content for option in control.options]

    def asks(self) -> bool:
        """Whether the page shows a button that starts what it lacks."""
        texts = (element.markdown.body for element in self.shown.values() if element.HasField("markdown"))
        return any(re.match(r"This takes about", text) for text in texts)

    def _control(self, label: str) -> tuple[str, Any]:
        for element in self.shown.values():
            kind = element.WhichOneof("type")
            if kind in ("selectbox", "button_group") and getattr(element, kind).label == label:
                return kind, getattr(element, kind)
        raise LookupError(f"{self.page} has no control {label}")

    async def ask(self) -> None:
        """Ask for a run of the page with the present values."""
        message = BackMsg()
        message.rerun_script.page_name = self.page
        message.rerun_script.context_info.url = f"http://127.0.0.1:{PORT}/{self.page}"
        message.rerun_script.widget_states.widgets.extend(self.values.values())
        await self.socket.send(message.SerializeToString())

    async def run(self) -> float:
        start = time.perf_counter()
        await self.ask()
        await asyncio.wait_for(self._until_finished(), PATIENCE)
        await asyncio.gather(*(asyncio.to_thread(_load, url) for url in self._pictures()))
        return time.perf_counter() - start

    async def _until_finished(self) -> None:
        async for data in self.socket:
            message = ForwardMsg.FromString(data)
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.shown.clear()
            elif kind == "delta" and message.delta.HasField("new_element"):
                element = message.delta.new_element
                self.shown[tuple(message.metadata.delta_path)] = element
                if element.HasField("exception"):
                    self.errors.append(f"{self.page}: {element.exception.type} {element.exception.message}")
                if element.HasField("alert") and element.alert.format == element.alert.ERROR:
                    self.errors.append(f"{self.page}: {element.alert.body}")
            elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return
        raise ConnectionError("the server closed the connection")

    def _pictures(self) -> list[str]:
        return [image.url for element in self.shown.values() for image in element.imgs.imgs if image.url.startswith("/")]


def _load(url: str) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{url}", timeout=60) as answer:
        answer.read()


def connection() -> Any:
    return websockets.connect(f"ws://127.0.0.1:{PORT}/_stcore/stream", subprotocols=["streamlit"], max_size=None)


async def visit(number: int, seed: int, until: float, waits: dict[str, list[float]], asks: list[str]) -> list[str]:
    """One session until a moment of the clock. Returns its errors."""
    draw = np.random.default_rng([seed, number])
    visitor = Visitor(None)
    await asyncio.sleep(float(draw.uniform(0, 20)))
    try:
        async with connection() as visitor.socket:
            while time.perf_counter() < until:
                page = str(draw.choice(list(PATHS)))
                waits[f"{page}, opened"].append(await visitor.open(page))
                for label, options in PATHS[page]:
                    await asyncio.sleep(float(draw.uniform(*PAUSE)))
                    if time.perf_counter() > until:
                        break
                    name = f"{page}, {label}"
                    waits[name].append(await visitor.choose(label, str(draw.choice(options or visitor.options(label)))))
                    if visitor.asks():
                        asks.append(name)
                await asyncio.sleep(float(draw.uniform(*PAUSE)))
    except (OSError, TimeoutError, LookupError, websockets.WebSocketException) as fault:
        visitor.errors.append(f"{visitor.page}: {type(fault).__name__} {fault}")
    return visitor.errors


async def turn(stays: bool, pictures: tuple[str, str]) -> float:
    """Seconds that short work waits which is asked for just after another visitor has begun longer work."""
    async with connection() as socket, connection() as second:
        first, other = Visitor(socket), Visitor(second)
        for visitor, picture in zip((first, other), pictures, strict=True):
            await visitor.open("Single_image")
            await visitor.choose("Picture", picture)
        first.take("Method", LONG)
        await first.ask()
        await asyncio.sleep(0.5)
        if not stays:
            await socket.close()
        return await other.choose("Method", SHORT)


async def watch(process: psutil.Process, until: float) -> list[tuple[float, float]]:
    """Every second until a moment of the clock: seconds since now, and the resident megabytes of the server."""
    start, rows = time.perf_counter(), []
    while (now := time.perf_counter()) < until:
        rows.append((now - start, process.memory_info().rss / 1e6))
        await asyncio.sleep(1)
    return rows


async def measured(process: psutil.Process, sessions: int, minutes: float, seed: int) -> dict[str, Any]:
    waits: dict[str, list[float]] = defaultdict(list)
    asks: list[str] = []
    until = time.perf_counter() + 60 * minutes
    memory, *errors = await asyncio.gather(
        watch(process, until), *(visit(number, seed, until, waits, asks) for number in range(sessions))
    )
    seconds, megabytes = np.array(memory).T
    late = seconds > min(SETTLED, seconds[-1] / 2)
    growth = float(np.polyfit(seconds[late], megabytes[late], 1)[0] * 60)
    turns = {
        words: [await turn(stays, (PICTURES[number], PICTURES[-1 - number])) for number in range(2)]
        for words, stays in (("stays", True), ("closes the tab", False))
    }
    return {
        "waits": {
            name: {"count": len(each), **spread(np.array(each)), "longest": max(each), "asks": asks.count(name)}
            for name, each in sorted(waits.items())
        },
        "memory": {"peak": float(megabytes.max()), "end": float(megabytes[-1]), "growth, MB a minute": growth},
        "turns": turns,
        "errors": [error for each in errors for error in each],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "visitors.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept, control_group("xai_core_visitors", LIMIT) as group:
        variables = {
            "XAI_CACHE": f"{kept}/cache",
            "XAI_NOTES": f"{kept}/notes",
            "XAI_REVIEW_DB": f"sqlite:///{kept}/r.sqlite",
        }
        log = Path(kept) / "log"
        server = served(environment=variables, log=log)
        try:
            process = psutil.Process(server.pid)
            (group / "cgroup.procs").write_text(str(server.pid))
            result = asyncio.run(measured(process, given.sessions, given.minutes, given.seed))
        finally:
            server.terminate()
            server.wait(60)
        faults = re.findall(r"^\w*(?:Error|Exception)\b.*", log.read_text(), re.MULTILINE)
    result["errors"] += faults
    for name, row in result["waits"].items():
        print(f"{name:<36}{row['count']:>5}{row['median']:>8.2f} s{row['longest']:>8.2f} s at most, {row['asks']} ask first")
    print(result["memory"], result["turns"], f"{len(result['errors'])} errors", *result["errors"][:20], sep="\n")
    settings = {"sessions": given.sessions, "minutes": given.minutes, "seed": given.seed, "limit, MB": LIMIT}
    given.out.write_text(json.dumps({"machine": machine(), **settings, **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
