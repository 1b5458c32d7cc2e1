"""Runs a function over many tasks on all cores of this machine.

concurrent.futures' pool is not used: its workers share one pipe for their answers, and the parent
holds both ends of it. If a worker is killed while it writes (by Ctrl-C, or by the kernel when
memory runs out), the parent blocks in a read for ever. Here each worker has its own pipe and is the
only process that holds the far end, so the parent reads an end of file when the worker dies.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

Work = Callable[[Any, Any], Any]


class WorkerLost(ChildProcessError):
    """A worker process ended before its work was done."""

    def __init__(self) -> None:
        super().__init__(
            "a worker process was killed: too little memory? "
            "Close other programs, or take fewer steps"
        )


def _serve(pipe: Connection) -> None:
    """A worker's main function: answers tasks until the parent closes the pipe."""
    with suppress(EOFError, ConnectionError):
        work, common = pipe.recv()
        while True:
            pipe.send(_answer(work, common, pipe.recv()))


def _answer(work: Work, common: Any, task: Any) -> tuple[bool, Any]:
    try:
        return True, work(common, task)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return False, error


def _receive(pipe: Connection) -> tuple[bool, Any]:
    try:
        answer: tuple[bool, Any] = pipe.recv()
    except (EOFError, OSError):  # OSError: the pipe ended in the middle of an answer
        raise WorkerLost from None
    return answer


class _Pool:
    """Worker processes. A thread drives each, so that no worker waits for the caller."""

    # Spawned: a forked child of a process that has loaded a TFLite runtime may hang.
    _context = get_context("spawn")

    def __init__(self, workers: int, work: Work, common: Any, tasks: Sequence[Any]) -> None:
        self._work, self._common = work, common
        self._waiting: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self.answers: SimpleQueue[tuple[int, bool, Any]] = SimpleQueue()
        for numbered in enumerate(tasks):
            self._waiting.put(numbered)
        self._processes: list[SpawnProcess] = []
        self._stopped = False
        # One after another: two starts that find the tracker dead pass the same file twice.
        self._starting = Lock()
        # Started here: a tracker that starts with the first worker would unblock SIGINT.
        resource_tracker.ensure_running()
        self._threads = [Thread(target=self._drive, daemon=True) for _ in range(workers)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _drive(self) -> None:
        # Inherited by the worker: Ctrl-C reaches all processes of a terminal, and the parent stops
        # the workers.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        number = -1
        try:
            pipe, far_end = self._context.Pipe()
            with pipe:
                with far_end:
                    # The work is sent after the start: arguments of start() go through a pipe of
                    # which the parent holds both ends.
                    process = self._context.Process(target=_serve, args=(far_end,), daemon=True)
                    with self._starting:
                        process.start()
                self._processes.append(process)
                pipe.send((self._work, self._common))
                while not self._stopped:
                    number, task = self._waiting.get_nowait()
                    pipe.send(task)
                    self.answers.put((number, *_receive(pipe)))
        except Empty:
            return
        except ConnectionError:
            self.answers.put((number, False, WorkerLost()))
        except Exception as error:  # the start failed, or a task or answer cannot be pickled
            self.answers.put((number, False, error))

    def stop(self) -> None:
        """Kills the workers, busy or not: they hold no state."""
        self._stopped = True
        for thread in self._threads:
            while thread.is_alive():
                for process in list(self._processes):
                    process.kill()
                thread.join(0.05)
        for process in self._processes:
            process.join()


def on_all_cores(work: Work, common: Any, tasks: Sequence[Any]) -> Iterator[Any]:
    """Yields `work(common, task)` for each task, in their order. The workers run ahead.

    `work`: a function at the top level of a module; `common`: sent to each worker once. On one core
    no process is started. If the caller is interrupted or closes the iterator, the workers are
    killed. Raises what `work` raised, and WorkerLost.
    """
    workers = min(len(os.sched_getaffinity(0)), len(tasks))
    if workers < 2:
        yield from (work(common, task) for task in tasks)
        return
    pool = _Pool(workers, work, common, tasks)
    early: dict[int, Any] = {}
    try:
        pool.start()
        for wanted in range(len(tasks)):
            while wanted not in early:
                number, done, answer = pool.answers.get()
                if not done:
                    raise answer
                early[number] = answer
            yield early.pop(wanted)
    finally:
        pool.stop()
