"""Many hands for many rooms: this machine's cores, or a Dask cluster's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bank.format import BankError
from models.cores import on_all_cores
from models.packages import studio_import
from models.quiet import hushed

CONNECT_S = 10


def shared_out(
    work: Callable[[Any, Any], Any], common: Any, tasks: Sequence[Any], scheduler: str | None = None
) -> Iterator[Any]:
    """Yields `work(common, task)` for each task, in their order, from processes on all cores or the workers at `scheduler`.

    `work` must be a function of a module that the workers have, too; what it raises comes out here. Raises BankError when no
    scheduler answers or its workers are lost, WorkerLost when one of this machine's is.
    """
    if scheduler is not None:
        yield from _clustered(work, common, tasks, scheduler)
        return
    yield from on_all_cores(work, common, tasks)


def _clustered(work: Callable[[Any, Any], Any], common: Any, tasks: Sequence[Any], scheduler: str) -> Iterator[Any]:
    distributed = studio_import("distributed")
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
            f"the workers at {scheduler} lack {error.name}: install the same version of nverb there"
        ) from None
    except distributed.KilledWorker:
        raise BankError(f"workers at {scheduler} were lost, again and again: too little memory there?") from None
    finally:
        with hushed():
            client.close()
