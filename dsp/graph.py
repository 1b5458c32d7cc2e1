"""The pyo graph around the C engine's three callables; built once, before audio starts.

    Input -> TableFill -> [engine.process] -> TableScan (wet) -+
                               |                               v
                               +------------> TableScan (dry) -+-> TableFill -> [engine.finish]
                                                                                      |
                                                                                      v
                                                                              TableScan -> out

pyo runs its objects in the order of their creation, so each block passes the complete graph without
additional latency. Imports pyo only, and NumPy offline. Called by the audio process, and offline by
the renderer and the tests.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
from typing import TYPE_CHECKING, Any

from dsp import _engine
from dsp.pyo_parts import load

pyo = load()

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


class Graph:
    """The objects of the signal path on a booted pyo server. Keeps references to them: pyo does
    not."""

    def __init__(self, port: _engine.Port) -> None:
        """`port`: of the server's block size and rate. Raises ValueError if it does not fit. Call
        before audio starts."""
        frames, inputs = port.block_frames, port.inputs
        tables = {
            name: pyo.DataTable(size=frames, chnls=channels)
            for name, channels in (
                ("inputs", inputs),
                ("wet", 2),
                ("dry", 2),
                ("mixed", 2),
                ("out", 2),
            )
        }
        views = {
            name: [table.getBuffer(c) for c in range(len(table))] for name, table in tables.items()
        }
        self.engine = _engine.Engine(port, **views)
        # The order of these lines is the order of processing in each block.
        begin = _each_block(self.engine.begin)
        raw = pyo.Input(list(range(inputs)))
        fill = pyo.TableFill(raw, tables["inputs"])
        process = _each_block(self.engine.process)
        wet = pyo.TableScan(tables["wet"])
        mixed = pyo.TableScan(tables["dry"], add=wet)
        monitor = pyo.TableFill(mixed, tables["mixed"])
        finish = _each_block(self.engine.finish)
        out = pyo.TableScan(tables["out"]).out()
        self._objects = (tables, begin, raw, fill, process, wet, mixed, monitor, finish, out)


def _each_block(callback: _engine.Callback) -> object:
    """Makes pyo call it at this point of each block. pyo's own wrapper would add a weak reference
    and a Python call."""
    caller = pyo.CallAlways_base(callback, None)
    caller.play()
    return caller


def jack_server(client: str, inputs: int) -> Any:
    """A pyo server for JACK, not yet booted. `boot()` does not raise: check `getIsBooted()`. Its
    ports stay unconnected."""
    server = pyo.Server(
        sr=48000,
        nchnls=2,
        ichnls=inputs,
        buffersize=128,
        audio="jack",
        jackname=client,
        verbosity=1,
    )
    server.deactivateMidi()
    server.setJackAuto(False, False)
    return server


def settle_memory() -> None:
    """Collects garbage once and then disables the collector. Call after the graph is built, before
    audio starts."""
    gc.collect()
    gc.freeze()
    gc.disable()


class OfflineGraph:
    """The same graph on a manually driven server: block in, block out, no sound card. One at a time
    in a process."""

    def __init__(
        self,
        *,
        rate_hz: int,
        block_frames: int,
        max_taps: int,
        inputs: int = 2,
        ir_channels: int = 4,
    ) -> None:
        layout = _engine.plan(_engine.engine_frames(block_frames), max_taps, inputs)
        self._memory = mmap.mmap(-1, _engine.port_bytes(layout, ir_channels))
        self.port = _engine.Port(
            self._memory,
            layout=layout,
            ir_channels=ir_channels,
            rate_hz=rate_hz,
            block_frames=block_frames,
        )
        self.server = pyo.Server(
            sr=rate_hz,
            nchnls=2,
            ichnls=inputs,
            buffersize=block_frames,
            duplex=1,
            audio="manual",
            verbosity=1,
        )
        self.server.boot()
        self._input = _at(self.server.getInputAddr(), block_frames, inputs)
        self._output = _at(self.server.getOutputAddr(), block_frames, 2)
        self._scaled, self._gain = self._output.copy(), _server_gain(rate_hz)
        self._graph: Graph | None = None

    def start(self, settle_s: float = 0.02) -> None:
        """Builds the graph with the port's parameters and IR, and runs silence through it until the
        server's fade-in and the first IR's crossfade are over."""
        self._graph = Graph(self.port)
        self.server.start()
        blocks = int(settle_s * self.port.rate_hz / self.port.block_frames) + 2
        self._input[:] = 0
        for _ in range(blocks):
            self.server.process()
        for _ in range(int(10 * self.port.rate_hz / self.port.block_frames)):
            self.server.process()
            if not self.port.meters().fading:
                break

    def route(self, *, automatic_inputs: bool, mono_output: bool = False) -> None:
        """See dsp/sides.h. Call after `start`."""
        assert self._graph is not None
        self._graph.engine.route(automatic_inputs, mono_output)

    def process(self, block: Floats) -> Floats:
        """One block (block_frames, inputs) -> (block_frames, 2), a view that the next call
        overwrites."""
        self._input[:] = block
        self.server.process()
        self._scaled[:] = self._output / self._gain
        return self._scaled

    def close(self) -> None:
        self.server.stop()
        self.server.shutdown()


def _server_gain(rate_hz: int) -> np.float32:
    """The gain after the server's fade-in of 5 ms, which adds up equal steps in float32: not
    exactly 1, -104 dB off at 96 kHz."""
    import numpy as np

    steps, gain = int(0.005 * rate_hz), np.float32(0)
    for _ in range(steps):
        gain += np.float32(1 / steps)
    return gain


def _at(address: str, frames: int, channels: int) -> Floats:
    """A view of the server's interleaved buffer; pyo gives its address as hexadecimal text."""
    import numpy as np  # not at the top: the audio process must not load NumPy (50 MB)

    array = (ctypes.c_float * (frames * channels)).from_address(int(address, 16))
    return np.ctypeslib.as_array(array).reshape(frames, channels)
