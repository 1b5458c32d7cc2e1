"""Imports the plug-in's networks from Keras HDF5. Desktop only: h5py, Keras and TensorFlow.

| file         | input         | output        | result of `import_model`                         |
|--------------|---------------|---------------|--------------------------------------------------|
| decoder.hdf5 | (1, 1, 3)     | (513, 128, 1) | kind "plug-in": a room source                    |
| encoder.hdf5 | (513, 128, 1) | (1, 1, 3)     | kind "plug-in encoder": for `nverb model encode` |
|              |               |               | and for banks of own IRs                         |

An HDF5 file describes layers by name, and Keras builds any of them, including code (Lambda). So the
description is checked first: only known layers of limited sizes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.errors import first_line
from models import reference
from models.container import ModelError, ModelFile
from models.latent import KNOBS, LATENT_HIGH, LATENT_LOW
from models.packages import studio_import
from models.reading import open_regular
from models.suppress import suppress_output

Floats = NDArray[np.float32]

BOUND_DB = 0.05
"""Mean error that a decoder's quantisation may add over the cube."""
BOUND_LATENT = 0.005
"""The same for an encoder, in latent units: about a hundredth of a step of the plug-in's knobs."""

SEEN_DB = 10.0
"""A blip that stands out by more than this is reported."""

LATENT_SHAPE, PICTURE_SHAPE = (1, 1, 3), (reference.BINS, reference.FRAMES, 1)
MAX_UNITS, MAX_LAYERS, MAX_FILE = 16_384, 500, 512 << 20
LAYERS = (
    "Activation Add Average AveragePooling2D BatchNormalization Concatenate Conv2D Conv2DTranspose "
    "Cropping2D Dense Dropout ELU Flatten InputLayer LeakyReLU MaxPooling2D Multiply PReLU Permute "
    "ReLU Rescaling Reshape Softmax UpSampling2D ZeroPadding2D"
)
CONTAINERS = frozenset({"Functional", "Model", "Sequential"})


@dataclass(frozen=True)
class Imported:
    """A model file to write, and a line that describes it."""

    file: ModelFile
    summary: str


def import_model(
    path: Path,
    name: str,
    *,
    db_range: float = reference.DB_RANGES[0],
    repaired: bool = True,
    report: Callable[[str], None] = print,
) -> Imported:
    """Import a decoder.hdf5 or encoder.hdf5 in the smallest quantisation within bounds.

    `db_range`: dB that 0 .. 1 of the spectrogram spans; `repaired`: remove the blip when decoding.
    `report` gets a table of all quantisations. Takes minutes of one core. Raises ModelError for an
    unsuitable file, ImportError without the studio packages, OSError.
    """
    network = load(path)
    export = studio_import("models.export")
    decodes = network.input_shape[1:] == LATENT_SHAPE
    probes = decoder_probes() if decodes else encoder_probes()
    shape = (1, *network.input_shape[1:])
    function = frozen(network)
    values = np.concatenate(
        [np.asarray(function(probe.reshape(shape))).reshape(1, -1) for probe in probes[:16]]
    )
    if not np.isfinite(values).all():
        raise ModelError(f"{path}: its output is not finite: the network is damaged")
    bound, unit, unit_name = (BOUND_DB, db_range, "dB") if decodes else (BOUND_LATENT, 1.0, "")
    chosen = export.smallest_within(
        bound,
        lambda quantisation: export.attempt(
            function, shape, quantisation, probes[::6], probes, unit
        ),
        report,
        unit=unit_name,
    )
    file = export.model_file(
        name,
        "plug-in" if decodes else "plug-in encoder",
        chosen,
        probes,
        reference.GRID,
        outputs=math.prod(network.output_shape[1:]),
        db_range=db_range,
        repaired=repaired and decodes,
        golden=8 if decodes else 2,
        unit="db" if decodes else "latent",
    )
    error = f"mean error {chosen.mean_error:.4f} {unit_name}".rstrip()
    summary = f"{chosen.quantisation}, {len(chosen.network)} bytes, {error}"
    if decodes:
        rooms = export.run_network(chosen.network, probes, file.description.outputs).reshape(
            -1, *PICTURE_SHAPE[:2]
        )
        with_blip = sum(
            (room - reference.repair(room, db_range)).max() * db_range > SEEN_DB for room in rooms
        )
        blip = "repaired" if repaired else "kept"
        summary += (
            f"; {db_range:g} dB range; blip {blip} (in {with_blip} of {len(rooms)} rooms tried)"
        )
    return Imported(file, summary)


