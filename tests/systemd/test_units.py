"""The units, checked offline by systemd's own tools in an installed tree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from systemd.install import FILES, place_files

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="apt-get install systemd"
)

SERVICES = ("nverb-jack", "nverb-audio", "nverb-control")
LIMIT = 1.0


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installed tree's units; their programs exist."""
    root = tmp_path_factory.mktemp("root")
    place_files(root)
    program = root / "nverb"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    folder = root / "etc/systemd/system"
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace("/opt/nverb/current/bin/nverb", str(program)))
    return folder


def test_systemd_verify_reports_nothing(units: Path) -> None:
    names = [f"./{path.name}" for path in sorted(units.glob("*.[st]*")) if path.is_file()]
    assert len(names) == 6
    # Without this option an unknown key is a warning and the exit status 0.
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names],
        cwd=units,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_systemd_verify_detects_unknown_key(units: Path, tmp_path: Path) -> None:
    unit = tmp_path / "nverb-audio.service"
    unit.write_text((units / unit.name).read_text().replace("WatchdogSec", "WatchDogSec"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"./{unit.name}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0


@pytest.mark.parametrize("name", SERVICES)
def test_exposure_of_services_is_below_limit(units: Path, name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--json=short", f"./{name}.service"],
        cwd=units,
        capture_output=True,
        text=True,
        check=False,
    )
    exposed = [
        row["name"] for row in json.loads(done.stdout) if row["exposure"] not in (None, "", "0")
    ]
    report = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"./{name}.service"],
        cwd=units,
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", report.stdout)
    assert found is not None, report.stdout
    assert float(found[1]) <= LIMIT, exposed


def test_every_unit_file_is_installed() -> None:
    folder = Path(__file__).parents[2] / "systemd"
    shipped = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert shipped == set(FILES)


def test_no_unit_waits_for_the_network(units: Path) -> None:
    for unit in units.rglob("*"):
        if unit.is_file():
            for key, words in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
                assert key not in ("After", "Wants", "Requires") or "network" not in words, unit


def test_install_outside_prefix_is_rejected_with_remedy() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", "service", "install", "--root", "/nonexistent"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.returncode == 1 and "sudo make install" in done.stderr and done.stderr.count("\n") == 1
    )
    assert not Path("/nonexistent").exists()
