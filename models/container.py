"""The model file `.nvmodel`: a TFLite network, its description and vectors to verify it.

    offset  bytes  what
    0       8      "NVMODEL" and a zero byte
    8       4      format version, little-endian (1)
    12      4      length J of the description, at most MAX_DESCRIPTION
    16      32     SHA-256 of all that follows
    48      J      description, JSON in UTF-8: the fields of `Description`
    48+J    T      the network, a TFLite FlatBuffer; T = description's network_bytes, at most
                   MAX_NETWORK
    ...     4 G I  golden inputs, float32 (G, I); G = golden, I = inputs
    ...     4 P    indices of the golden outputs, uint32 (P,); P = golden_outputs
    ...     4 G P  golden outputs, float32 (G, P); the file ends here

Golden vectors come from the machine that made the file; `Network` runs them before the model is
used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import Grid
from dsp.errors import InvalidValue, first_line
from models.files import write_atomically
from models.flatbuffer import NotRead
from models.integers import Integers
from models.reading import MalformedFile, json_table, open_regular
from models.suppress import suppress_output

MAGIC = b"NVMODEL\0"
FORMAT_VERSION = 1
MAX_DESCRIPTION = 1 << 16
MAX_NETWORK = 64 << 20
MAX_VALUES = 1 << 20
MAX_GOLDEN = 64
GOLDEN_TOLERANCE = 2e-3
"""Largest mean error at the golden outputs, as a fraction of their spread. Runtimes round
differently, by far less.
"""

KINDS = ("rooms", "room encoder", "plug-in", "plug-in encoder")

_HEAD = struct.Struct("<8sII32s")
MAX_FILE = _HEAD.size + MAX_DESCRIPTION + MAX_NETWORK + 4 * MAX_VALUES


class ModelError(InvalidValue):
    """A model file that cannot be used. The message is one line and names the file."""


class NoRuntime(ModelError):
    """Neither ai-edge-litert nor tflite-runtime is installed, and `models.integers` cannot compute
    the network. The caller falls back to a bank."""


@dataclass(frozen=True)
class Description:
    """The description of a network in a model file.

    | field        | what                                                                      |
    |--------------|---------------------------------------------------------------------------|
    | kind         | "rooms": latents -> packed map (`models.measures.pack`);                  |
    |              | "room encoder": pooled levels -> latents;                                 |
    |              | "plug-in": 3 latents -> 513 x 128 values;                                 |
    |              | "plug-in encoder": 513 x 128 values -> 3 latents                          |
    | db_range     | dB that 0 .. 1 of a plug-in's output spans                                |
    | quantisation | how the weights are stored                                                |
    | repaired     | the plug-in's blip is removed when decoding                               |
    | figures      | measured at export, such as "mean_error_db" against the float network     |
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    quantisation: str
    network_bytes: int
    golden: int
    golden_outputs: int
    bands: int
    frames: int
    lowest_hz: float
    highest_hz: float
    first_frame_s: float
    duration_s: float
    db_range: float
    repaired: bool
    figures: dict[str, float]

    @property
    def grid(self) -> Grid:
        """The grid of the maps that this model decodes to."""
        return Grid(
            self.bands,
            self.frames,
            self.lowest_hz,
            self.highest_hz,
            self.first_frame_s,
            self.duration_s,
        )


_BOUNDS: dict[str, tuple[float, float]] = {
    "inputs": (1, MAX_VALUES),
    "outputs": (1, MAX_VALUES),
    "network_bytes": (16, MAX_NETWORK),
    "golden": (1, MAX_GOLDEN),
    "golden_outputs": (1, MAX_VALUES),
    "bands": (8, 256),
    "frames": (8, 1024),
    "lowest_hz": (10, 200),
    "highest_hz": (1000, 48000),
    "first_frame_s": (1e-4, 1.0),
    "duration_s": (0.1, 20.0),
    "db_range": (20, 240),
}


