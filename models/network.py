"""Encoder and decoder of rooms in Keras, and their losses. Desktop only.

    pooled levels (16 x 33) -> encoder -> latent (8) -> decoder -> packed map (64 x 129)

A packed map is 64 x 128 levels and 64 of the direct sound. The first three latents of a training
room are measured on the room (`models.measures.knobs`), so X, Y and Z keep their definitions. The
other five, the colours, come from the encoder, and are zero for the rooms of the starter's cube.
The decoder ends in a linear basis that starts as the principal components of the training rooms.
Its weights are rounded to 8 bits, one scale per output, during training (straight-through
gradients), so the export to int8 does not change them.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dsp.energymap import DEFAULT_GRID
from models import measures
from models.latent import COLOURS, KNOBS, LATENT_HIGH, LATENT_LIMIT, LATENT_LOW, LATENTS

VALUES = measures.PACKED_VALUES
POOLED = measures.POOLED_VALUES

_FRAME_S = DEFAULT_GRID.frame_s.astype(np.float32)
_EDGE_S = DEFAULT_GRID.frame_edge_s[:-1].astype(np.float32)
_DB = float(10.0 / np.log(10.0))


@keras.saving.register_keras_serializable("nverb")
class RoundedDense(keras.layers.Dense):  # type: ignore[misc]
    """A dense layer with its kernel rounded to int8, one scale per output; gradients ignore it."""

    def rounded(self) -> Any:
        """The kernel as used: multiples of (largest weight of the output) / 127."""
        scale = tf.maximum(tf.reduce_max(tf.abs(self.kernel), axis=0), 1e-9) / 127.0
        return self.kernel + tf.stop_gradient(tf.round(self.kernel / scale) * scale - self.kernel)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.activation(tf.matmul(inputs, self.rounded()) + self.bias)


def build_encoder() -> keras.Sequential:
    """Pooled levels (n, POOLED), dB -> latents (n, LATENTS), unbounded."""
    return keras.Sequential(
        [
            keras.Input((POOLED,)),
            keras.layers.Rescaling(1.0 / 30.0, 2.0),
            keras.layers.Dense(256, "swish"),
            keras.layers.Dense(256, "swish"),
            keras.layers.Dense(LATENTS),
        ],
        name="encoder",
    )


def build_decoder(hidden: int, components: int) -> keras.Sequential:
    """Latents (n, LATENTS) -> packed maps (n, VALUES), dB."""
    return keras.Sequential(
        [
            keras.Input((LATENTS,)),
            RoundedDense(hidden, "swish"),
            RoundedDense(hidden, "swish"),
            RoundedDense(hidden, "swish"),
            RoundedDense(components, name="components"),
            RoundedDense(VALUES, name="basis"),
        ],
        name="decoder",
    )


def bound(latent: Any) -> Any:
    """Compress latents into +-LATENT_LIMIT; nearly the identity within +-1."""
    return LATENT_LIMIT * tf.tanh(latent / LATENT_LIMIT)


def squash(knob: Any) -> Any:
    """`measures.squash` with gradients."""
    beyond = tf.maximum(tf.abs(knob) - LATENT_HIGH, 0.0)
    return tf.clip_by_value(knob, LATENT_LOW, LATENT_HIGH) + tf.sign(knob) * beyond / (1.0 + beyond)


def octave_energy(packed: Any) -> tuple[Any, Any]:
    """`measures.octave_energy` on packed maps, with gradients."""
    grid = DEFAULT_GRID
    level = tf.reshape(packed[:, : grid.bands * grid.frames], (-1, grid.bands, grid.frames))
    octaves = tf.constant(measures.octave_matrix())
    direct = tf.matmul(
        tf.exp(packed[:, grid.bands * grid.frames :] / _DB), octaves, transpose_b=True
    )
    return direct, tf.einsum("ob,nbf->nof", octaves, tf.exp(level / _DB) * _FRAME_S)


def pooled_db(packed: Any) -> Any:
    """`measures.pooled_db` on packed maps."""
    grid = DEFAULT_GRID
    bands, frames = grid.bands // measures.POOLED_BANDS, grid.frames // measures.POOLED_FRAMES
    level = tf.reshape(packed[:, : grid.bands * grid.frames], (-1, grid.bands, grid.frames))
    energy = tf.reshape(
        tf.exp(level / _DB) * _FRAME_S,
        (-1, bands, measures.POOLED_BANDS, frames, measures.POOLED_FRAMES),
    )
    energy = tf.reduce_sum(energy, (2, 4)) / _FRAME_S.reshape(frames, -1).sum(axis=1)
    direct = tf.reshape(
        tf.exp(packed[:, grid.bands * grid.frames :] / _DB), (-1, bands, measures.POOLED_BANDS)
    )
    both = tf.concat([tf.reshape(energy, (-1, bands * frames)), tf.reduce_sum(direct, 2)], 1)
    return _DB * tf.math.log(tf.maximum(both, 10.0 ** (measures.MODEL_FLOOR_DB / 10.0)))


def decay_curves_db(direct: Any, frames: Any) -> Any:
    """`measures.decay_curves_db` with gradients."""
    left = tf.cumsum(frames, -1, reverse=True)
    curve = tf.concat([left[..., :1] + direct[..., None], left], -1)
    return _DB * tf.math.log(tf.maximum(curve / tf.maximum(curve[..., :1], 1e-20), 1e-9))


def knobs(direct: Any, frames: Any) -> Any:
    """`measures.knobs` of octave energies, with gradients; (n, 3)."""
    middle = tf.reduce_sum(frames[:, measures.MIDDLE_OCTAVES], 1)
    middle_s = _soft_decay_s(middle)
    low, high = (_soft_decay_s(frames[:, octave]) for octave in measures.TREBLE_OCTAVES)
    treble_s = tf.sqrt(low * high)
    part = tf.clip_by_value(
        (measures.EARLY_SHARE * middle_s[:, None] - _EDGE_S) / _FRAME_S, 0.0, 1.0
    )
    early = tf.reduce_sum(direct[:, measures.MIDDLE_OCTAVES], 1) + tf.reduce_sum(part * middle, 1)
    late = tf.reduce_sum((1.0 - part) * middle, 1)
    balance_db = _DB * (
        tf.math.log(tf.maximum(early, 1e-12)) - tf.math.log(tf.maximum(late, 1e-12))
    )
    return tf.stack(
        [
            2.0 * tf.math.log(middle_s) / np.log(measures.DECAY_BASE),
            tf.math.log(treble_s / middle_s / measures.BRIGHTNESS_CENTRE)
            / measures.BRIGHTNESS_STEP,
            (measures.EARLY_CENTRE_DB - balance_db) / measures.EARLY_STEP_DB,
        ],
        1,
    )


def _soft_decay_s(frames: Any) -> Any:
    curve = tf.cumsum(frames, -1, reverse=True)
    curve = _DB * tf.math.log(tf.maximum(curve / tf.maximum(curve[:, :1], 1e-20), 1e-12))
    weight = tf.stop_gradient(_FRAME_S * tf.sigmoid(-5.0 - curve) * tf.sigmoid(curve + 25.0))
    weight /= tf.reduce_sum(weight, 1, keepdims=True)
    time = _EDGE_S - tf.reduce_sum(weight * _EDGE_S, 1, keepdims=True)
    slope = tf.reduce_sum(weight * time * curve, 1) / tf.maximum(
        tf.reduce_sum(weight * time**2, 1), 1e-12
    )
    return 60.0 / tf.maximum(-slope, 3.0)


def _weighted_mean(error: Any, weight: Any) -> Any:
    return tf.reduce_sum(tf.abs(error) * weight) / tf.reduce_sum(weight)


@keras.saving.register_keras_serializable("nverb")
class RoomModel(keras.Model):  # type: ignore[misc]
    """Encoder and decoder in training.

    Batches are packed maps (n, VALUES), float16, and whether each is from the cube: (n,), float32,
    0 or 1.

    | loss   | weight | what                                                                      |
    |--------|--------|---------------------------------------------------------------------------|
    | decay  | 1      | decay curves per octave, dB, where the room's own is above -60 dB         |
    | early  | 0.3    | cumulative energy per octave, dB: direct sound, C50                       |
    | cells  | 0.15   | every cell of the map, dB, weighted to those less than 75 dB under the    |
    |        |        | loudest of their band                                                     |
    | axes   | 0.3    | knobs measured on decoded random points of the cube, against the point;   |
    |        |        | and the encoder's X, Y, Z against the measured ones                       |
    | colour | 0.05   | colours have mean 0, variance 1, no correlation, and are 0 in the cube    |
    """

    def __init__(
        self, hidden: int = 256, components: int = 72, cube_points: int = 48, **options: Any
    ) -> None:
        super().__init__(**options)
        self.hidden, self.component_count, self.cube_points = hidden, components, cube_points
        self.encoder, self.decoder = build_encoder(), build_decoder(hidden, components)
        self.means = {
            name: keras.metrics.Mean(name)
            for name in ("loss", "decay", "early", "cells", "axes", "colour")
        }
        cells = (
            np.diff(DEFAULT_GRID.edge_hz).reshape(-1, measures.POOLED_BANDS).sum(axis=1)[:, None]
        )
        cells = cells * _FRAME_S.reshape(-1, measures.POOLED_FRAMES).sum(axis=1)
        # The energy of a recording in a cell of bandwidth B and length T is chi-square with
        # about 2 B T degrees of freedom.
        self._noise_db = np.zeros(POOLED, np.float32)
        self._noise_db[: cells.size] = (4.34 / np.sqrt(np.maximum(cells, 1.0))).ravel()

    @property
    def metrics(self) -> list[Any]:
        return list(self.means.values())

    def start_basis(self, packed: NDArray[np.float32]) -> None:
        """Set the last layer to mean and principal components of packed maps (scaled to unit
        variance).
        """
        mean = packed.mean(axis=0)
        centred = packed - mean
        _, vectors = np.linalg.eigh(centred @ centred.T / len(packed))
        top = slice(None, -self.component_count - 1, -1)
        basis = vectors[:, top].T @ centred / np.sqrt(len(packed))
        self.decoder.get_layer("basis").set_weights([basis, mean])

    def call(self, packed: Any) -> Any:
        latent = self.latents(packed)
        return self.decoder(latent)

    def latents(self, packed: Any) -> Any:
        """Measured knobs and the encoder's colours of clean maps, (n, LATENTS)."""
        measured = squash(knobs(*octave_energy(packed)))
        return tf.concat([measured, bound(self.encoder(pooled_db(packed)))[:, KNOBS:]], 1)

    def losses_of(self, packed: Any, from_cube: Any, *, training: bool) -> dict[str, Any]:
        """All losses of a batch, by name, and their weighted sum as "loss"."""
        packed = tf.cast(packed, tf.float32)
        direct, frames = octave_energy(packed)
        curve = decay_curves_db(direct, frames)
        measured = squash(knobs(direct, frames))
        heard = pooled_db(packed)
        if training:
            heard = self._with_noise(heard)
        guess = bound(self.encoder(heard, training=training))
        colour = guess[:, KNOBS:]
        latent = tf.concat([measured, colour], 1)
        point = tf.random.uniform((self.cube_points, KNOBS), LATENT_LOW, LATENT_HIGH)
        tint = tf.random.normal((self.cube_points, COLOURS)) * tf.cast(
            tf.random.uniform((self.cube_points, 1)) < 0.5, tf.float32
        )
        decoded = self.decoder(
            tf.concat([latent, tf.concat([point, tint], 1)], 0), training=training
        )
        got, in_cube = decoded[: -self.cube_points], decoded[-self.cube_points :]

        got_direct, got_frames = octave_energy(got)
        got_curve = decay_curves_db(got_direct, got_frames)
        decay = _weighted_mean(got_curve - curve, tf.sigmoid((curve + 61.0) / 1.0))
        early_db, got_early_db = (
            self._early_db(*pair) for pair in ((direct, frames), (got_direct, got_frames))
        )
        early = _weighted_mean(got_early_db - early_db, tf.sigmoid((early_db + 25.0) / 2.0))

        cells = self._cells_loss(got, packed)
        reached = knobs(*octave_energy(in_cube))
        axes = tf.reduce_mean(tf.abs(reached - point)) + tf.reduce_mean(
            tf.abs(guess[:, :KNOBS] - measured)
        )

        colour_loss = self._colour_loss(colour, from_cube)
        return {
            "loss": decay + 0.3 * early + 0.15 * cells + 0.3 * axes + 0.05 * colour_loss,
            "decay": decay,
            "early": early,
            "cells": cells,
            "axes": axes,
            "colour": colour_loss,
        }

    def _with_noise(self, heard: Any) -> Any:
        """Pooled levels (n, POOLED) with noise in each cell and a noise floor for half of the
        rooms.

        As in recordings.
        """
        noisy = tf.cast(tf.random.uniform((tf.shape(heard)[0], 1)) < 0.5, tf.float32)
        heard += noisy * tf.random.normal(tf.shape(heard)) * self._noise_db
        floor = tf.random.uniform((tf.shape(heard)[0], 1), -110.0, -65.0)
        return tf.maximum(
            heard, measures.MODEL_FLOOR_DB + noisy * (floor - measures.MODEL_FLOOR_DB)
        )

    @staticmethod
    def _cells_loss(got: Any, packed: Any) -> Any:
        grid = DEFAULT_GRID
        split = grid.bands * grid.frames
        level = tf.reshape(packed[:, :split], (-1, grid.bands, grid.frames))
        loudest = tf.reduce_max(level, 2, keepdims=True)
        audible = tf.reshape(0.02 + tf.sigmoid((level - loudest + 75.0) / 4.0), (-1, split))
        cells = _weighted_mean(got[:, :split] - packed[:, :split], audible)
        audible_direct = 0.05 + tf.sigmoid((packed[:, split:] + 70.0) / 4.0)
        return cells + 0.2 * _weighted_mean(got[:, split:] - packed[:, split:], audible_direct)

    @staticmethod
    def _colour_loss(colour: Any, from_cube: Any) -> Any:
        other = 1.0 - from_cube[:, None]
        count = tf.reduce_sum(other) + 1.0
        centre = tf.reduce_sum(colour * other, 0) / count
        spread = (colour - centre) * other
        covariance = tf.matmul(spread, spread, transpose_a=True) / count
        loss = tf.reduce_sum((covariance - tf.eye(COLOURS)) ** 2) + tf.reduce_sum(centre**2)
        in_cube = tf.reduce_sum(from_cube[:, None] * tf.abs(colour))
        return loss + 4.0 * in_cube / (tf.reduce_sum(from_cube) + 1.0)

    @staticmethod
    def _early_db(direct: Any, frames: Any) -> Any:
        heard = tf.concat([direct[..., None], direct[..., None] + tf.cumsum(frames, -1)], -1)
        return _DB * tf.math.log(tf.maximum(heard / tf.maximum(heard[..., -1:], 1e-20), 1e-7))

    def train_step(self, data: Any) -> dict[str, Any]:
        packed, from_cube = data
        with tf.GradientTape() as tape:
            losses = self.losses_of(packed, from_cube, training=True)
        variables = self.trainable_variables
        gradients, _ = tf.clip_by_global_norm(tape.gradient(losses["loss"], variables), 5.0)
        self.optimizer.apply(gradients, variables)
        return self._update(losses)

    def test_step(self, data: Any) -> dict[str, Any]:
        packed, from_cube = data
        return self._update(self.losses_of(packed, from_cube, training=False))

    def _update(self, losses: dict[str, Any]) -> dict[str, Any]:
        for name, value in losses.items():
            self.means[name].update_state(value)
        return {name: mean.result() for name, mean in self.means.items()}

    def get_config(self) -> dict[str, Any]:
        return {
            "hidden": self.hidden,
            "components": self.component_count,
            "cube_points": self.cube_points,
        }
