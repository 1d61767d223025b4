"""How many runs a machine does at once, their threads, and what happens where its memory is full."""

import threading

import pytest
import torch

from xai_core.core import machine, runtime
from xai_core.core.errors import OutOfMemory
from xai_core.core.machine import Machine

GB = 2**30
CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("facts", "runs"),
    [
        (Machine(1, 8 * GB), 1),
        (Machine(2, 24 * GB), 1),  # Streamlit Cloud, and the machine of the benchmarks: one run, as it was
        (Machine(4, 16 * GB), 1),
        (Machine(7, 16 * GB), 1),
        (Machine(8, 16 * GB), 2),
        (Machine(16, 64 * GB), 4),
        (Machine(128, 512 * GB), 4),
        (Machine(16, 5 * GB), 2),  # memory for two
        (Machine(16, GB // 2), 1),  # never none
        (Machine(16, 64 * GB, "cuda", 140 * GB), 4),
        (Machine(16, 64 * GB, "cuda", 23 * GB), 3),
        (Machine(16, 64 * GB, "cuda", 5 * GB), 1),
        (Machine(4, 64 * GB, "cuda", 140 * GB), 2),
        (Machine(2, 8 * GB, "cuda", 140 * GB), 1),
        (Machine(12, 64 * GB, "mps"), 1),
    ],
)
def test_the_number_of_runs_follows_from_the_machine(facts, runs):
    assert machine.runs_at_once(facts) == runs


def test_more_of_anything_never_means_fewer_runs():
    for device in ("cpu", "cuda"):
        for cpus in range(1, 40):
            for memory in range(0, 12 * GB, GB):
                here = machine.runs_at_once(Machine(cpus, memory, device, 4 * memory))
                more = machine.runs_at_once(Machine(cpus + 1, memory + GB, device, 4 * memory + GB))
                assert 1 <= here <= more <= machine.MOST_RUNS


@pytest.mark.parametrize(("threads", "running", "share"), [(16, 1, 16), (16, 3, 5), (16, 4, 4), (2, 1, 2), (1, 2, 1)])
def test_runs_share_the_threads(threads, running, share):
    assert machine.threads_of_run(threads, running) == share


def test_each_thread_computes_with_its_own_share(monkeypatch):
    """torch's number of threads is one of the thread that sets it: a run that begins takes none from one that goes on."""
    monkeypatch.setattr(runtime, "_all_threads", lambda: 8)
    before, seen, both = torch.get_num_threads(), {}, threading.Barrier(2)

    def run(running):
        runtime.share_threads(running)
        both.wait(60)
        seen[running] = torch.get_num_threads()

    threads = [threading.Thread(target=run, args=(running,)) for running in (1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {1: 8, 4: 2} and torch.get_num_threads() == before
    thread = threading.Thread(target=torch.set_num_threads, args=(before,))  # what later threads begin with
    thread.start()
    thread.join()


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA device of 24 GB in words alone: 10 GB are free, and torch holds 3 GB, of which it uses 1."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda where: (10 * GB, 24 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda where: 3 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda where: GB)
    monkeypatch.setattr(runtime, "device", lambda: CUDA)


def test_what_torch_holds_without_using_it_is_free(gpu):
    assert runtime.gpu_memory(CUDA) == (12 * GB, 24 * GB) and runtime.gpu_memory(torch.device("cpu")) is None
    assert runtime.this_machine()[2:] == ("cuda", 12 * GB)


def test_batches_on_a_gpu_take_half_of_what_is_free(gpu):
    pixels, each = 512 * 512, 512 * 512 * runtime.BYTES_PER_PIXEL
    assert runtime.inner_batch(pixels, CUDA, graph=True) == 6 * GB // each == 12
    assert runtime.inner_batch(64 * 64, CUDA) == 256
    assert runtime.inner_batch(2**40, CUDA) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:115] data. DefaultCPUAllocator: not enough memory: you tried ..."),
    ],
)
def test_messages_of_full_memory_are_known(error):
    assert runtime.is_out_of_memory(error) and not runtime.is_out_of_memory(RuntimeError("shapes do not match"))


def test_the_message_of_this_machines_own_allocator_is_known():
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**60, dtype=torch.uint8)
    assert runtime.is_out_of_memory(refusal.value)


def full(limit):
    """Work that finds memory for `limit[0]` rows; and the sizes of the batches that were tried."""
    tried = []

    def run(rows):
        tried.append(len(rows))
        if len(rows) > limit[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(rows)

    return run, tried


def test_first_smaller_batches_then_something_leaves_then_a_sentence(monkeypatch):
    limit, left = [0], ["the least used model", "another one"]
    run, tried = full(limit)

    def release():
        if left:
            left.pop(0)
            limit[0] = 1 if not left else 0  # the second one makes room for one row
            return True
        return False

    monkeypatch.setattr(runtime, "RELEASES", [release])
    assert runtime.each_batch(run, 3, 2) == [[0], [1], [2]]
    assert not left and tried == [2, 1, 1, 1, 1, 1]
    limit[0] = 0
    with pytest.raises(OutOfMemory, match="Not even one picture fits"):
        runtime.each_batch(run, 3, 2)


def test_nothing_leaves_where_smaller_batches_fit(monkeypatch):
    monkeypatch.setattr(runtime, "RELEASES", [lambda: pytest.fail("smaller batches were enough")])
    run, tried = full([1])
    assert runtime.each_batch(run, 4, 4) == [[0], [1], [2], [3]] and max(tried) == 4


def test_other_errors_are_not_taken_for_full_memory(monkeypatch):
    monkeypatch.setattr(runtime, "RELEASES", [lambda: pytest.fail("nothing is full")])

    def run(rows):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        runtime.each_batch(run, 1, 1)
