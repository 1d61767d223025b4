"""Jobs: their states, turns, limits, who sees them, and what a restart of the server leaves of them."""

import json
import threading
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest
from streamlit.runtime.context import StreamlitCookies

from xai_core.app.shared import job_records, job_view, jobs, server_job, turns
from xai_core.core import runtime
from xai_core.core.errors import BadRequest, BeingWritten

PLACE = jobs.PlaceToReturn("Home", "view=all")
PATIENCE = 30.0


@pytest.fixture
def me(tmp_path, monkeypatch):
    """The name of the visitor, which a test may change; with a list of jobs of its own, which is empty at first."""
    name = {"visitor": "me"}

    def visitor():
        jobs._registry().seen[name["visitor"]] = jobs.time.monotonic()
        return name["visitor"]

    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    monkeypatch.setattr(jobs, "visitor", visitor)
    monkeypatch.setattr(jobs, "KINDS", {"count": f"{__name__}:counting", "held": f"{__name__}:held"})
    jobs._registry.clear()
    yield name
    GO.set()
    jobs.wait(PATIENCE)
    jobs._registry.clear()


GO = threading.Event()  # what the work of kind "held" waits for, with checks on the way


@pytest.fixture(autouse=True)
def closed():
    GO.clear()


def counting(settings):
    """The work of a kind: counts to a number and returns the sum."""
    return lambda handle: sum(handle.pieces("numbers")(range(settings["to"])))


def held(settings):
    """The work of a kind: it stands at its second piece until GO is set."""

    def work(handle):
        handle.log("begun")
        for piece in handle.pieces("pieces")(range(3)):
            while piece == 1 and not GO.wait(0.01):
                handle.next_turn()

    return work


def until(condition):
    """Wait until a condition holds."""
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came true")


def begun(number=0):
    """A job that stands in the middle of its work."""
    job = jobs.start_kind("held", {"number": number}, f"Job {number}", PLACE)
    until(lambda: job.done == 1)
    return job


def restarted():
    """The list of jobs as another server has it: the one of before was killed while its jobs ran."""
    killed = jobs._registry()
    assert killed.server.alive is not None
    killed.server.alive.release()
    records = {path: path.read_bytes() for path in job_records.folder().glob("*.json")}
    GO.set()
    jobs.wait(PATIENCE)
    for path, content in records.items():
        path.write_bytes(content)
    jobs._registry.clear()


def test_a_job_runs_to_its_end_and_its_result_is_found_by_its_key(me):
    job = jobs.start("sum", "A sum", counting({"to": 5}), PLACE)
    jobs.wait(PATIENCE)
    assert (job.state, job.result, job.done, job.total) == (server_job.DONE, 10, 5, 5)
    assert jobs.find("sum") is job and job.ended >= job.began and not job.unfinished


def test_the_words_say_how_much_time_is_left_by_the_pieces_that_are_done(me, monkeypatch):
    now, said = [100.0], []
    job = jobs.start("words", "Words", lambda handle: None, PLACE)
    jobs.wait(PATIENCE)
    monkeypatch.setattr(jobs.time, "monotonic", lambda: now[0])
    handle = jobs.JobHandle(job)
    for _ in handle.pieces("pictures")(range(4)):
        said.append(job.words)
        now[0] += 6.0
    handle.end_turn()
    assert said[0] == "starting, 4 pictures to do" and "about 18" in said[1] and "about 6" in said[3]


