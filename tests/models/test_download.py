"""A download arrives whole and right, or not at all: broken off, resumed, refused, watched, and by several at once."""

import hashlib
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from http_server import serving

from xai_core.models.weights import download
from xai_core.models.weights.download import NotFetched, fetch

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * 4096 * 3  # 3 MB
RIGHT = hashlib.sha256(DATA).hexdigest()[:8]
MEGABYTES = len(DATA) / 1e6


@pytest.fixture(autouse=True)
def directly(monkeypatch):
    """No proxy stands between the tests and their server."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights" / "file.pth"


def part_of(target):
    return target.with_name("file.pth.part")


def start(target, data):
    """What a killed download leaves."""
    target.parent.mkdir()
    part_of(target).write_bytes(data)


def test_a_file_arrives_whole_and_nothing_else_is_left(target):
    with serving(data=DATA) as site:
        fetch(site.url, target, MEGABYTES, RIGHT)
        assert target.read_bytes() == DATA and list(target.parent.iterdir()) == [target]
        fetch(site.url, target, MEGABYTES, RIGHT)
        assert len(site.asked) == 1, "it was there already"


def test_progress_is_told_and_can_stop_it(target):
    told = []

    def tell(here, total):
        told.append((here, total))
        if len(told) == 2:
            raise KeyboardInterrupt

    with serving(data=DATA) as site:
        with pytest.raises(KeyboardInterrupt):
            fetch(site.url, target, MEGABYTES, progress=tell)
        assert not target.exists() and 0 < part_of(target).stat().st_size < len(DATA)
        fetch(site.url, target, MEGABYTES, progress=lambda *one: told.append(one))
    assert target.read_bytes() == DATA
    assert [here for here, _ in told] == sorted(here for here, _ in told) and told[-1] == (MEGABYTES, MEGABYTES)


def test_a_broken_connection_keeps_what_came_and_the_next_try_goes_on(target):
    with serving(data=DATA, breaks_after=2_000_000) as site:
        with pytest.raises(NotFetched, match=r"downloaded only in part \(2.0 of 3.1 MB\); that part is kept"):
            fetch(site.url, target, MEGABYTES, RIGHT)
        assert not target.exists() and part_of(target).read_bytes() == DATA[:2_000_000]
        site.breaks_after = None
        fetch(site.url, target, MEGABYTES, RIGHT)
        assert site.asked == [None, "bytes=2000000-"] and site.sent == len(DATA)
    assert target.read_bytes() == DATA and not part_of(target).exists()


def test_a_server_that_knows_no_ranges_sends_all_again(target):
    start(target, b"x" * 1000)
    with serving(data=DATA, ranges=False) as site:
        fetch(site.url, target, MEGABYTES, RIGHT)
    assert target.read_bytes() == DATA


def test_another_part_than_asked_for_is_not_appended(target):
    start(target, DATA[:1000])
    with serving(data=DATA, shift=1) as site:
        with pytest.raises(NotFetched, match="a different part than requested"):
            fetch(site.url, target, MEGABYTES)
        assert part_of(target).read_bytes() == DATA[:1000]
        site.shift = 0
        fetch(site.url, target, MEGABYTES, RIGHT)


def test_a_file_that_changed_since_is_fetched_from_the_beginning(target):
    start(target, b"x" * 1000)
    with serving(data=DATA, modified=time.time() + 3600) as site:
        fetch(site.url, target, MEGABYTES)
        assert site.asked == ["bytes=1000-", None]
    assert target.read_bytes() == DATA


def test_a_download_that_ended_before_the_move_is_only_moved(target):
    start(target, DATA)
    with serving(data=DATA) as site:
        fetch(site.url, target, MEGABYTES, RIGHT)
        assert site.sent == 0
    assert target.read_bytes() == DATA


def test_a_part_longer_than_the_file_is_thrown_away(target):
    start(target, DATA + b"x")
    with serving(data=DATA) as site:
        fetch(site.url, target, MEGABYTES, RIGHT)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("lengths", [True, False])
def test_a_wrong_file_is_thrown_away(target, lengths):
    with (
        serving(data=DATA[:-1] + b"x", lengths=lengths) as site,
        pytest.raises(NotFetched, match=r"arrived damaged .*SHA-256"),
    ):
        fetch(site.url, target, MEGABYTES, RIGHT)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_part_is_thrown_away_with_what_followed(target):
    start(target, b"x" * 1000)
    with serving(data=DATA) as site:
        with pytest.raises(NotFetched, match="arrived damaged"):
            fetch(site.url, target, MEGABYTES, RIGHT)
        fetch(site.url, target, MEGABYTES, RIGHT)
    assert target.read_bytes() == DATA


def test_a_page_that_asks_to_log_in_is_no_checkpoint(target):
    """Also where no checksum is published: the size is known."""
    with serving(data=b"<html>Log in</html>") as site, pytest.raises(NotFetched, match=r"0\.0 MB instead of about 98"):
        fetch(site.url, target, 98)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(("status", "says"), [(404, "Not Found"), (503, "Service Unavailable")])
def test_what_the_server_says_is_told(target, status, says):
    with serving(data=DATA, status=status) as site, pytest.raises(NotFetched, match=says):
        fetch(site.url, target, MEGABYTES)
    assert list(target.parent.iterdir()) == []


def test_no_network(target):
    with serving() as site:
        pass  # it is gone again
    with pytest.raises(NotFetched, match=r"cannot be fetched .*refused"):
        fetch(site.url, target, MEGABYTES)


def test_a_server_that_falls_silent(target, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with serving(data=DATA, pause=1) as site, pytest.raises(NotFetched, match=r"cannot be fetched .*timed out"):
        fetch(site.url, target, MEGABYTES)
    assert not target.exists()


def test_a_full_disk_is_noticed_before(target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=300e6))
    with serving(data=DATA) as site:
        with pytest.raises(NotFetched, match="450 MB of free disk are needed"):
            fetch(site.url, target, 350)
        assert site.asked == []
        fetch(site.url, target, MEGABYTES)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotFetched, match="cannot be written to"):
        fetch("http://127.0.0.1:1/", tmp_path / "file" / "weights" / "one.pth", 1)


def test_threads_that_want_the_same_file_fetch_it_once(target):
    told, two_were_told = [[] for _ in range(6)], threading.Event()

    def tell(number, *progress):
        told[number].append(progress)
        if sum(map(bool, told)) > 1:
            two_were_told.set()
        assert two_were_told.wait(60), "those who wait are told how far it is"  # the download stands still until then

    with serving(data=DATA) as site, ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(fetch, site.url, target, MEGABYTES, RIGHT, partial(tell, number)) for number in range(6)]
        for job in jobs:
            job.result()
        assert site.asked == [None]
    assert target.read_bytes() == DATA and list(target.parent.iterdir()) == [target]


def in_process(url, target):
    """The same in a process of its own."""
    code = "import sys; from pathlib import Path; from xai_core.models.weights.download import fetch; "
    code += "fetch(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4])"
    return subprocess.Popen([sys.executable, "-c", code, url, target, str(MEGABYTES), RIGHT], cwd=ROOT)


def test_processes_that_want_the_same_file_fetch_it_once(target):
    with serving(data=DATA, pause=0.02) as site:
        processes = [in_process(site.url, target) for _ in range(3)]
        assert [process.wait(300) for process in processes] == [0, 0, 0]
        assert site.asked == [None]
    assert target.read_bytes() == DATA and list(target.parent.iterdir()) == [target]


def test_a_killed_process_leaves_a_part_and_no_lock(target):
    with serving(data=DATA, pause=5, fast=1_500_000) as site:
        process = in_process(site.url, target)
        while process.poll() is None and not (part_of(target).exists() and part_of(target).stat().st_size):
            time.sleep(0.01)
        process.kill()
        process.wait(60)
        assert not target.exists() and 0 < part_of(target).stat().st_size < len(DATA)
        site.pause = 0
        fetch(site.url, target, MEGABYTES, RIGHT)
        assert site.asked[1].startswith("bytes=")
    assert target.read_bytes() == DATA and list(target.parent.iterdir()) == [target]
