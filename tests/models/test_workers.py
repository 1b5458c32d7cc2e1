"""Work on all cores: the answers, and how an interrupted or failed run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from waiting import HANG_S, wait_until

from models.workers import WorkerLost, on_all_cores

needs_workers = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one core: no worker processes"
)


def _squared(common: int, task: int) -> int:
    time.sleep(0.05 if task % 3 == 0 else 0)  # answers arrive in another order than the tasks
    return common + task * task


def _return_or_raise(_: object, task: object) -> object:
    if isinstance(task, BaseException):
        raise task
    return task


def _send_half(pipe: Connection, message: bytes) -> None:
    os.write(pipe.fileno(), message[: len(message) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_worker(when: str, task: int) -> int:
    if task == 3:
        if when == "while it answers":
            Connection._send = _send_half  # type: ignore[attr-defined]
            return task
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return task


def _sleep_long(path: str, _: int) -> None:
    Path(path).touch()
    time.sleep(600)


def test_answers_are_in_task_order() -> None:
    assert list(on_all_cores(_squared, 7, range(20))) == [7 + task * task for task in range(20)]
    assert list(on_all_cores(_squared, 7, [2])) == [11]
    assert list(on_all_cores(_squared, 7, [])) == []
    assert not active_children()


def test_exception_in_a_worker_is_raised_and_ends_all_workers() -> None:
    answers = on_all_cores(_return_or_raise, None, [1, ValueError("no room"), *range(1000)])
    with pytest.raises(ValueError, match="no room"):
        list(answers)
    assert not active_children()


@needs_workers
@pytest.mark.parametrize("when", ["while it works", "while it answers"])
def test_killed_worker_raises_worker_lost(when: str) -> None:
    """As when memory runs out. Half an answer in the pipe must not block the parent."""
    with pytest.raises(WorkerLost, match="a worker process was killed"):
        list(on_all_cores(_kill_worker, when, range(8)))
    assert not active_children()


@needs_workers
def test_worker_that_dies_at_start_raises_worker_lost() -> None:
    """As when a signal kills all processes during the start. The input is larger than a pipe's
    buffer.
    """
    program = (
        "from multiprocessing import set_executable; from models.workers import on_all_cores; "
        "set_executable('/bin/false'); list(on_all_cores(max, bytes(1_000_000), range(2)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=HANG_S
    )
    assert "WorkerLost: a worker process was killed" in done.stderr


@needs_workers
def test_closing_the_iterator_ends_all_workers() -> None:
    answers = on_all_cores(_squared, 0, range(100_000))
    assert next(answers) == 0
    answers.close()  # type: ignore[attr-defined]
    assert not active_children()


@needs_workers
def test_ctrl_c_ends_all_workers(tmp_path: Path) -> None:
    """During a task of ten minutes. Ctrl-C reaches the complete process group."""
    begun = tmp_path / "begun"
    program = (
        "from test_workers import _sleep_long, on_all_cores; "
        f"list(on_all_cores(_sleep_long, {str(begun)!r}, range(2)))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )

    def works() -> bool:
        assert parent.poll() is None
        return begun.exists()

    wait_until(works)
    os.killpg(parent.pid, signal.SIGINT)
    # Returns when the last process that inherited stderr has ended.
    error = parent.communicate(timeout=HANG_S)[1]
    assert parent.returncode == -signal.SIGINT
    assert error.count("Traceback") == 1 and error.rstrip().endswith("KeyboardInterrupt"), error
