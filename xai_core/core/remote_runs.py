"""What a command writes to an address: a run, or a file of predictions with the folder of its parts.

A store of parts needs locks, replaced files and checksums, which no object store has: so a command writes into a work folder
on this machine, and whatever is finished there is copied to the address every few seconds and at the end, each file as one
object that is there whole or not at all. A part is written once under a name that holds its checksum, so that copying is
safe to repeat, and a command that was killed resumes on any machine from the parts that are there.

The address is what counts: a work folder that lacks something which is there (another machine went on) is made anew. Writers
on one machine exclude each other; two machines that write to one address at once are not noticed.
"""

import contextlib
import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from xai_core.core import part_store, remote, settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.files import read_regular
from xai_core.core.remote import Place, RemoteFile

SECONDS = 5.0  # between two looks at what is finished
MOST_FILES = 200_000  # of a run: 100 million pictures of `classify`
State = tuple[int, int]  # of a file: bytes, time of its last change
_STORE = r"(manifest\.json|(parts|pictures)/\d+-[0-9a-f]+\.parquet)"


@contextlib.contextmanager
def written(out: str | Path) -> Iterator[Path]:
    """The file or folder of this machine to write to, for a path or an address: with an address, what is there already is in
    it, and what is finished is copied there, the rest at the end, also after an exception. Raises BadRequest where something
    else is there, XaiError where it cannot be written; then it stays here, and the same call goes on."""
    if isinstance(out, Path):
        yield out
        return
    place = remote.place_of(out)
    above = place.above()
    work = settings.cache_folder() / "remote" / hashlib.sha256(place.address.encode()).hexdigest()[:16]
    with part_store.locked(work, f"Another command on this machine writes to {place.address}: wait for it."):
        mirror = _Mirror(place, above, work / "files")
        mirror.resume()
        with mirror.copying():
            yield mirror.work / place.name
        shutil.rmtree(mirror.work)


def fetched(address: str, folder: Path) -> Path:
    """Copy a run, a file of predictions or another file from an address into a folder; returns its path there. Files that
    are there already with the same size are kept. Raises BadRequest."""
    place = remote.place_of(address)
    if remote.is_file(place):
        size = remote.within(remote.SECONDS, lambda: place.files.info(place.path).get("size"))
        remote.fetch(place, folder / place.name, size)
        return folder / place.name
    known = re.compile(_STORE)
    found = [one for one in remote.listed(place, MOST_FILES) if known.fullmatch(one.name)]
    if not any(one.name == part_store.MANIFEST for one in found):
        raise BadRequest(f"{place.address} is neither a file nor the folder of a run.")
    for one in sorted(found, key=lambda one: one.name):  # the manifest first: parts of methods it does not name are no run
        file = folder / place.name / one.name
        if one.name == part_store.MANIFEST or not file.is_file() or file.stat().st_size != one.size:
            remote.fetch(place.at(one.name), file, one.size)
    return folder / place.name


class _Mirror:
    """A work folder and the address that it is copied to: the files below `above` that belong to `place`."""

    def __init__(self, place: Place, above: Place, work: Path) -> None:
        self.place, self.above, self.work = place, above, work
        name = re.escape(place.name)
        self._known = re.compile(rf"({name}|{name}/{_STORE}|\.{name}\.parts/{_STORE})")
        self._there: dict[str, State | None] = {}  # what is at the address, with the state of what was sent

    def resume(self) -> None:
        """Bring what is at the address here. Raises BadRequest where something else is there."""
        there = {one.name: one for one in self._listed()}
        self._there = dict.fromkeys(there)
        if not all((self.work / name).is_file() for name in there):
            shutil.rmtree(self.work, ignore_errors=True)
            for name, one in sorted(there.items()):
                remote.fetch(self.above.at(name), self.work / name, one.size)
                self._there[name] = _state(self.work / name)
        self.work.mkdir(parents=True, exist_ok=True)

    def _listed(self) -> Iterator[RemoteFile]:
        """The files that belong to the place."""
        if remote.is_file(self.place):
            yield RemoteFile(self.place.name, None, "")
        for folder in (self.place.name, f".{self.place.name}.parts"):
            for one in remote.listed(self.above.at(folder), MOST_FILES, may_be_missing=True):
                name = f"{folder}/{one.name}"
                if not self._known.fullmatch(name):
                    raise BadRequest(f"{self.place.address} holds something else ({one.name[:80]}): give a new address.")
                yield RemoteFile(name, one.size, one.version)

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        """Copy in a thread what is finished, and the rest at the end."""
        done = threading.Event()

        def repeat() -> None:
            while not done.wait(SECONDS):
                with contextlib.suppress(XaiError):  # the copy at the end says it
                    self.copy()

        copier = threading.Thread(target=repeat, name="copying", daemon=True)
        copier.start()
        try:
            yield
        finally:
            done.set()
            copier.join()
            try:
                self.copy()
            except XaiError as error:
                raise XaiError(f"{error} What was done is kept on this machine: run the same command again.") from None

    def copy(self) -> None:
        """Send the files that are new or changed here, and remove those that are gone here. Killed at any moment, it leaves
        a run that can be resumed: a finished file comes before its parts go, and a manifest only with its own parts. Raises
        XaiError."""
        manifests = self._manifests()
        stores = (self.work / name for name in (self.place.name, f".{self.place.name}.parts"))
        found = [self._name(path) for store in stores for path in store.glob("p*/*.parquet")]
        parts = [name for name in found if self._known.fullmatch(name)]
        # Looked for after the parts: `classify` removes them when the finished file is there.
        result = [self.place.name] if (self.work / self.place.name).is_file() else []
        if self._manifests() != manifests:
            return  # another work has begun just now: next time
        for name in result:
            self._send(name)
        for name in [name for name in self._there if name not in {*manifests, *parts, *result}]:
            remote.remove(self.above.at(name))
            del self._there[name]
        for name, (data, state) in manifests.items():
            if self._there.get(name) != state:
                remote.send_bytes(data, self.above.at(name))
                self._there[name] = state
        for name in sorted(parts, key=lambda name: ("/parts/" in name, name)):  # small copies of pictures before their rows
            if name not in self._there:
                self._send(name)

    def _manifests(self) -> dict[str, tuple[bytes, State]]:
        """The manifests that are here, with their states."""
        found = {}
        for path in (self.work / name / part_store.MANIFEST for name in (self.place.name, f".{self.place.name}.parts")):
            with contextlib.suppress(OSError):  # there is none
                found[self._name(path)] = read_regular(path, part_store.MANIFEST_BYTES), _state(path)
        return found

    def _send(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # the command has just removed it
            state = _state(self.work / name)
            if self._there.get(name) != state:
                remote.send(self.work / name, self.above.at(name))
                self._there[name] = state

    def _name(self, path: Path) -> str:
        return path.relative_to(self.work).as_posix()


def _state(path: Path) -> State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
