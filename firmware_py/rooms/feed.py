"""Writes to the port what plays: parameters, and the room that the controls describe.

The control process and `nverb render` use it: what modulators do is the same in both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dsp._engine import Port
from dsp.errors import reason
from firmware_py.base.log import logger
from firmware_py.link.params import engine_params
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.modulators import Modulators
from firmware_py.rooms.renderer import Lengths
from firmware_py.rooms.scenes import Scenes
from firmware_py.rooms.source import ROOM_CONTROLS, RoomSource
from models.residual import from_text

log = logger("control")
TRIAL_RATE_HZ, TRIAL_TAPS = 48000, 48000
DRIFT_S = 0.1
"""A room that no hand changes (a modulator, a glide) is replaced at most ten times a second.

More is hardly heard: when a sine of 0.2 Hz moves x over half its travel, the level of noise in each
octave, in 50 ms, differs by 0.1 dB on average, 0.8 dB at most, from that with 50 rooms a second.
Each room costs its making, so this is the one place that says how often. Oscillators from 5 Hz on
are undersampled; docs/player.md says so.
"""
DRIFT_SHARE = 1 / 3
"""Of the time, at most, that such rooms take: on a slow board they come less often."""


class RoomFeed:
    """The rooms in use, and the one that plays.

    While `lock` is on the room stays as it is. When it is turned off the room of the controls
    follows.
    """

    def __init__(
        self,
        source: RoomSource,
        reference: str,
        values: dict[str, float],
        true_stereo: str = "auto",
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`true_stereo`: the setting: "auto" (two sources at the inputs), "on" or "off". `clock`:
        how long a room takes is measured by it (default: time.perf_counter)."""
        self.source, self.reference = source, reference
        self.residual = ""
        """Of the encoded room that plays, as text; "" if it is none."""
        self.sounding = dict(values)
        """The values of the room that plays: while `lock` is on, those from before."""
        self.stale = True
        """The room of the controls is not the one that plays."""
        self.drifts = False
        """It is not, because something other than a hand moves them."""
        self.fault = ""
        """Why the last room could not be made; "" if it could."""
        self.made_in_ms = 0.0
        self.published_at = 0.0  # time.monotonic
        self.lengths = Lengths()
        """Of the last room that was made."""
        self._clock = clock or time.perf_counter
        self._true_stereo = true_stereo
        self.is_true_stereo = False
        """Rooms are made for two sources."""
        self._maker: RoomMaker | None = None
        self._lost = True  # the audio process has no room
        self._serial = 0  # of the last room in this mailbox

    def use(self, source: RoomSource, reference: str, maker: RoomMaker | None = None) -> None:
        self.source, self.reference, self._maker = source, reference, maker
        self.residual, self.stale = "", True
        log.debug("rooms: %s (%s)", source.name, reference or "those of nverb")

    def use_residual(self, residual: str) -> None:
        """Play an encoded room in these rooms; "": none. Raises ResidualError; nothing changes
        then."""
        if residual == self.residual:
            return
        if residual:
            from_text(residual)
        if self._maker is not None:
            self._maker = self._maker.of(self.source, residual)
        self.residual, self.stale = residual, True

    def use_tested(self, source: RoomSource, reference: str, values: dict[str, float]) -> None:
        """Use other rooms if the room of `values` can be made. Raises ValueError or OSError."""
        maker = self._maker.of(source) if self._maker else None
        (maker or RoomMaker(source, TRIAL_RATE_HZ, TRIAL_TAPS)).ir(values)
        self.use(source, reference, maker)

    def audio_restarted(self) -> None:
        """There is a new mailbox, without a room and maybe at another rate."""
        self._maker = None
        self._serial = 0
        self.stale = self._lost = True
        log.debug("new mailbox: the audio process has started")

    def follow_inputs(self, port: Port) -> None:
        """Make rooms for as many sources as there are. Call it often.

        What rooms for two sources need is made in idle time before the change. The audio process
        fades between rooms of two and of four channels as between any two rooms.
        """
        wanted = self._true_stereo == "on" or (
            self._true_stereo == "auto" and self._has_two_sources(port)
        )
        wanted = wanted and port.inputs == 2
        if wanted == self.is_true_stereo:
            return
        if wanted and self._maker is not None and not self._maker.prepare_true_stereo():
            return
        self.is_true_stereo, self.stale = wanted, True
        if self._maker is not None:
            self._maker.is_true_stereo = wanted
        log.debug("rooms for %d sources", 2 if wanted else 1)

    def _has_two_sources(self, port: Port) -> bool:
        """A new audio process that has not heard one input alone changes nothing: what played
        comes back."""
        meters = port.meters()
        return bool(meters.two_sources) or (self.is_true_stereo and not meters.input_feed)

    def prepare(self) -> None:
        """Use idle time for work that later rooms need. Does nothing while a room is due."""
        if self._maker is not None and not (self.stale or self.drifts):
            self._maker.prepare()

    def work(self, port: Port, values: dict[str, float], now: float) -> None:
        """Make the room of `values` if it is due. now: time.monotonic().

        A room that waits for the end of a crossfade is not replaced at each turn of a knob. The
        next one is made when it has started to play, from the values of that moment.
        """
        if self._maker is None:
            self.follow_inputs(port)  # the first room is the one that plays, if one does
        if self.drifts and now - self.published_at >= max(
            DRIFT_S, self.made_in_ms / 1000 / DRIFT_SHARE
        ):
            self.stale = True
        if not self.stale or (values["lock"] and not self._lost):
            return
        timeout_s = 2 * values["fade"] / 1000 + 0.5
        if port.meters().playing_serial >= self._serial or now - self.published_at > timeout_s:
            self._publish(port, values, now)

    def _publish(self, port: Port, values: dict[str, float], now: float) -> None:
        begun = self._clock()
        locked = bool(values["lock"])  # a new audio process gets the locked room again
        wanted = self.sounding if locked else values
        try:
            if self._maker is None:
                self._maker = RoomMaker(
                    self.source, port.rate_hz, port.max_taps, port.inputs, self.residual
                )
                self._maker.is_true_stereo = self.is_true_stereo
                if self._maker.remark:
                    log.info(f"{self.source.name}: {self._maker.remark}")
                begun = self._clock()
            fingerprint = self._maker.fingerprint(wanted)
            if fingerprint != port.newest_room():  # else the previous control process wrote it
                made = self._maker.room(wanted)
                self.lengths = made.lengths(port.rate_hz)
                self._serial = port.load_ir(made.ir, fingerprint, made.late)
                place = {name: round(wanted[name], 2) for name in ("x", "y", "z")}
                took_ms = 1000 * (self._clock() - begun)
                log.debug("room %d at %s made in %.1f ms", self._serial, place, took_ms)
            self.sounding = dict(wanted)
            self.fault = ""
        except (ValueError, OSError, MemoryError) as error:
            if str(error) != self.fault:
                self.fault = str(error)
                log.warning(f"cannot make this room, the last one plays on: {reason(error)}")
        self.stale, self._lost, self.drifts = locked, False, False
        self.published_at = now
        self.made_in_ms = 1000 * (self._clock() - begun)


def play(
    port: Port,
    values: dict[str, float],
    now: float,
    *,
    scenes: Scenes,
    modulators: Modulators,
    rooms: RoomFeed | None,
    is_stale: bool,
) -> None:
    """Write what plays of the values, as modulators move them, if it is due. Call it often.

    values: as set. now: time.monotonic(). rooms: None for one that stays. is_stale: the parameters
    of the values are not those of the port.
    """
    changed = modulators.step(values, scenes, port, now, is_due=is_stale)
    playing = values | modulators.moved if modulators.moved else values
    if is_stale or changed:
        port.set_params(engine_params(playing))
    if rooms is not None:
        rooms.drifts |= not changed.isdisjoint(ROOM_CONTROLS)
        rooms.work(port, playing, now)
