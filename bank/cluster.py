"""Distributes tasks over this machine's cores or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bank.format import BankError
from dsp.errors import first_line
from models.packages import studio_import
from models.suppress import suppress_output
from models.workers import on_all_cores

CONNECT_S = 10


def distribute(
    work: Callable[[Any, Any], Any], common: Any, tasks: Sequence[Any], scheduler: str | None = None
) -> Iterator[Any]:
    """Yields `work(common, task)` for each task, in their order.

    The tasks run on all cores of this machine or on the workers of the Dask scheduler at
    `scheduler`. `work` must be a function of a module that the workers can import; its exceptions
    are raised here. Raises BankError if no scheduler answers or it loses its workers, WorkerLost if
    a worker of this machine is killed.
    """
    if scheduler is None:
        yield from on_all_cores(work, common, tasks)
    else:
        yield from _on_cluster(work, common, tasks, scheduler)


def _on_cluster(
    work: Callable[[Any, Any], Any], common: Any, tasks: Sequence[Any], scheduler: str
) -> Iterator[Any]:
    distributed = studio_import("distributed")
    try:
        with suppress_output():
            client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TypeError: an address without a port
        raise BankError(f"no Dask scheduler answers at {scheduler} ({first_line(error)})") from None
    try:
        if not client.scheduler_info()["workers"]:
            raise BankError(
                f"the Dask scheduler at {scheduler} has no workers: "
                f"start some with `dask worker {scheduler}`"
            )
        shared = client.scatter(common, broadcast=True, hash=False)
        futures = [client.submit(work, shared, task, pure=False) for task in tasks]
        for future in futures:
            yield future.result()
    except ModuleNotFoundError as error:
        raise BankError(
            f"the workers at {scheduler} lack {error.name}: install the same version of nverb there"
        ) from None
    except distributed.KilledWorker:
        raise BankError(
            f"workers at {scheduler} were killed repeatedly: too little memory there?"
        ) from None
    finally:
        with suppress_output():
            client.close()
