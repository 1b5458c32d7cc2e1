"""Decoder and encoder runtimes: NumPy and a TFLite runtime only. Used in the control process.

A decoder gives the room at x, y, z. The plug-in's decoder, imported by `nverb model import`, has
the same interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import FLOOR_DB, EnergyMap
from dsp.errors import InvalidValue
from models import container, measures, probe, reference
from models.container import Description, ModelError, ModelFile, Network, NoRuntime
from models.files import SHIPPED
from models.latent import KNOBS, LATENT_HIGH, LATENT_LIMIT, LATENTS

__all__ = ["SHIPPED", "Decoder", "Encoder", "ModelError", "NoRuntime", "PluginEncoder"]

NO_DIRECT_DB = -45.0
"""A decoded direct sound below this, relative to the energy of the room, is dropped."""


def _read(path: Path, trusted: bool = False) -> ModelFile:
    model = container.read(path)
    if not trusted and path.resolve().parent != SHIPPED.resolve():
        probe.prove(path)
    return model


class Decoder:
    """A room source: `energy_map(x, y, z)` from a network. Not thread-safe."""

    def __init__(self, description: Description, network: Network, digest: bytes) -> None:
        self.description, self._network = description, network
        self.name, self.digest = description.name, digest
        self._grid = description.grid

    @classmethod
    def open(
        cls, path: Path | str = SHIPPED / "decoder.nvmodel", *, trusted: bool = False
    ) -> Decoder:
        """Open and verify a model file. Raises ModelError (NoRuntime without a TFLite runtime),
        OSError.

        `trusted`: the file was opened before, as slots of the store are at installation. Other
        files are opened in a child process first.
        """
        return cls.of(_read(Path(path), trusted), str(path))

    @classmethod
    def of(cls, model: ModelFile, path: str) -> Decoder:
        """The decoder of a model file that was read from `path`. Raises ModelError."""
        description = model.description
        if description.kind not in ("rooms", "plug-in"):
            raise ModelError(f"{path}: a model of kind {description.kind!r}, not a room decoder")
        if description.kind == "rooms":
            fits = description.inputs == LATENTS and description.outputs == description.bands * (
                description.frames + 1
            )
        else:
            fits = (
                description.inputs == 3 and description.outputs == reference.BINS * reference.FRAMES
            )
        if not fits:
            raise ModelError(
                f"{path}: {description.inputs} latents to {description.outputs} values "
                "is the wrong shape for its kind"
            )
        return cls(description, Network(model, path), model.digest)

    @property
    def colours(self) -> int:
        """The number of colour latents, after X, Y and Z."""
        return self.description.inputs - KNOBS

    def decode(self, latent: Sequence[float] | NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's raw output, float32 (outputs,), at a latent (inputs,).

        A packed map in dB, or the plug-in's 513 * 128 values.
        """
        point = np.clip(np.asarray(latent, np.float32), -LATENT_LIMIT, LATENT_LIMIT)
        if point.shape != (self.description.inputs,):
            raise ValueError(
                f"the model {self.name} has {self.description.inputs} latents, not {point.size}"
            )
        return self._network(point)

    def picture(self, latent: Sequence[float]) -> NDArray[np.float32]:
        """The network's raw output as a picture.

        `latent`: 3 values, for own models up to 8, each in -3 .. 3; missing ones are 0. Returns the
        plug-in's (513, 128) values, or levels in dB (bands, frames). Raises InvalidValue.
        """
        if not KNOBS <= len(latent) <= self.description.inputs:
            most = self.description.inputs
            raise InvalidValue(
                f"{len(latent)} latents: {self.name} takes {f'3 to {most}' if most > 3 else '3'}"
            )
        for value in latent:
            if not abs(value) <= LATENT_LIMIT:
                raise InvalidValue(
                    f"a latent of {value:g}: must be {-LATENT_LIMIT:g} to {LATENT_LIMIT:g}"
                )
        values = self.decode(
            np.pad(np.asarray(latent, np.float32), (0, self.description.inputs - len(latent)))
        )
        if self.description.kind == "plug-in":
            return values.reshape(reference.BINS, reference.FRAMES)
        return np.asarray(measures.unpack(values[None], self._grid)[0][0])

    def played_picture(self, latent: Sequence[float]) -> NDArray[np.float32]:
        """`picture` of a plug-in's decoder as it is played: repaired if the model file says so."""
        values = self.picture(latent)
        return (
            reference.repair(values, self.description.db_range)
            if self.description.repaired
            else values
        )

    def energy_map(
        self, x: float, y: float, z: float, colour: Sequence[float] | None = None
    ) -> EnergyMap:
        """The room at a point, each coordinate in -2 .. 2.

        `colour`: up to `colours` more latents; missing ones are 0.
        """
        latent = np.zeros(self.description.inputs, np.float32)
        latent[:KNOBS] = x, y, z
        if colour is not None:
            given = np.asarray(colour, np.float32)[: self.colours]
            latent[KNOBS : KNOBS + len(given)] = given
        values = self.decode(latent)
        if not np.isfinite(values).all():
            raise ModelError(
                f"the model {self.name} decodes ({x:g}, {y:g}, {z:g}) to values that are not finite"
            )
        if self.description.kind == "plug-in":
            return reference.energy_map(
                values.reshape(reference.BINS, reference.FRAMES),
                self.description.db_range,
                self.description.repaired,
            )
        level, direct = measures.unpack(values[None], self._grid)
        present = 10.0 * np.log10(measures.power(direct[0]).sum()) > NO_DIRECT_DB
        return EnergyMap(_spread(level[0]), self._grid, _spread(direct[0]) if present else None)


