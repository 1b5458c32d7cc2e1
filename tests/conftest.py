"""Tests use folders of their own, so they never touch the user's pedal or banks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from shared_noise import SharedNoise

from dsp.noise import keep_in

with contextlib.suppress(ImportError):  # a board's tests run without hypothesis
    from hypothesis import HealthCheck, settings

    # The duration of an example depends only on the load of the machine.
    settings.register_profile("nverb", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("nverb")

STUDIO_TESTS = ["bank/test_faithful.py", "models/test_plugin.py", "models/test_train.py"]
"""Marked `studio`: they need Keras, TensorFlow and librosa, which `make test-studio` installs."""
collect_ignore = (
    [] if all(map(importlib.util.find_spec, ("keras", "tensorflow", "librosa"))) else STUDIO_TESTS
)

# The tests start processes as a user does. PYTHONUNBUFFERED and the like would hide faults.
for name in [name for name in os.environ if name.startswith("PYTHON")]:
    del os.environ[name]

# A shell starts background jobs with SIGINT ignored, nohup with SIGHUP, and children inherit that:
# tests that end a process with these signals would hang.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# SIGTERM ends a run as Ctrl-C does, with teardown, so that no jackd remains: JACK has only eight
# server slots per machine.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_noise(tmp_path_factory: pytest.TempPathFactory) -> SharedNoise:
    """Of all workers of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    return SharedNoise((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "noise")


@pytest.fixture(autouse=True, scope="module")
def own_folders(request: pytest.FixtureRequest, shared_noise: SharedNoise) -> Iterator[None]:
    """Of each module: the order of the modules, which differs, has no effect.

    A module with MAKES_NOISE = True starts without noise of others.
    """
    runtime = Path(tempfile.mkdtemp(prefix="nverb-test-", dir="/dev/shm"))
    data = Path(tempfile.mkdtemp(prefix="nverb-test-"))
    makes_noise = getattr(request.module, "MAKES_NOISE", False)
    is_live = request.node.get_closest_marker("live") is not None
    keep_in(None if makes_noise else shared_noise)
    if is_live and not makes_noise:
        shared_noise.lend(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVERB_RUNTIME_DIR", str(runtime))
        patch.setenv("NVERB_DATA_DIR", str(data))
        patch.setenv("PYO_GUI_WX", "0")
        yield
    if is_live:
        shared_noise.collect(data)
    shutil.rmtree(runtime, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Free the slots of dead JACK servers.

    JACK has eight slots per machine, and a killed jackd keeps its slot until a server of the same
    name starts.
    """
    if hasattr(session.config, "workerinput"):
        return
    with contextlib.suppress(OSError):
        names = {path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm")}
        if not names & {"jackd", "jackdbus"}:
            os.unlink("/dev/shm/jack-shm-registry")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes for `-n auto`: one for each core, and one for the live tests, which mostly wait."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put live tests on one worker of pytest-xdist, where they run one after another.

    Those that install run last: a running pedal does it at low priority, and beside other tests it
    takes ten times as long.
    """
    items.sort(key=lambda item: "install" in item.path.parts and "live" in item.keywords)
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.xdist_group("live"))
