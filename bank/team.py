"""Many hands for many rooms: this machine's cores, or a Dask cluster's workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import Any

from bank.format import BankError
from models.quiet import extra_import, hushed

CONNECT_S = 10

_common: Any = None


def _begin(common: Any) -> None:
    # Given once to each worker, not with each of its tasks.
    global _common  # noqa: PLW0603
    _common = common
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches them all: the parent ends the work


def _local(work: Callable[[Any, Any], Any], task: Any) -> Any:
    return work(_common, task)


def shared_out(
    work: Callable[[Any, Any], Any], common: Any, tasks: Sequence[Any], scheduler: str | None = None
) -> Iterator[Any]:
    """Yields `work(common, task)` for each task, in their order, from processes on all cores or the workers at `scheduler`.

    `work` must be a function of a module that the workers have, too; what it raises comes out here. Raises BankError when no
    scheduler answers or workers are lost.
    """
    if scheduler is not None:
        yield from _clustered(work, common, tasks, scheduler)
        return
    workers = min(len(os.sched_getaffinity(0)), len(tasks))
    if workers < 2:
        yield from (work(common, task) for task in tasks)
        return
    others = active_children()
    # Not forked: a forked child of a process with a TFLite runtime in it may hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(common,))
    try:
        yield from pool.map(_local, [work] * len(tasks), tasks)
    except BaseException as error:  # Ctrl-C and a full disk, too: nobody waits for work that is not wanted any more
        for child in active_children():
            if child not in others:
                child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise BankError(
                "a worker process was killed: too little memory? Close other programs, or take fewer steps"
            ) from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _clustered(work: Callable[[Any, Any], Any], common: Any, tasks: Sequence[Any], scheduler: str) -> Iterator[Any]:
    distributed = extra_import("distributed", "cluster")
    try:
        with hushed():
            client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TypeError: an address without a port
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BankError(f"no Dask scheduler answers at {scheduler} ({reason:.120})") from None
    try:
        if not client.scheduler_info()["workers"]:
            raise BankError(
                f"the Dask scheduler at {scheduler} has no workers: start some with `dask worker {scheduler}`"
            )
        held = client.scatter(common, broadcast=True, hash=False)
        futures = [client.submit(work, held, task, pure=False) for task in tasks]
        for future in futures:
            yield future.result()
    except ModuleNotFoundError as error:
        raise BankError(
            f"the workers at {scheduler} lack {error.name}: install nverb[studio] there, the same version"
        ) from None
    except distributed.KilledWorker:
        raise BankError(f"workers at {scheduler} were lost, again and again: too little memory there?") from None
    finally:
        with hushed():
            client.close()