def _spread(level_db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo the floor of the training: below -90 dB each dB becomes 2.5 dB."""
    deep = level_db + 1.5 * np.minimum(level_db + 90.0, 0.0)
    return np.asarray(np.maximum(deep, level_db.max() + FLOOR_DB), np.float32)


class PluginEncoder:
    """The plug-in's encoder, imported: a recorded IR -> the plug-in's three latents."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @classmethod
    def open(cls, path: Path | str) -> PluginEncoder:
        """Open and verify a "plug-in encoder" model file. Raises ModelError, NoRuntime, OSError."""
        model = _read(Path(path))
        about = model.description
        if about.kind != "plug-in encoder":
            raise ModelError(f"{path}: a model of kind {about.kind!r}, not a plug-in encoder")
        if (about.inputs, about.outputs) != (reference.BINS * reference.FRAMES, 3):
            raise ModelError(
                f"{path}: {about.inputs} values to {about.outputs} is the wrong shape for its kind"
            )
        return cls(Network(model, str(path)))

    def encode(self, ir: NDArray[np.float32]) -> NDArray[np.float32]:
        """Latents (3,) of a mono IR at 16 kHz; only its first 2.032 s are used."""
        return self._network(reference.spectrogram(ir).ravel())


class Encoder:
    """Finds the latents of a room: an estimate by the network, then a fit of the decoder's room."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @classmethod
    def open(cls, path: Path | str = SHIPPED / "encoder.nvmodel") -> Encoder:
        """Open and verify a "room encoder" model file. Raises ModelError, NoRuntime, OSError."""
        return cls.of(_read(Path(path)), str(path))

    @classmethod
    def of(cls, model: ModelFile, path: str) -> Encoder:
        """The encoder of a model file that was read from `path`. Raises ModelError."""
        about = model.description
        if about.kind != "room encoder":
            raise ModelError(f"{path}: a model of kind {about.kind!r}, not a room encoder")
        if (about.inputs, about.outputs) != (measures.POOLED_VALUES, LATENTS):
            raise ModelError(
                f"{path}: {about.inputs} values to {about.outputs} is the wrong shape for its kind"
            )
        return cls(Network(model, path))

    def guess(self, packed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Latents (8,) of one packed map (1, values): X, Y, Z measured, the colours by the
        network.
        """
        level, direct = measures.unpack(packed)
        measured = measures.squash(measures.knobs(level, direct)[0])
        if measures.arrival_s(level, direct)[0] < measures.SHORTEST_S / 4:
            # So short that no line can be fitted to its decay, which looks endless then.
            measured[0] = -LATENT_HIGH
        heard = LATENT_LIMIT * np.tanh(
            self._network(measures.pooled_db(level, direct)[0]) / LATENT_LIMIT
        )
        return np.concatenate([measured, heard[KNOBS:]]).astype(np.float32)

    def encode(
        self,
        room: EnergyMap,
        decoder: Decoder,
        rounds: int = 20,
        latents: int = LATENTS,
    ) -> tuple[NDArray[np.float32], float]:
        """Latents (8,) whose room is nearest to `room`, and the remaining error.

        The error is the mean over the decay curves, in dB. `latents`: the number of latents to use,
        3 for the knobs alone: these stay within the cube, and the others 0.

        Levenberg-Marquardt on the octaves' decay curves, on the cumulative energy, and with a low
        weight on the spectrum over time; the Jacobian by differences. Two starts: the estimate, and
        the estimate without colours.
        """
        packed = measures.pack_map(room)
        most = LATENT_LIMIT if latents > KNOBS else LATENT_HIGH
        guess = np.clip(self.guess(packed), -most, most)
        plain = guess * (np.arange(len(guess)) < KNOBS)
        starts = (guess, plain) if latents > KNOBS else (plain,)
        fits = [_fit(_Target(packed), decoder, start, most, rounds, latents) for start in starts]
        return min(fits, key=lambda fit: fit[1])


class _Target:
    """A room, and the residuals of other rooms against it."""

    def __init__(self, packed: NDArray[np.float32]) -> None:
        level, direct = measures.unpack(packed)
        self._direct, self._frames = measures.octave_energy(level, direct)
        self._curve = measures.decay_curves_db(self._direct, self._frames)[0]
        self._early = _early_db(self._direct, self._frames)
        self._pooled = measures.pooled_db(level, direct)[0]
        heard = 1.0 / (1.0 + np.exp(-(self._curve + 60.0)))
        self._decay_weight = np.sqrt(heard / heard.sum())
        begun = 1.0 / (1.0 + np.exp(-(self._early + 25.0) / 2.0))
        self._early_weight = np.sqrt(0.3 * begun / begun.sum())
        audible = 1.0 / (1.0 + np.exp(-(self._pooled - self._pooled.max() + 60.0) / 4.0))
        self._pooled_weight = np.sqrt(0.05 * audible / audible.sum())

    def residual(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        level, direct = measures.unpack(values[None])
        energy = measures.octave_energy(level, direct)
        parts = (
            (measures.decay_curves_db(*energy)[0] - self._curve) * self._decay_weight,
            (_early_db(*energy) - self._early) * self._early_weight,
            (measures.pooled_db(level, direct)[0] - self._pooled) * self._pooled_weight,
        )
        return np.concatenate([part.ravel() for part in parts]).astype(np.float64)

    def decay_error_db(self, values: NDArray[np.float32]) -> float:
        level, direct = measures.unpack(values[None])
        curve = measures.decay_curves_db(*measures.octave_energy(level, direct))[0]
        return float(np.abs(curve - self._curve)[self._curve > -60.0].mean())


def _early_db(direct: NDArray[np.float32], frames: NDArray[np.float32]) -> NDArray[np.float32]:
    energy = direct[0][:, None] + np.concatenate(
        [np.zeros_like(frames[0][:, :1]), np.cumsum(frames[0], axis=1)], axis=1
    )
    return np.asarray(
        10.0 * np.log10(np.maximum(energy / np.maximum(energy[:, -1:], 1e-30), 1e-7)), np.float32
    )


def _fit(
    target: _Target,
    decoder: Decoder,
    start: NDArray[np.float32],
    limit: float,
    rounds: int,
    latents: int,
) -> tuple[NDArray[np.float32], float]:
    latent = start.astype(np.float64)
    residual = target.residual(decoder.decode(latent.astype(np.float32)))
    cost, damping, step = float(residual @ residual), 1e-2, 0.04
    for _ in range(rounds):
        jacobian = np.zeros((len(residual), len(latent)))
        for axis in range(latents):
            moved = latent.copy()
            moved[axis] += step if latent[axis] < 0 else -step
            jacobian[:, axis] = (
                target.residual(decoder.decode(moved.astype(np.float32))) - residual
            ) / (moved - latent)[axis]
        gradient, normal = jacobian.T @ residual, jacobian.T @ jacobian
        for _ in range(5):
            change = np.linalg.solve(
                normal + damping * (np.diag(np.diag(normal)) + 1e-3 * np.eye(len(latent))),
                -gradient,
            )
            tried = np.clip(latent + change, -limit, limit)
            new = target.residual(decoder.decode(tried.astype(np.float32)))
            if float(new @ new) < cost:
                break
            damping *= 4.0
        else:
            break
        gained, latent, residual = cost - float(new @ new), tried, new
        cost -= gained
        damping = max(damping / 3.0, 1e-6)
        if gained < 1e-4 * cost:
            break
    found = latent.astype(np.float32)
    return found, target.decay_error_db(decoder.decode(found))