def test_the_words_of_work_in_parts_name_the_part(me):
    said: list[tuple[str, float]] = []
    lefts: list[str] = []

    def work(handle):
        for number, title in enumerate(("Saliency", "RISE")):
            track = handle.part(number, title, [10.0, 30.0])
            said.append((job.words, job.share))
            for _ in track(range(2)):
                said.append((job.words.partition(" ms")[0], job.share))
                lefts.extend([job.words] if "left" in job.words else [])
            handle.stored()

    job = server_job.ServerJob("parts", "Parts", PLACE)
    work(handle := jobs.JobHandle(job))
    handle.end_turn()
    assert said[0] == ("0 of 2 parts, now Saliency: starting", 0.0)
    assert said[1] == ("0 of 2 parts, now Saliency: starting, 2 batches to do", 0.0)
    assert said[2][0].startswith("0 of 2 parts, now Saliency: 1 of 2 batches") and said[2][1] == 0.125
    assert said[3] == ("1 of 2 parts, now RISE: starting", 0.25) and said[5][1] == 0.625 and job.stored == 2
    assert "about 30" in lefts[0] and "about 30" not in lefts[1], "the time of later parts is part of what is left"
    job.state = server_job.CANCELLED
    assert job_view.in_words(job) == "cancelled after 1 of 2 parts"


def test_a_job_that_ends_before_its_first_piece_does_not_say_how_far_it_was(me):
    job = server_job.ServerJob(
        "none", "None", PLACE, state=server_job.CANCELLED, words="starting, 8 pictures to do", total=8
    )
    assert job_view.in_words(job) == "cancelled"


def test_a_job_in_progress_says_how_far_it_is_and_ends_when_cancelled(me):
    job = begun()
    assert job.state == server_job.RUNNING and job.words.startswith("1 of 3 pieces") and job.share == pytest.approx(1 / 3)
    assert list(job.log) == ["begun"]
    jobs.cancel(job.key)
    jobs.wait(PATIENCE)
    assert job.state == server_job.CANCELLED and job.done == 1 and job.resumable


def test_the_same_work_is_not_done_twice_at_a_time(me):
    assert begun() is jobs.start_kind("held", {"number": 0}, "Again", PLACE)
    GO.set()
    jobs.wait(PATIENCE)
    assert jobs.start_kind("held", {"number": 0}, "Again", PLACE).title == "Again"  # after its end it is


def test_errors_are_said_in_one_sentence(me, caplog):
    def refused(handle):
        raise BadRequest("No such picture.")

    def faulty(handle):
        raise ZeroDivisionError("secret path")

    first, second = jobs.start("a", "A", refused, PLACE), jobs.start("b", "B", faulty, PLACE)
    jobs.wait(PATIENCE)
    assert (first.state, first.error) == (server_job.FAILED, "No such picture.")
    assert second.state == server_job.FAILED and "secret" not in second.error and "secret path" in caplog.text


def test_turns_are_taken_in_the_order_in_which_they_were_wanted():
    """Whoever ends a turn and wants the next one at once stands behind those who wait."""
    order, started = [], threading.Event()

    def other():
        with turns.turn(started.set):
            order.append("other")

    thread = threading.Thread(target=other)
    with turns.turn(lambda: None):
        thread.start()
        assert started.wait(PATIENCE)
    with turns.turn(lambda: None):
        order.append("first again")
    thread.join()
    assert order == ["other", "first again"]


def test_a_larger_machine_does_several_runs_at_once_each_with_its_share_of_the_threads(monkeypatch):
    """Of two places the third run gets the first that is free; the last to leave had all threads since its next batch."""
    queue, shares, inside, order = turns._Queue(2), [], threading.Barrier(3), []
    monkeypatch.setattr(turns, "_queue", lambda: queue)
    monkeypatch.setattr(runtime, "share_threads", shares.append)
    ended = threading.Event()

    def run(name):
        with turns.turn(lambda: None):
            order.append(name)
            inside.wait(PATIENCE)
            assert ended.wait(PATIENCE)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    inside.wait(PATIENCE)  # both compute
    assert sorted(shares) in ([1, 2], [2, 2])

    def impatient():
        raise CancelledError

    with pytest.raises(CancelledError), turns.turn(impatient):
        pytest.fail("there are two places")
    ended.set()
    for thread in threads:
        thread.join()
    bar = SimpleNamespace(progress=lambda *_, **__: None)
    turns.in_turn(lambda track: order.append(list(track([1, 2]))), bar, "Third")
    assert sorted(order[:2]) == ["first", "second"] and order[2] == [1, 2] and shares[2:] == [1, 1, 1]


