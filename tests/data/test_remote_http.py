"""Pictures at an https:// address: a folder that a server lists as links, and a ZIP that is read in parts."""

import functools
import re
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from PIL import Image

from xai_core.__main__ import main
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import open_dataset, open_zip


class Listing(SimpleHTTPRequestHandler):
    """Python's own server of a folder, which knows parts of files as well where its `ranges` says so."""

    ranges = True
    asked: ClassVar[list[str]] = []

    def send_head(self):
        part = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", "")) if self.ranges else None
        path = self.translate_path(self.path)
        self.asked.append(f"{self.command} {self.path} {part[0] if part else 'whole'}")
        if part is None or not path.endswith((".zip", ".png", ".csv")):
            return super().send_head()
        try:
            data = Path(path).read_bytes()
        except OSError:
            return self.send_error(404)
        first, last = int(part[1]), min(int(part[2] or len(data) - 1), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(data[first : last + 1])

    def end_headers(self):
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(params=[True, False], ids=["parts", "whole files"])
def site(tmp_path, request, monkeypatch):
    """(a folder, its address): a server that knows parts of files, and one that does not."""
    monkeypatch.setenv("no_proxy", "*")
    kind = type("Kind", (Listing,), {"ranges": request.param, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for number in range(6):
        file = tmp_path / "site" / "animals" / ("cat", "dog")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 48), 50 + number).save(file)
    with zipfile.ZipFile(tmp_path / "site" / "animals.zip", "w") as archive:
        for path in sorted((tmp_path / "site" / "animals").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "site"))
    try:
        yield tmp_path / "site", f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def contents(dataset):
    return {sample.name: dataset.open(sample.name).tobytes() for sample in dataset.samples}


def test_a_folder_that_a_server_lists(site):
    folder, address, _ = site
    there, local = open_dataset(f"{address}/animals"), open_dataset(folder / "animals")
    assert there.samples == local.samples and len(there.samples) == 6
    assert contents(there) == contents(local)
    with pytest.raises(BadRequest, match=r"There is no http://127\.0\.0\.1:\d+/nowhere"):
        open_dataset(f"{address}/nowhere")


def test_a_zip_on_a_server(site):
    folder, address, kind = site
    if not kind.ranges:
        with pytest.raises(BadRequest, match=r"animals is no ZIP archive that can be read .*range requests"):
            open_dataset(f"{address}/animals.zip")
        return
    there = open_dataset(f"{address}/animals.zip")
    with (folder / "animals.zip").open("rb") as file:
        local = open_zip(file, "animals")
        assert there.samples == local.samples and contents(there) == contents(local)
    assert any("bytes=" in line for line in kind.asked if ".zip" in line)


def test_the_command_line_classifies_them(site, tmp_path):
    folder, address, _ = site
    for source, out in ((f"{address}/animals", "there"), (str(folder / "animals"), "here")):
        assert main(["classify", source, "--model", "world_planted", "--out", str(tmp_path / f"{out}.parquet")]) == 0
    there, here = (pd.read_parquet(tmp_path / f"{out}.parquet") for out in ("there", "here"))
    pd.testing.assert_frame_equal(there, here)
    assert len(there) == 6