@dataclass(frozen=True)
class ModelFile:
    """A model file in memory: description, TFLite bytes and golden vectors."""

    description: Description
    network: bytes
    golden_inputs: NDArray[np.float32]
    golden_index: NDArray[np.uint32]
    golden_outputs: NDArray[np.float32]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the network and the description: equal for models that make equal rooms."""
        text = json.dumps(asdict(self.description), sort_keys=True).encode()
        return hashlib.sha256(text + self.network).digest()


def write(path: Path, model: ModelFile) -> None:
    """Write a model file atomically and durably. Raises OSError; an existing file stays then."""
    text = json.dumps(asdict(model.description), sort_keys=True).encode()
    parts = (
        text,
        model.network,
        model.golden_inputs.astype("<f4").tobytes(),
        model.golden_index.astype("<u4").tobytes(),
        model.golden_outputs.astype("<f4").tobytes(),
    )
    body = b"".join(parts)
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, len(text), hashlib.sha256(body).digest())
    write_atomically(path, lambda file: file.write(head + body))


def is_model(path: Path) -> bool:
    """Whether the file has a model's magic number. Raises OSError."""
    with open(open_regular(path), "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path) -> ModelFile:
    """Read and check a model file. Raises ModelError for an invalid one, OSError."""
    with open(open_regular(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise ModelError(f"{path}: too large for a model file")
        return parse(file.read(MAX_FILE + 1), str(path))


def parse(data: bytes, path: str) -> ModelFile:
    """Check and parse a model file's bytes. Messages call them `path`. Raises ModelError."""
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        raise ModelError(
            f"{path}: not an nverb model file "
            "(make one with `nverb model train` or `nverb model import`)"
        )
    _, version, length, digest = _HEAD.unpack_from(data)
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: model format {version}, this nverb reads {FORMAT_VERSION}: "
            "update nverb or export the model again"
        )
    body = memoryview(data)[_HEAD.size :]
    if length > min(MAX_DESCRIPTION, len(body)):
        raise ModelError(f"{path}: its description has {length} bytes, more than the file")
    if hashlib.sha256(body).digest() != digest:
        raise ModelError(f"{path}: damaged or truncated (checksum mismatch): copy it again")
    description = _description(path, bytes(body[:length]))
    sizes = (
        description.network_bytes,
        4 * description.golden * description.inputs,
        4 * description.golden_outputs,
        4 * description.golden * description.golden_outputs,
    )
    if length + sum(sizes) != len(body):
        raise ModelError(f"{path}: the sizes in its description do not add up to the file's")
    starts = [length + sum(sizes[:part]) for part in range(len(sizes))]
    network, inputs, index, outputs = (
        bytes(body[at : at + size]) for at, size in zip(starts, sizes, strict=True)
    )
    if network[4:8] != b"TFL3":
        raise ModelError(f"{path}: its network is not TFLite")
    golden_index = np.frombuffer(index, "<u4")
    golden_inputs = np.frombuffer(inputs, "<f4").reshape(description.golden, description.inputs)
    golden_outputs = np.frombuffer(outputs, "<f4").reshape(
        description.golden, description.golden_outputs
    )
    if golden_index.max() >= description.outputs:
        raise ModelError(f"{path}: a golden vector has an index beyond the outputs")
    if not (np.isfinite(golden_inputs).all() and np.isfinite(golden_outputs).all()):
        raise ModelError(f"{path}: a golden vector is not finite")
    return ModelFile(description, network, golden_inputs, golden_index, golden_outputs)


def _description(path: str, text: bytes) -> Description:
    try:
        found = json_table(text, f"{path}: its description")
    except MalformedFile as error:
        raise ModelError(str(error)) from None
    missing = [field.name for field in fields(Description) if field.name not in found]
    if missing:
        raise ModelError(f"{path}: its description lacks {', '.join(missing)}")
    for name, (low, high) in _BOUNDS.items():
        value = found[name]
        whole = name not in ("lowest_hz", "highest_hz", "first_frame_s", "duration_s", "db_range")
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else (int, float))
            or not low <= value <= high
        ):
            raise ModelError(
                f"{path}: {name} is {value!r:.40}; it must be "
                f"{'a whole number ' if whole else ''}from {low:g} to {high:g}"
            )
    for name in ("name", "kind", "quantisation"):
        if (
            not isinstance(found[name], str)
            or not 0 < len(found[name]) <= 80
            or not found[name].isprintable()
        ):
            raise ModelError(f"{path}: {name} must be text of 1 to 80 characters")
    if found["kind"] not in KINDS:
        raise ModelError(
            f"{path}: a model of kind {found['kind']!r}; this nverb supports {', '.join(KINDS)}"
        )
    if not isinstance(found["repaired"], bool):
        raise ModelError(f"{path}: repaired must be true or false")
    figures = found["figures"]
    if not isinstance(figures, dict) or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in figures.values()
    ):
        raise ModelError(f"{path}: figures must be numbers by name")
    return Description(**{field.name: found[field.name] for field in fields(Description)})


