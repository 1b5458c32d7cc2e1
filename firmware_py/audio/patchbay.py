"""Connects the engine to the card's ports as the settings `inputs` and `outputs` say.

What cannot be connected is a fault: logged, and written for the control process. When JACK gets new
ports it looks again. It connects each pair of ports once, so that a user may connect otherwise; a
card that was away has new ports, even if nobody has looked meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from firmware_py.base.log import logger
from firmware_py.base.port_names import engine_inputs, ports_of
from firmware_py.link.connections import AudioConnections, write_connections

log = logger("audio")


class PortSystem(Protocol):
    """What is needed of JACK; see `SecondClient`."""

    def capture_ports(self) -> list[str]: ...

    def playback_ports(self) -> list[str]: ...

    def identity(self, port: str) -> str:
        """Differs for each time that a port of this name is made; "" if there is none."""

    def connect(self, source: str, target: str) -> bool: ...


class Router(Protocol):
    """What is needed of the engine."""

    def route(self, automatic_inputs: bool, mono_output: bool) -> None: ...


class Patchbay:
    """Keeps the ports of the JACK client `client` connected. Main thread of the audio process."""

    def __init__(
        self,
        jack: PortSystem,
        client: str,
        inputs: str,
        outputs: str,
        *,
        connect: bool,
    ) -> None:
        """inputs, outputs: values of the settings, see firmware_py.base.port_names. `connect`
        False: others connect the ports."""
        self._jack, self._client = jack, client
        self._inputs, self._outputs = inputs, outputs
        self._connect = connect
        self._made: dict[tuple[str, str], list[str]] = {}
        """The connected ports by name, and their identities."""
        self._reported: AudioConnections | None = None
        self._engine: Router | None = None

    def route(self, engine: Router) -> None:
        """Tell the engine what it is connected to, now and at each change. Call after `look`."""
        self._engine = engine
        if self._reported is not None:
            engine.route(self._reported.automatic, self._reported.mono)

    def look(self) -> None:
        """Connect what is not connected yet, and report what has changed."""
        plan = self._plan()
        pairs = [
            (port, f"{self._client}:input_{number}")
            for number, ports in enumerate(plan.inputs, 1)
            for port in ports
        ] + [
            (f"{self._client}:output_{number}", port)
            for number, ports in enumerate(plan.outputs, 1)
            for port in ports
        ]
        there = {pair: [self._jack.identity(port) for port in pair] for pair in pairs}
        # PipeWire's news of our own ports may come later than those of the card.
        ready = [pair for pair in pairs if all(there[pair])]
        new = [pair for pair in ready if there[pair] != self._made.get(pair)]
        refused = [pair for pair in new if not self._jack.connect(*pair)]
        self._made = {pair: there[pair] for pair in ready if pair not in refused}
        faults = [
            f"JACK did not connect {source} to {target}: `jack_lsp -c` shows what is"
            for source, target in refused
        ]
        report = AudioConnections(
            plan.inputs, plan.outputs, plan.automatic, plan.mono, (*plan.faults, *faults)
        )
        if self._engine is not None and (new or report != self._reported):
            self._engine.route(report.automatic, report.mono)
        if report != self._reported:
            known = self._reported.faults if self._reported else ()
            for fault in report.faults:
                if fault not in known:
                    log.warning(fault)
            write_connections(report)
            self._reported = report

    def _plan(self) -> AudioConnections:
        if not self._connect:
            return AudioConnections(automatic=self._inputs == "auto", mono=self._outputs == "mono")
        capture, playback = self._jack.capture_ports(), self._jack.playback_ports()
        faults: list[str] = []
        inputs = self._chosen("input", self._inputs, capture, faults)
        outputs = self._chosen("output", self._outputs, playback, faults)
        both_in = inputs if len(inputs) == 2 else inputs * 2
        if engine_inputs(self._inputs) == 1:
            sources: tuple[tuple[str, ...], ...] = (tuple(inputs),)
        else:
            sources = tuple((port,) if port else () for port in both_in) or ((), ())
        targets = tuple((port,) if port else () for port in [*outputs, "", ""][:2])
        mono = self._outputs == "mono" or len(outputs) == 1
        return AudioConnections(sources, targets, self._inputs == "auto", mono, tuple(faults))

    def _chosen(self, kind: str, value: str, there: Sequence[str], faults: list[str]) -> list[str]:
        """The ports for a setting, one or two; none if the card has none, "" for a missing one of
        two."""
        names = ports_of(value)
        found: list[str] = []
        for name in names:
            if name.isdecimal():
                found.append(there[int(name) - 1] if int(name) <= len(there) else "")
            else:
                found.append(name if self._jack.identity(name) else "")
            if not found[-1]:
                faults.append(_missing(kind, name, value, there))
        if names:
            return found if len(names) == 2 else [port for port in found if port]
        if not there:
            faults.append(_missing(kind, "", value, there))
        elif value == "stereo" and len(there) == 1:
            faults.append(_missing(kind, "2", value, there))
        return list(there[:2])


def _missing(kind: str, name: str, value: str, there: Sequence[str]) -> str:
    """The text of a fault."""
    if not there and not name:
        return (
            f"the card has no {kind}: connect one that has, "
            f"or name a port, `nverb settings set {kind}s=CLIENT:PORT`"
        )
    what = f"no {kind} {name}" if name.isdecimal() else f"no JACK port {name}"
    return (
        f"{kind}s={value}: {what}; there {'is' if len(there) == 1 else 'are'} "
        f"{', '.join(there) or 'none'}: `nverb settings set {kind}s=auto`, "
        "or another number or name"
    )
