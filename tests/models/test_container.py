"""Unusable model files: one line of error each, and the pedal keeps its rooms."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dense_model
import numpy as np
import pytest

from device.controls import defaults
from firmware_py.cli import main
from firmware_py.control import report
from firmware_py.control.pedal import Pedal
from firmware_py.rooms.source import find_source
from models import container, reference
from models.decoder import Decoder

Bytes = Callable[[bytes], bytes]


def _model(path: Path, inputs: int = 3) -> None:
    """A model of one dense layer, `inputs` to 513 x 128."""
    rng = np.random.default_rng(1)
    kernel = 0.1 * rng.standard_normal((inputs, reference.BINS * reference.FRAMES))
    dense_model.write(path, kernel, np.full(kernel.shape[1], 0.5), rng.uniform(-2, 2, (4, inputs)))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "good.nvmodel"
    _model(path)
    return path


def sealed(data: bytes) -> bytes:
    """Set the valid checksum."""
    return data[:16] + hashlib.sha256(data[48:]).digest() + data[48:]


def described(change: Callable[[dict[str, Any]], object]) -> Bytes:
    def make(data: bytes) -> bytes:
        length = int.from_bytes(data[12:16], "little")
        description = json.loads(data[48 : 48 + length])
        change(description)
        text = json.dumps(description).encode()
        return sealed(
            data[:12] + struct.pack("<I", len(text)) + data[16:48] + text + data[48 + length :]
        )

    return make


def network(change: Bytes) -> Bytes:
    def make(data: bytes) -> bytes:
        start = 48 + int.from_bytes(data[12:16], "little")
        size = json.loads(data[48:start])["network_bytes"]
        return sealed(data[:start] + change(data[start : start + size]) + data[start + size :])

    return make


def golden(data: bytes) -> bytes:
    return sealed(data[:-4000] + np.full(1000, 0.25, "<f4").tobytes())


CASES: dict[str, tuple[Bytes, str]] = {
    "cut short": (lambda data: data[:-1000], "damaged or truncated"),
    "cut to its head": (lambda data: data[:48], "more than the file"),
    "cut within the head": (lambda data: data[:20], "not an nverb model file"),
    "one bit": (
        lambda data: data[:9000] + bytes([data[9000] ^ 1]) + data[9001:],
        "damaged or truncated",
    ),
    "newer": (
        lambda data: data[:8] + struct.pack("<I", 2) + data[12:],
        "model format 2, this nverb reads 1: update",
    ),
    "not TFLite": (network(lambda one: b"\x1c\0\0\0ONNX" + one[8:]), "not TFLite"),
    "TFLite in name only": (
        network(lambda one: one[:8] + bytes(len(one) - 8)),
        "TFLite rejects its network",
    ),
    "missing field": (described(lambda about: about.pop("db_range")), "lacks db_range"),
    "another kind": (
        described(lambda about: about.update(kind="rooms of tomorrow")),
        "a model of kind",
    ),
    "sizes that overflow": (
        described(lambda about: about.update(network_bytes=2**63)),
        "network_bytes: has a number that is too large",
    ),
    "sizes that do not fit": (described(lambda about: about.update(golden=3)), "do not add up"),
    "wrong inputs": (
        described(lambda about: about.update(inputs=2, golden=3)),
        "add up|wrong shape",
    ),
    "text for a number": (described(lambda about: about.update(frames="128")), "frames is '128'"),
    "not a number": (
        described(lambda about: about.update(duration_s=float("nan"))),
        "duration_s = nan: is not a number",
    ),
    "other answers": (golden, "does not reproduce"),
}


@pytest.mark.parametrize("case", CASES)
def test_commands_reject_unusable_model_and_change_nothing(
    case: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = CASES[case]
    bad = tmp_path / "bad.nvmodel"
    bad.write_bytes(change(good.read_bytes()))
    bank = tmp_path / "rooms.nvbank"
    bank.write_bytes(b"the bank that was there")
    for arguments in (
        ["model", "info", str(bad)],
        ["model", "decode", str(bad), "--z", "0", "0", "0", "-o", str(tmp_path / "map.npy")],
        ["bank", "build", "--model", str(bad), "--grid", "2", "-o", str(bank)],
        ["bank", "map", str(tmp_path / "cube.png"), "--bank", str(bad)],
    ):
        assert main(arguments) == 1, arguments
        error = capsys.readouterr().err
        assert (
            error.startswith(f"nverb {arguments[0]} {arguments[1]}: ") and error.count("\n") == 1
        ), error
        assert re.search(message, error), error
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bad.nvmodel", "rooms.nvbank"]
    assert bank.read_bytes() == b"the bank that was there"


@pytest.mark.parametrize("case", CASES)
def test_pedal_keeps_its_room_after_unusable_model(case: str, good: Path, tmp_path: Path) -> None:
    pedal = Pedal(defaults(), Decoder.open(good), str(good))
    bad = tmp_path / "bad.nvmodel"
    bad.write_bytes(CASES[case][0](good.read_bytes()))
    before = report.status(pedal)["room"]
    with pytest.raises(ValueError, match=r"bad\.nvmodel"):
        pedal.use_bank(str(bad))
    assert report.status(pedal)["room"] == before and before["bank"] == "dense"


def test_decode_rejects_network_of_wrong_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _model(tmp_path / "four.nvmodel", inputs=4)
    assert (
        main(
            [
                "model",
                "decode",
                str(tmp_path / "four.nvmodel"),
                "--z",
                "0",
                "0",
                "0",
                "-o",
                str(tmp_path / "map.npy"),
            ]
        )
        == 1
    )
    assert "the wrong shape for its kind" in capsys.readouterr().err
    assert not (tmp_path / "map.npy").exists()


def test_failed_write_keeps_old_model(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.nvmodel"
    path.write_bytes(good.read_bytes())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        container.write(path, container.read(good))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == good.read_bytes() and list(tmp_path.iterdir()) == [path]


def test_plain_name_is_found_in_the_data_folder(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "plug.nvmodel").write_bytes(good.read_bytes())
    assert main(["model", "info", "plug"]) == 0
    assert "golden vectors met" in capsys.readouterr().out


CRASH = """
import signal
class Interpreter:
    def __init__(self, **_):
        {what}
"""


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("signal.raise_signal(signal.SIGSEGV)", "crashes TFLite (SIGSEGV)"),
        ("raise MemoryError", "crashes TFLite (SIGKILL)"),
        ("while True: pass", "does not finish"),
    ],
)
def test_crashing_network_ends_only_the_child(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    message: str,
) -> None:
    """With a runtime, in children only, that crashes, takes all memory or hangs on every
    network.
    """
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(CRASH.format(what=what))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if "while" in what:
        monkeypatch.setattr("models.probe.SECONDS", 1)
    assert (
        main(["model", "decode", str(good), "--z", "0", "0", "0", "-o", str(tmp_path / "map.npy")])
        == 1
    )
    error = capsys.readouterr().err
    assert (
        message in error
        and error.startswith(f"nverb model decode: {good}: ")
        and error.count("\n") == 1
    )
    with pytest.raises(container.ModelError):
        find_source(good)
    find_source(good, trusted=True)  # a slot of the store, tested at its installation
