"""A dataset at hf://, through the real client of the Hugging Face Hub, from a server of this machine."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import fsspec
import pytest
from huggingface_hub import constants
from PIL import Image

from xai_core.core import remote
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.data.datasets import open_dataset

REPOSITORY = "owner/animals"


@pytest.fixture
def folder(tmp_path):
    for place in range(6):
        file = tmp_path / "animals" / "pets" / "ab"[place % 2] / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (place * 20, 0, 0)).save(file)
    return tmp_path / "animals"


@pytest.fixture
def hub(folder, monkeypatch):
    """Serves the folder as the repository owner/animals; `gone` are pictures that it lists and does not have."""
    gone = set()

    def entry(path):
        name, is_folder = path.relative_to(folder).as_posix(), path.is_dir()
        data = b"" if is_folder else path.read_bytes()
        return {"type": "directory" if is_folder else "file", "path": name, "size": len(data),
                "oid": hashlib.sha1(name.encode() + data).hexdigest()}  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            files = f"/datasets/{REPOSITORY}/resolve/main/"
            tree = f"/api/datasets/{REPOSITORY}/tree/main"
            if path in (f"/api/datasets/{REPOSITORY}", f"/api/datasets/{REPOSITORY}/revision/main"):
                self.answer(json.dumps({"id": REPOSITORY, "sha": "0" * 40, "private": False, "tags": []}).encode())
            elif path.startswith(tree) and (folder / path.removeprefix(tree).strip("/")).is_dir():
                below = folder / path.removeprefix(tree).strip("/")
                found = below.rglob("*") if "recursive=True" in self.path else below.glob("*")
                self.answer(json.dumps([entry(one) for one in sorted(found)]).encode())
            elif path.startswith(files) and path.removeprefix(files) not in gone:
                self.answer((folder / path.removeprefix(files)).read_bytes(), "0" * 40)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound" if path.startswith((files, tree)) else "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        do_HEAD = do_GET

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(json.dumps([entry(folder / name) for name in asked["paths"] if (folder / name).exists()]).encode())

        def answer(self, data, commit=""):
            given, part = self.headers.get("Range"), data
            if given:
                first, _, last = given.removeprefix("bytes=").partition("-")
                part = data[int(first) : int(last) + 1 if last else None]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
            else:
                self.send_response(200)
            for name, value in {"Content-Length": len(part), "X-Repo-Commit": commit, "ETag": '"x"'}.items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(part)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    )
    kind = fsspec.get_filesystem_class("hf")
    kind.clear_instance_cache()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield gone
    server.shutdown()
    thread.join()
    server.server_close()
    kind.clear_instance_cache()


def test_a_folder_of_the_hub_is_what_it_is_here(folder, hub):
    local, there = open_dataset(folder / "pets"), open_dataset(f"hf://datasets/{REPOSITORY}/pets")
    assert (there.title, there.samples) == (local.title, local.samples)
    for one in there.samples:
        assert there.read(one.name) == local.read(one.name).read_bytes()
    name = there.samples[0].name
    assert there.content(name).split()[1] == hashlib.sha1(f"pets/{name}".encode() + there.read(name)).hexdigest()


def test_what_is_missing_is_one_sentence(hub):
    there = open_dataset(f"hf://datasets/{REPOSITORY}/pets")
    hub.add(f"pets/{there.samples[0].name}")
    with pytest.raises(BadPicture, match="it is not there"):
        there.open(there.samples[0].name)
    for address in (f"hf://datasets/{REPOSITORY}/nowhere", "hf://datasets/owner/none/pets"):
        with pytest.raises(BadRequest, match=f"There is no {address}"):
            open_dataset(address)


def test_its_addresses_take_a_revision():
    assert remote.place_of(f"hf://datasets/{REPOSITORY}@main/pets").name == "pets"
