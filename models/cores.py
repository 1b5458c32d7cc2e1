"""Work shared out among all cores of this machine.

Not concurrent.futures' pool: its workers share one pipe for what they answer, of which the parent holds both ends, so a worker
that is killed while it writes there (Ctrl-C ends them, and so does the kernel when memory runs out) leaves the parent reading
for ever. Here each worker has a pipe of its own, whose far end the worker alone holds: its death is the end of the file.
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
from threading import Thread
from typing import Any

Work = Callable[[Any, Any], Any]


class WorkerLost(ChildProcessError):
    """A worker process ended before its work did."""

    def __init__(self) -> None:
        super().__init__("a worker process was killed: too little memory? Close other programs, or take fewer steps")


def _serve(pipe: Connection) -> None:
    """A worker's life: an answer to each task, until the parent hangs up."""
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


def _received(pipe: Connection) -> tuple[bool, Any]:
    try:
        answer: tuple[bool, Any] = pipe.recv()
    except (EOFError, OSError):  # the latter in the middle of an answer
        raise WorkerLost from None
    return answer


class _Crew:
    """Processes, each led by a thread of its own, so that none waits for whoever takes the answers."""

    # Spawned: a forked child of a process with a TFLite runtime in it may hang.
    _context = get_context("spawn")

    def __init__(self, workers: int, work: Work, common: Any, tasks: Sequence[Any]) -> None:
        self._work, self._common = work, common
        self._waiting: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self.answers: SimpleQueue[tuple[int, bool, Any]] = SimpleQueue()
        for numbered in enumerate(tasks):
            self._waiting.put(numbered)
        self._processes: list[SpawnProcess] = []
        self._dismissed = False
        resource_tracker.ensure_running()  # started by a worker's start, it would let SIGINT through again
        self._threads = [Thread(target=self._lead, daemon=True) for _ in range(workers)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _lead(self) -> None:
        # Inherited by the worker: Ctrl-C reaches all of a terminal's processes, and the parent ends the work.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        number = -1
        try:
            pipe, far_end = self._context.Pipe()
            with pipe:
                with far_end:
                    # The work follows: what is given to start() the parent writes to a pipe of which it holds both ends again.
                    process = self._context.Process(target=_serve, args=(far_end,), daemon=True)
                    process.start()
                self._processes.append(process)
                pipe.send((self._work, self._common))
                while not self._dismissed:
                    number, task = self._waiting.get_nowait()
                    pipe.send(task)
                    self.answers.put((number, *_received(pipe)))
        except Empty:
            return
        except ConnectionError:
            self.answers.put((number, False, WorkerLost()))
        except Exception as error:  # it did not start, or the task or its answer does not go through a pipe
            self.answers.put((number, False, error))

    def dismiss(self) -> None:
        """Ends the processes, at once, whatever they are at: there is nothing in them to lose."""
        self._dismissed = True
        for thread in self._threads:
            while thread.is_alive():
                for process in list(self._processes):
                    process.kill()
                thread.join(0.05)
        for process in self._processes:
            process.join()


def on_all_cores(work: Work, common: Any, tasks: Sequence[Any]) -> Iterator[Any]:
    """Yields `work(common, task)` for each task, in their order; the workers go on meanwhile.

    `work`: a function of a module; `common`: given to each worker once. On one core no process is started. Where the caller is
    interrupted or stops taking, the workers end at once. Raises what `work` raised; WorkerLost.
    """
    workers = min(len(os.sched_getaffinity(0)), len(tasks))
    if workers < 2:
        yield from (work(common, task) for task in tasks)
        return
    crew = _Crew(workers, work, common, tasks)
    early: dict[int, Any] = {}
    try:
        crew.start()
        for wanted in range(len(tasks)):
            while wanted not in early:
                number, done, answer = crew.answers.get()
                if not done:
                    raise answer
                early[number] = answer
            yield early.pop(wanted)
    finally:
        crew.dismiss()
