"""Work on all cores: its answers, and how it ends when it is not let end."""

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
    time.sleep(0.05 if task % 3 == 0 else 0)  # answers come in another order than tasks
    return common + task * task


def _as_told(_: object, task: object) -> object:
    if isinstance(task, BaseException):
        raise task
    return task


def _send_half(pipe: Connection, message: bytes) -> None:
    os.write(pipe.fileno(), message[: len(message) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def _killed(when: str, task: int) -> int:
    if task == 3:
        if when == "while it answers":
            Connection._send = _send_half  # type: ignore[attr-defined]
            return task
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return task


def _endless(path: str, _: int) -> None:
    Path(path).touch()
    time.sleep(600)


def test_answers_come_in_the_order_of_the_tasks() -> None:
    assert list(on_all_cores(_squared, 7, range(20))) == [7 + task * task for task in range(20)]
    assert list(on_all_cores(_squared, 7, [2])) == [11]
    assert list(on_all_cores(_squared, 7, [])) == []
    assert not active_children()


def test_what_the_work_raises_comes_out_and_ends_the_rest() -> None:
    answers = on_all_cores(_as_told, None, [1, ValueError("no room"), *range(1000)])
    with pytest.raises(ValueError, match="no room"):
        list(answers)
    assert not active_children()


@needs_workers
@pytest.mark.parametrize("when", ["while it works", "while it answers"])
def test_a_killed_worker_is_told(when: str) -> None:
    """As when memory runs out: a part of an answer in the pipe keeps nobody waiting."""
    with pytest.raises(WorkerLost, match="a worker process was killed"):
        list(on_all_cores(_killed, when, range(8)))
    assert not active_children()


@needs_workers
def test_a_worker_that_dies_at_birth_is_told() -> None:
    """As when a signal goes to all processes while they start, with more for it to read than a pipe holds."""
    program = (
        "from multiprocessing import set_executable; from models.workers import on_all_cores; "
        "set_executable('/bin/false'); list(on_all_cores(max, bytes(1_000_000), range(2)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=HANG_S
    )
    assert "WorkerLost: a worker process was killed" in done.stderr


@needs_workers
def test_who_takes_no_more_ends_the_workers() -> None:
    answers = on_all_cores(_squared, 0, range(100_000))
    assert next(answers) == 0
    answers.close()  # type: ignore[attr-defined]
    assert not active_children()


@needs_workers
def test_ctrl_c_ends_all_at_once(tmp_path: Path) -> None:
    """Pressed while the workers are in the middle of a task that would take ten minutes, it reaches the whole process group."""
    begun = tmp_path / "begun"
    program = f"from test_workers import _endless, on_all_cores; list(on_all_cores(_endless, {str(begun)!r}, range(2)))"
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
    told = parent.communicate(timeout=HANG_S)[1]  # ends when the last process that has it open does
    assert parent.returncode == -signal.SIGINT
    assert told.count("Traceback") == 1 and told.rstrip().endswith("KeyboardInterrupt"), told