def test_whoever_gives_up_waiting_leaves_the_queue():
    def give_up():
        raise CancelledError

    def impatient():
        with pytest.raises(CancelledError), turns.turn(give_up):
            pass

    with turns.turn(lambda: None):
        thread = threading.Thread(target=impatient)
        thread.start()
        thread.join()
    with turns.turn(lambda: None):
        pass


def test_another_visitor_has_a_turn_between_two_batches_of_a_job(me):
    """A page that wants to compute waits for one batch of a job, not for its end."""
    order, waits = [], threading.Event()

    def work(handle):
        for piece in handle.batches(range(3)):
            order.append(piece)
            if piece == 0:
                page.start()
                assert waits.wait(PATIENCE)

    def compute():
        with turns.turn(waits.set):
            order.append("page")

    page = threading.Thread(target=compute)
    job = jobs.start("batches", "Batches", work, PLACE)
    jobs.wait(PATIENCE)
    page.join()
    assert job.state == server_job.DONE and order == [0, "page", 1, 2]


def test_a_visitor_and_the_server_have_limits_that_are_said(me):
    for number in range(jobs.MOST_OF_VISITOR):
        jobs.start_kind("held", {"number": number}, "Mine", PLACE)
    with pytest.raises(BadRequest, match=r"You already have 3 jobs waiting or running, .* cancel one on the page Jobs\."):
        jobs.start_kind("held", {"number": 99}, "One more", PLACE)
    for number in range(jobs.MOST_OF_VISITOR, jobs.MOST_IN_ALL):
        me["visitor"] = f"visitor {number // jobs.MOST_OF_VISITOR}"
        jobs.start_kind("held", {"number": number}, "Theirs", PLACE)
    me["visitor"] = "a late one"
    with pytest.raises(BadRequest, match=r"12 jobs are waiting or running on this server, .* Try again later"):
        jobs.start_kind("held", {"number": 99}, "One more", PLACE)
    waiting = [job for job in jobs.listed() if job.state == server_job.WAITING]
    me["visitor"] = waiting[0].visitor
    jobs.cancel(waiting[0].key)
    assert waiting[0].state == server_job.CANCELLED, "what has not begun ends at once"
    jobs.start_kind("held", {"number": 99}, "One more", PLACE)


def test_one_visitor_alone_never_keeps_the_others_waiting(me):
    for number in range(jobs.MOST_OF_VISITOR):
        begun(number)
    me["visitor"] = "somebody else"
    job = jobs.start("quick", "Quick", counting({"to": 3}), PLACE)
    until(lambda: job.state == server_job.DONE)


def test_jobs_on_uploads_are_seen_by_their_visitor_alone(me):
    job = jobs.start("cats", "Clusters of secret.zip", held({}), PLACE, private=True)
    until(lambda: job.done == 1)
    assert jobs.find("cats") is job and jobs.listed() == [job]
    me["visitor"] = "somebody else"
    assert jobs.find("cats") is None and jobs.find(job.key) is None
    (listed,) = jobs.listed()
    assert listed.title == "Another visitor's job" and listed.state == server_job.RUNNING and not jobs.may_change(listed)
    assert "secret" not in repr(listed) and not listed.log
    jobs.cancel(job.key)
    assert not job.cancelling and not [path for path in job_records.folder().glob("*") if b"secret" in path.read_bytes()]
    me["visitor"] = "me"
    GO.set()
    jobs.wait(PATIENCE)
    assert job.state == server_job.DONE


