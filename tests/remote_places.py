"""Places for tests of addresses: fsspec's memory, and a folder that many processes see as s3://."""

import time
from pathlib import Path
from types import SimpleNamespace

import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

ASKED = ["cat_file", "get_file", "put_file", "pipe_file", "rm_file", "isfile", "info", "walk", "open", "invalidate_cache"]


class Bucket(DirFileSystem):
    """A folder of this machine as s3://, so that several processes share it; `root` is the folder."""

    protocol = "s3"
    root = ""

    def __init__(self, **_):
        super().__init__(path=self.root, fs=LocalFileSystem(auto_mkdir=True))

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("s3://").strip("/")


def serve_bucket(root: Path) -> None:
    """From now on, s3:// is this folder in this process."""
    Bucket.root = str(root)
    Bucket.clear_instance_cache()
    fsspec.register_implementation("s3", Bucket, clobber=True)


def put(folder: Path, address: str) -> str:
    """Copy a folder into memory://."""
    files = fsspec.filesystem("memory")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files.pipe_file(f"{address.removeprefix('memory:/')}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return address


def misbehaving(files, **changed) -> SimpleNamespace:
    """A file system that answers some questions otherwise."""
    return SimpleNamespace(**{name: getattr(files, name) for name in ASKED} | changed)


def never(*_, **__):
    """A server that does not answer in the time of a test."""
    time.sleep(5)
