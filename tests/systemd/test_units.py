"""The units, checked offline by systemd's own tools in an installed tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_py.desk import supervisor
from systemd.install import FILES, place_files

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="apt-get install systemd"
)

SERVICES = ("nverb-jack", "nverb-audio", "nverb-control")
LIMIT = 0.9


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
    names = [f"./{path.name}" for path in sorted(units.glob("*.[mst]*")) if path.is_file()]
    assert len(names) == 7
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


@pytest.mark.parametrize("name", SERVICES)
def test_silence_before_a_kill_is_that_of_the_page_and_of_nverb_run(units: Path, name: str) -> None:
    unit = re.search(r"^WatchdogSec=([\d.]+)(ms)?$", (units / f"{name}.service").read_text(), re.M)
    assert unit
    limit_s = float(unit[1]) * (0.001 if unit[2] else 1)
    page = (Path(__file__).parents[2] / "docs/service.md").read_text()
    row = re.search(rf"^\| {name}\.service +\|[^|]*\| ([\d.]+) s ", page, re.M)
    assert row and float(row[1]) == limit_s
    child = name.removeprefix("nverb-")
    assert supervisor.WATCHDOG_S.get(child, limit_s) == limit_s


def test_every_unit_file_is_installed() -> None:
    folder = Path(__file__).parents[2] / "systemd"
    shipped = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert shipped == set(FILES)


def test_alsa_ignores_configuration_of_the_user(tmp_path: Path) -> None:
    """As the units set it; with a home that has configuration in it."""
    if shutil.which("aplay") is None:
        pytest.skip("apt-get install alsa-utils")
    (tmp_path / ".asoundrc").write_text("pcm.mine { type null }\n")
    (tmp_path / ".config/alsa").mkdir(parents=True)
    (tmp_path / ".config/alsa/asoundrc").write_text("pcm.mine2 { type null }\n")
    place_files(tmp_path)
    common = (tmp_path / "etc/systemd/system/nverb-.service.d/common.conf").read_text()
    path = re.search(r"^Environment=ALSA_CONFIG_PATH=(.*)$", common, re.MULTILINE)
    assert path is not None
    ours = path[1].replace("/etc/nverb", f"{tmp_path}/etc/nverb")
    assert ours != path[1]
    for variables, known in (({}, True), ({"ALSA_CONFIG_PATH": ours}, False)):
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]} | variables
        for name, is_known in (("mine", known), ("mine2", known), ("null", True)):
            done = subprocess.run(
                ["aplay", "-q", "-D", name, "/dev/null", "-d", "1", "-t", "raw"],
                env=environment,
                capture_output=True,
                check=False,
            )
            assert (b"Unknown PCM" in done.stderr) != is_known, (name, done.stderr)


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