def test_jobs_on_the_servers_data_are_seen_by_everyone_and_cancelled_by_their_visitor(me):
    job = begun()
    me["visitor"] = "somebody else"
    assert jobs.listed() == [job] and jobs.find(job.key) is job and not jobs.may_change(job)
    jobs.cancel(job.key)
    assert not job.cancelling
    me["visitor"] = "me"
    jobs.cancel(job.key)
    jobs.wait(PATIENCE)
    assert job.state == server_job.CANCELLED
    me["visitor"] = "somebody else"
    jobs.remove(job.key)
    assert jobs.listed() == [job], "only its visitor takes it from the list"


@pytest.mark.parametrize("address", [None, "", "0.0.0.0", "demo.example"])
def test_nobody_owns_a_server_that_others_can_reach(me, monkeypatch, address):
    monkeypatch.setattr(jobs.st, "get_option", {"server.address": address}.__getitem__)
    assert not jobs.is_own_computer()


@pytest.mark.parametrize("address", jobs.OWN_COMPUTER)
def test_the_owner_of_a_local_app_cancels_every_job(me, monkeypatch, address):
    job = begun()
    me["visitor"] = "the owner after a reload"
    monkeypatch.setattr(jobs.st, "get_option", {"server.address": address}.__getitem__)
    jobs.cancel(job.key)
    jobs.wait(PATIENCE)
    assert job.state == server_job.CANCELLED


def test_a_private_job_ends_when_its_visitor_has_gone(me, monkeypatch):
    job = jobs.start("cats", "Cats", held({}), PLACE, private=True)
    until(lambda: job.done == 1)
    me["visitor"] = "somebody else"
    monkeypatch.setattr(jobs, "AWAY_SECONDS", 0.0)
    jobs.wait(PATIENCE)
    assert job.state == server_job.CANCELLED and jobs.listed() == []


def test_after_a_restart_a_job_is_listed_as_interrupted_and_resumed(me):
    begun()
    restarted()
    (job,) = jobs.listed()
    assert (job.state, job.title, job.kind, job.settings) == (server_job.INTERRUPTED, "Job 0", "held", {"number": 0})
    assert job.resumable and job.place == PLACE
    again = jobs.resume(job)
    until(lambda: again.state == server_job.DONE)
    assert [job.state for job in jobs.listed()] == [server_job.DONE]


def test_work_of_a_page_is_listed_as_interrupted_and_found_by_its_page_after_a_restart(me):
    job = jobs.start("map", "A map", held({}), PLACE)
    until(lambda: job.done == 1)
    restarted()
    me["visitor"] = "somebody else"
    (job,) = jobs.listed()
    assert (job.state, job.title, job.place, job.stored) == (server_job.INTERRUPTED, "A map", PLACE, 0)
    assert job.page_starts_it_again and not job.resumable and jobs.may_change(job) and jobs.find("map") is job
    again = jobs.start("map", "A map", counting({"to": 2}), PLACE)
    jobs.wait(PATIENCE)
    assert jobs.listed() == [again] and again.state == server_job.DONE
    assert not list(job_records.folder().glob("*.json")), "a result that is in memory alone is not listed after a restart"


def test_work_on_an_upload_is_listed_for_its_visitor_alone_after_a_restart_and_cannot_be_started_again(me, monkeypatch):
    job = jobs.start("cats", "Clusters of secret.zip", held({}), PLACE, private=True)
    until(lambda: job.done == 1)
    restarted()
    (job,) = jobs.listed()
    assert job.state == server_job.INTERRUPTED and job.title == "Work on a file that you uploaded" and not job.place.settings
    assert job.upload and not job.page_starts_it_again and jobs.find("cats") is job
    me["visitor"] = "somebody else"
    assert jobs.listed() == []
    monkeypatch.setattr(jobs, "AWAY_SECONDS", 0.0)
    assert jobs.listed() == [] and not list(job_records.folder().glob("*.json")), "its visitor has gone"


def test_private_work_on_the_servers_data_can_be_started_again(me):
    job = jobs.start("cats", "Synthesis", held({}), PLACE, private=True, upload=False)
    until(lambda: job.done == 1)
    restarted()
    (job,) = jobs.listed()
    assert job.title == "Synthesis" and job.place == PLACE and job.page_starts_it_again and jobs.may_change(job)