def runtime_package() -> str | None:
    """The package with a TFLite runtime for this Python; None on 32-bit Python 3.12 and newer.

    Python is asked, not `uname`: a 32-bit system may run on a 64-bit kernel.
    """
    if sys.maxsize > 2**32:
        return "ai-edge-litert"
    return "tflite-runtime" if sys.version_info < (3, 12) else None


def no_runtime() -> str:
    """Why there is no TFLite runtime, and the remedy."""
    package = runtime_package()
    if package is None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"no TFLite runtime exists for a 32-bit Python {version}"
    return f"no TFLite runtime here (`{Path(sys.prefix, 'bin/pip')} install {package}` brings one)"


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError:
            raise NoRuntime(no_runtime()) from None
    return Interpreter


class Network:
    """A TFLite network with one float32 input and one float32 output.

    A TFLite runtime computes it; where there is none `models.integers` does, if it can. Raises
    NoRuntime if neither can, and ModelError if the network does not match its description or its
    golden vectors.
    """

    def __init__(self, model: ModelFile, where: str) -> None:
        self._answer = _runtime(model, where)
        spread = float(np.ptp(model.golden_outputs)) or 1.0
        for given, expected in zip(model.golden_inputs, model.golden_outputs, strict=True):
            off = float(np.abs(self(given)[model.golden_index] - expected).mean())
            if not off <= GOLDEN_TOLERANCE * spread:
                raise ModelError(
                    f"{where}: this TFLite runtime does not reproduce the model's golden vectors "
                    f"(off by {off:.3g})"
                )

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """One input, float32 (inputs,) -> one output, float32 (outputs,).

        Raises ModelError if the network fails.
        """
        return self._answer(values)


def _runtime(model: ModelFile, where: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    try:
        return _TFLite(_interpreter_class(), model, where)
    except NoRuntime as none:
        try:
            integers = Integers(model.network)
        except NotRead as error:
            raise NoRuntime(f"{none}, and nverb cannot compute {where} without: {error}") from None
    about = model.description
    if (integers.inputs, integers.outputs) != (about.inputs, about.outputs):
        raise ModelError(f"{where}: its network has other sizes than its description")
    return integers


class _TFLite:
    """A batch of one, one thread."""

    def __init__(self, interpreter_class: Any, model: ModelFile, where: str) -> None:
        description = model.description
        try:
            with suppress_output():  # TFLite prints its delegate
                self._interpreter = interpreter_class(model_content=model.network, num_threads=1)
                self._interpreter.allocate_tensors()
            inputs, outputs = (
                self._interpreter.get_input_details(),
                self._interpreter.get_output_details(),
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(f"{where}: TFLite rejects its network ({first_line(error)})") from None
        for what, tensors, size in (
            ("input", inputs, description.inputs),
            ("output", outputs, description.outputs),
        ):
            if (
                len(tensors) != 1
                or tensors[0]["dtype"] is not np.float32
                or int(np.prod(tensors[0]["shape"])) != size
            ):
                raise ModelError(
                    f"{where}: its network must have one float32 {what} of {size} values"
                )
        self._in, self._out = inputs[0]["index"], outputs[0]["index"]
        self._in_shape = tuple(int(length) for length in inputs[0]["shape"])
        self._where, self._outputs = where, description.outputs

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            self._interpreter.set_tensor(
                self._in, np.asarray(values, np.float32).reshape(self._in_shape)
            )
            self._interpreter.invoke()
            result = self._interpreter.get_tensor(self._out).ravel()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{self._where}: TFLite cannot run its network ({first_line(error)})"
            ) from None
        if len(result) != self._outputs:
            raise ModelError(
                f"{self._where}: its network returns {len(result)} values, not {self._outputs}"
            )
        return cast("NDArray[np.float32]", result)
