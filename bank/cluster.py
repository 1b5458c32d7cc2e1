"""Distributes tasks over this machine's cores or the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import importlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from bank.format import BankError
from dsp.errors import InvalidValue, first_line
from models.packages import studio_import
from models.suppress import suppress_output
from models.workers import on_all_cores

CONNECT_S = 10.0
WORKERS_S = 60.0
"""Without any worker for so long, or without a scheduler, a build gives up."""
POLL_S = 2.0
GREETING_S = 5.0
"""A Dask scheduler speaks first. Whatever is silent for so long is something else."""
PROTOCOL = 2
"""Of the functions that workers call: raised when they, or what they return, change."""


def distribute(
    work: Callable[[Any, Any], Any], common: Any, tasks: Sequence[Any], scheduler: str | None = None
) -> Iterator[Any]:
    """Yields `work(common, task)` for each task, in their order.

    The tasks run on all cores of this machine or on the workers of the Dask scheduler at
    `scheduler`. `work` must be a function of a module that the workers can import; its exceptions
    are raised here. Workers of the cluster may come and go. Raises BankError if no scheduler
    answers, if it goes away or if no worker is left; WorkerLost if a worker of this machine is
    killed.
    """
    if scheduler is None:
        yield from on_all_cores(work, common, tasks)
    else:
        yield from _on_cluster(work, common, tasks, scheduler)


def can_run(function: tuple[str, str]) -> int:
    """What the workers run: another version of nverb has another number, or lacks the function.

    Looked up by name: a worker that cannot unpickle a function ends, and says nothing.
    """
    module, name = function
    getattr(importlib.import_module(module), name)
    return PROTOCOL


def identity(value: Any) -> Any:
    """A task that a cluster can repeat: what a lost worker had can be computed again."""
    return value


def _on_cluster(
    work: Callable[[Any, Any], Any], common: Any, tasks: Sequence[Any], scheduler: str
) -> Iterator[Any]:
    distributed = studio_import("distributed")
    _require_scheduler(scheduler)
    client = _connected(distributed, scheduler)
    done = 0
    try:
        if not client.scheduler_info()["workers"]:
            raise BankError(
                f"the Dask scheduler at {scheduler} has no workers: "
                f"start some with `dask worker {scheduler}`"
            )
        _require_version(client, scheduler, (work.__module__, work.__name__))
        shared = client.submit(identity, common, pure=False)
        futures = [client.submit(work, shared, task, pure=False) for task in tasks]
        for future in futures:
            yield _result(client, future, scheduler)
            done += 1
            future.release()
    except distributed.KilledWorker:
        raise BankError(
            f"workers at {scheduler} were killed repeatedly: too little memory there?"
        ) from None
    except _Gone as gone:
        raise BankError(
            f"{gone} after {done} of {len(tasks)} tasks; start it and run the same command again: "
            "it goes on from there"
        ) from None
    finally:
        _close(client)


class _Gone(Exception):
    """The scheduler, or all its workers."""


def _require_scheduler(address: str) -> None:
    """Raises BankError unless something at the address speaks as a Dask scheduler does."""
    parts = urlsplit(address if "//" in address else f"tcp://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise BankError(f"{address}: is no address of a scheduler; write tcp://HOST:8786")
    try:
        with socket.create_connection((host, port), CONNECT_S) as there:
            there.settimeout(GREETING_S)
            speaks = parts.scheme != "tcp" or bool(there.recv(1))
    except TimeoutError:
        speaks = False
    except OSError as error:
        raise BankError(
            f"no Dask scheduler answers at {address} ({error.strerror or error})"
        ) from None
    if not speaks:
        raise BankError(
            f"what answers at {address} is no Dask scheduler; its port is 8786, that of its web "
            "page 8787"
        )


def _connected(distributed: Any, scheduler: str) -> Any:
    """A client. In a thread of its own: no wait of the library is without an end here."""
    made: list[Any] = []

    def connect() -> None:
        try:
            made.append(distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False))
        except Exception as error:  # whatever the library says, it is no connection
            made.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    with suppress_output():
        thread.start()
        thread.join(2 * CONNECT_S)
    if not made or isinstance(made[0], Exception):
        reason = first_line(made[0]) if made else f"no answer in {2 * CONNECT_S:g} s"
        raise BankError(f"no Dask scheduler answers at {scheduler} ({reason})")
    return made[0]


def _require_version(client: Any, scheduler: str, function: tuple[str, str]) -> None:
    """Raises BankError unless a worker can run this version's functions."""
    try:
        theirs = client.submit(can_run, function, pure=False).result(timeout=WORKERS_S)
    except TimeoutError:
        raise BankError(f"no worker at {scheduler} answers; look at their logs") from None
    except Exception as error:
        if isinstance(error, OSError):
            raise BankError(f"{scheduler}: {first_line(error)}") from None
        theirs = first_line(error)
    if theirs != PROTOCOL:
        raise BankError(
            f"the workers at {scheduler} cannot run this nverb's work (their answer: {theirs}): "
            "install the same version of nverb there"
        )


def _result(client: Any, future: Any, scheduler: str) -> Any:
    """The result of a task. Raises its exception, or _Gone."""
    lonely_since = None
    while True:
        try:
            return future.result(timeout=POLL_S)
        except TimeoutError:
            pass
        except InvalidValue:
            raise
        except Exception as error:
            if future.status == "error" and type(error).__name__ not in _LOST:
                raise
            raise _Gone(f"the Dask scheduler at {scheduler} went away") from None
        now_s = time.monotonic()
        workers = 0
        if client.status == "running":
            with contextlib.suppress(Exception):
                workers = len(client.scheduler_info()["workers"])
        if workers:
            lonely_since = None
        elif lonely_since is None:
            lonely_since = now_s
        elif now_s - lonely_since > WORKERS_S:
            raise _Gone(f"the Dask scheduler at {scheduler} or all its workers went away")


_LOST = ("CancelledError", "FutureCancelledError", "CommClosedError", "FuturesCancelledError")


def _close(client: Any) -> None:
    """Close the client; what hangs ends with the process."""
    with suppress_output():
        thread = threading.Thread(target=lambda: client.close(timeout=CONNECT_S), daemon=True)
        thread.start()
        thread.join(CONNECT_S)
