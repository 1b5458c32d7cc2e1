"""The places for installations: who keeps one, and who gives way."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from dsp.errors import UserError
from firmware_py.control import install_processes
from firmware_py.control.install_processes import IDLE_S, MAX_AT_ONCE, InstallProcesses
from firmware_py.install.activity import Activity


class Sleeper(subprocess.Popen[bytes]):
    """Knows whether it was killed: on a busy machine its end may come late."""

    was_killed = False

    def kill(self) -> None:
        self.was_killed = True
        super().kill()


class Places:
    """Install processes that only sleep, with the activity that a test says."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.uid, self.started = 1001, list[tuple[Sleeper, Activity]]()
        self._processes = InstallProcesses()
        patch.setattr(install_processes, "peer_uid", lambda _: self.uid)
        patch.setattr(install_processes, "_start", self._start)

    def _start(self, _: int, activity: Activity) -> Sleeper:
        process = Sleeper(["sleep", "1000"])
        self.started.append((process, activity))
        return process

    def add(self, uid: int, idle_s: float = 0.0) -> Sleeper:
        self.uid = uid
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._processes.start(theirs)
        process, activity = self.started[-1]
        activity._write(activity.last() - idle_s)
        return process


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    places = Places(monkeypatch)
    yield places
    for process, _ in places.started:
        process.kill()
        process.wait()


def was_killed(sleeper: Sleeper) -> bool:
    return sleeper.was_killed


def test_busy_installations_keep_their_places(places: Places) -> None:
    running = [places.add(1001) for _ in range(MAX_AT_ONCE)]
    with pytest.raises(UserError, match="installations are running"):
        places.add(1001)
    assert not any(map(was_killed, running))


def test_least_active_installation_gives_way(places: Places) -> None:
    running = [places.add(1001, idle_s=IDLE_S * (2 + n % 3)) for n in range(MAX_AT_ONCE)]
    places.add(1001)
    assert [was_killed(process) for process in running] == [False, False, True, False]


def test_finished_transfer_is_not_interrupted(places: Places) -> None:
    for _ in range(MAX_AT_ONCE):
        places.add(1001, idle_s=10 * IDLE_S)
        places.started[-1][1].complete()
    with pytest.raises(UserError):
        places.add(1001)


@pytest.mark.parametrize("uid", [0, os.getuid()])
def test_root_and_the_pedals_user_always_get_a_place(places: Places, uid: int) -> None:
    running = [places.add(1001) for _ in range(MAX_AT_ONCE)]
    assert not was_killed(places.add(uid))
    assert sum(map(was_killed, running)) == 1


def test_user_with_the_most_places_gives_one(places: Places) -> None:
    quiet = places.add(1002, idle_s=100 * IDLE_S)
    running = [places.add(1001, idle_s=2 * IDLE_S) for _ in range(MAX_AT_ONCE - 1)]
    places.add(1003)
    assert not was_killed(quiet)
    assert sum(map(was_killed, running)) == 1
