"""Every test gets folders of its own: none touches the pedal or the banks of whoever runs them."""

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

with contextlib.suppress(ImportError):  # a board's tests run without hypothesis
    from hypothesis import HealthCheck, settings

    # How long an example takes says how busy the machine is, no more.
    settings.register_profile("nverb", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("nverb")

STUDIO_TESTS = ["bank/test_faithful.py", "models/test_plugin.py", "models/test_train.py"]
"""Marked `studio`: they need Keras, TensorFlow and librosa, which `make test-studio` installs."""
collect_ignore = (
    [] if all(map(importlib.util.find_spec, ("keras", "tensorflow", "librosa"))) else STUDIO_TESTS
)

# Processes that the tests start are a user's: PYTHONUNBUFFERED and the like of the machine that tests would hide faults.
for name in [name for name in os.environ if name.startswith("PYTHON")]:
    del os.environ[name]

# A shell starts what it puts into the background with SIGINT ignored, nohup with SIGHUP, and children inherit that: tests of how these end
# a process would wait.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# SIGTERM ends a run as Ctrl-C does, with teardown: JACK has only eight server slots per machine, and
# a leftover jackd keeps one of them.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def own_folders() -> Iterator[None]:
    runtime = Path(tempfile.mkdtemp(prefix="nverb-test-", dir="/dev/shm"))
    data = Path(tempfile.mkdtemp(prefix="nverb-test-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVERB_RUNTIME_DIR", str(runtime))
        patch.setenv("NVERB_DATA_DIR", str(data))
        patch.setenv("PYO_GUI_WX", "0")
        yield
    shutil.rmtree(runtime, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Free the places of dead JACK servers: JACK counts eight servers on a machine, and the place of
    a jackd that was killed stays taken until a server of the same name starts."""
    if hasattr(session.config, "workerinput"):
        return
    with contextlib.suppress(OSError):
        names = {path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm")}
        if not names & {"jackd", "jackdbus"}:
            os.unlink("/dev/shm/jack-shm-registry")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Live tests share one worker of pytest-xdist: one after another, the others beside them."""
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.xdist_group("live"))