def load(path: Path) -> Any:
    """The Keras model of an HDF5 file with the plug-in's shapes.

    Raises ModelError, ImportError, OSError.
    """
    if path.is_dir():
        raise ModelError(f"{path}: a folder, not an HDF5 file")
    with open(open_regular(path), "rb") as file:
        if file.seek(0, 2) > MAX_FILE:
            raise ModelError(f"{path}: too large for the plug-in's network")
        file.seek(0)
        _require_hdf5(path, file.read(40))
    h5py = studio_import("h5py")
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: not an HDF5 file, or truncated ({first_line(error)})") from None
    if text is None:
        raise ModelError(
            f"{path}: contains no network (no model_config): "
            "save the complete model, not only its weights"
        )
    _check_description(path, text)
    keras = studio_import("keras")
    try:
        with suppress_output():
            network = keras.models.load_model(
                path, compile=False, safe_mode=True, custom_objects=_legacy_layers(keras)
            )
    except Exception as error:  # Keras raises all kinds of exceptions on a bad file
        raise ModelError(f"{path}: Keras cannot read it ({first_line(error)})") from None
    shapes = getattr(network, "input_shape", None), getattr(network, "output_shape", None)
    wanted = ((None, *LATENT_SHAPE), (None, *PICTURE_SHAPE))
    if shapes not in (wanted, wanted[::-1]):
        raise ModelError(
            f"{path}: takes {shapes[0]} and gives {shapes[1]}; "
            "a decoder takes (1, 1, 3) and gives (513, 128, 1), an encoder the reverse"
        )
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise ModelError(f"{path}: has weights that are not finite")
    return network


def _require_hdf5(path: Path, start: bytes) -> None:
    """Raises ModelError, with a remedy, for what people have instead of the file."""
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a pointer to a file of Git LFS; run `git lfs pull`")
    if start.startswith(b"PK"):
        raise ModelError(
            f"{path}: a .keras archive; save the network as HDF5: model.save('decoder.hdf5')"
        )


def _legacy_layers(keras: Any) -> dict[str, Any]:
    """Layers of older Keras versions, which wrote `groups` where Keras 3 has none."""
    made: dict[str, Any] = {}
    for name in ("Conv2DTranspose", "DepthwiseConv2D"):
        layer = getattr(keras.layers, name)

        def begin(self: Any, *args: Any, groups: int = 1, _of: Any = layer, **others: Any) -> None:
            if groups != 1:
                raise ValueError(f"groups of {groups}")
            _of.__init__(self, *args, **others)

        made[name] = type(name, (layer,), {"__init__": begin})
    return made


def _check_description(path: Path, text: Any) -> None:
    try:
        description = json.loads(text)
        count = 0
        for layer in _layers(description):
            count += 1
            kind, settings = layer["class_name"], layer["config"]
            if kind not in LAYERS.split():
                raise ModelError(
                    f"{path}: has a layer {str(kind)!r:.40}, "
                    "which the plug-in's networks do not use"
                )
            for name in ("units", "filters"):
                if not 0 <= int(settings.get(name) or 0) <= MAX_UNITS:
                    raise ModelError(
                        f"{path}: a layer of {settings[name]!r:.20} {name}; at most {MAX_UNITS}"
                    )
            if count > MAX_LAYERS:
                raise ModelError(f"{path}: more than {MAX_LAYERS} layers")
    except ModelError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: its description is damaged ({first_line(error)})") from None
    if not count:
        raise ModelError(f"{path}: has no layers")


def _layers(model: Any) -> Iterator[Any]:
    """All layers of a model's description, including those of nested models."""
    layers = model["config"] if isinstance(model["config"], list) else model["config"]["layers"]
    for layer in layers:
        if layer["class_name"] in CONTAINERS:
            yield from _layers(layer)
        else:
            yield layer


def frozen(network: Any) -> Callable[[Any], Any]:
    """A Keras model as a TensorFlow function with constant weights, for inference."""
    tf = studio_import("tensorflow")
    freeze = studio_import(
        "tensorflow.python.framework.convert_to_constants"
    ).convert_variables_to_constants_v2
    signature = tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)
    with suppress_output():
        constant = freeze(
            tf.function(lambda values: network(values, training=False)).get_concrete_function(
                signature
            )
        )
    return lambda values: constant(tf.convert_to_tensor(values))[0]


def decoder_probes() -> Floats:
    """Latents (n, 3) to measure at: a 4 x 4 x 4 grid over the cube and 32 random points within
    it.
    """
    grid = np.array(list(product(np.linspace(LATENT_LOW, LATENT_HIGH, 4), repeat=KNOBS)))
    return np.concatenate(
        [grid, np.random.default_rng(7).uniform(LATENT_LOW, LATENT_HIGH, (32, KNOBS))]
    ).astype(np.float32)


def encoder_probes() -> Floats:
    """Spectrograms (n, 513 * 128) to measure at, of rooms of the generator."""
    from dsp.synthesis import Synthesiser
    from models.generator import room_at

    synthesise = Synthesiser(reference.RATE_HZ)
    points = np.random.default_rng(7).uniform(LATENT_LOW, LATENT_HIGH, (32, KNOBS))
    return np.stack(
        [reference.spectrogram(synthesise(room_at(*point))[0]).ravel() for point in points]
    )
