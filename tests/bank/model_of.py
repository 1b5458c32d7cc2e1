"""A small model file of the plug-in's kind, without Keras: a TFLite network of one dense layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_plugin_model(path: Path, seed: int = 1) -> None:
    """Decays whose length follows x and whose brightness follows y, a little noise for texture; 1.4 MB."""
    import tensorflow as tf

    from models import container, export, reference

    bins, frames = reference.BINS, reference.FRAMES
    rng = np.random.default_rng(seed)
    time, height = np.arange(frames) / frames, np.arange(bins)[:, None] / bins
    centre = 0.95 - 0.8 * time - 0.2 * height * time + 0.01 * rng.standard_normal((bins, frames))
    slopes = np.stack([0.15 * time + 0 * height, -0.1 * height + 0 * time, 0.02 * rng.standard_normal((bins, frames))])
    kernel = tf.constant(slopes.reshape(3, -1), tf.float32)
    bias = tf.constant(centre.ravel(), tf.float32)

    def network(values: object) -> object:
        return tf.matmul(values, kernel) + bias

    probes = rng.uniform(-2, 2, (4, 3)).astype(np.float32)
    made = export.attempt(network, (1, 3), "float16", probes, probes, 120.0)
    file = export.model_file(
        "small", "plug-in", made, probes, reference.GRID, outputs=bins * frames, db_range=120.0, repaired=True, golden=2
    )
    container.write(path, file)