def test_a_visitor_is_known_by_the_cookie_of_the_browser(monkeypatch):
    def named(cookie):
        monkeypatch.setattr(jobs.st, "session_state", {})
        monkeypatch.setattr(type(jobs.st.context), "cookies", StreamlitCookies({jobs.COOKIE: cookie}))
        return jobs.visitor()

    assert named("a" * 32) == named("a" * 32) != named("b" * 32)
    assert "a" * 32 not in named("a" * 32), "the name stands in records, and the token is a secret"
    for forged in ("", "a" * 31, "A" * 32, "<script>", "a" * 32 + "\n"):
        assert named(forged) != named(forged), "what is no token of ours is not taken"


def test_a_stopping_server_interrupts_its_jobs(me, monkeypatch):
    job = begun()
    monkeypatch.setattr(jobs, "_server_stops", lambda: True)
    jobs.wait(PATIENCE)
    assert job.state == server_job.INTERRUPTED
    assert json.loads(job_records.path_of(job.key).read_text())["state"] == server_job.INTERRUPTED


def test_a_job_of_another_living_server_is_shown_and_left_alone(me):
    begun()
    other = jobs._registry()
    jobs._registry.clear()
    (job,) = jobs.listed()
    assert job.elsewhere and job.state == server_job.RUNNING and not jobs.may_change(job)
    with pytest.raises(BeingWritten, match="Another server on this machine is doing this job"):
        jobs.start_kind("held", {"number": 0}, "Job", PLACE)
    GO.set()
    for held_job in other.jobs.values():
        held_job.future.result(PATIENCE)


def test_records_that_are_none_are_left_out(me):
    begun()
    path = job_records.path_of(server_job.key_of("held", {"number": 0}))
    good = json.loads(path.read_text())
    restarted()
    bad = [
        b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b"\xff", json.dumps(good | {"settings": 3}).encode(),
        json.dumps(good | {"done": "x"}).encode(), json.dumps(good | {"log": 3}).encode(),
        json.dumps(good | {"kind": "other"}).encode(), json.dumps(good | {"key": "other"}).encode(),
        b" " * (job_records.MOST_BYTES + 1),
    ]  # fmt: skip
    for content in bad:
        path.write_bytes(content)
        jobs._registry.clear()
        assert jobs.listed() == [], content[:40]
    path.unlink()
    path.mkdir()
    jobs._registry.clear()
    assert jobs.listed() == []


def test_settings_that_no_longer_fit_are_refused(me, monkeypatch):
    job = begun()
    GO.set()
    jobs.wait(PATIENCE)
    monkeypatch.setattr(jobs, "KINDS", {})
    with pytest.raises(BadRequest, match="another version of this program"):
        jobs.resume(job)


def test_a_folder_that_cannot_be_written_does_not_keep_a_job_from_running(me, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(job_records, "folder", lambda: tmp_path / "file" / "jobs")
    job = jobs.start_kind("count", {"to": 3}, "Count", PLACE)
    jobs.wait(PATIENCE)
    assert job.state == server_job.DONE and job.result == 3 and "cannot be written" in job.log[0]


def test_the_list_does_not_grow_without_end(me, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_LISTED", 3)
    for number in range(6):
        jobs.start_kind("count", {"to": number}, str(number), PLACE)
        jobs.wait(PATIENCE)
    assert [job.title for job in jobs.listed()] == ["5", "4", "3"]
    assert len(list(job_records.folder().glob("*.json"))) == 3
    jobs.remove(jobs.listed()[0].key)
    assert [job.title for job in jobs.listed()] == ["4", "3"]


def test_every_kind_of_job_names_a_function():
    assert all(callable(jobs.pkgutil.resolve_name(name)) for name in jobs.KINDS.values())
