"""Converts Keras networks to TFLite model files and measures the quantisation.

Needs TensorFlow: desktop only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import Grid
from models.container import Description, ModelError, ModelFile, Network
from models.packages import studio_import
from models.suppress import suppress_output

Floats = NDArray[np.float32]

QUANTISATIONS = ("int8", "int8 weights", "int8 weights, int16 values", "float16", "float32")
"""Smallest first. "int8": activations too. "int8 weights": activations are rounded to 8 bits at run
time by kernels that support it.
"""

NOT_DENSE_ON_OLD = ("int8 weights",)
"""tflite-runtime 2.14, the last one for 32-bit ARM, cannot run these for dense layers: they need
version 12 of FULLY_CONNECTED.
"""


@dataclass(frozen=True)
class Attempt:
    """A network stored in one quantisation, with its error against the float network.

    The errors are in the output's units times the `unit` of `attempt`.
    """

    quantisation: str
    network: bytes
    mean_error: float
    worst_error: float


def convert(
    function: Callable[[Any], Any], inputs: tuple[int, ...], quantisation: str, examples: Floats
) -> bytes:
    """Convert a TensorFlow function of one tensor of shape `inputs` to TFLite, float32 in and out.

    `examples` (n, *inputs[1:]) set the ranges of the activations. The function's weights must be
    constants. Raises ValueError or the converter's RuntimeError if the quantisation is impossible.
    """
    tf = studio_import("tensorflow")
    signature = tf.function(function, input_signature=[tf.TensorSpec(inputs, tf.float32)])

    def representative() -> Iterator[list[Floats]]:
        for example in examples:
            yield [example.reshape(inputs).astype(np.float32)]

    with suppress_output():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [signature.get_concrete_function()]
        )
        if quantisation != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantisation == "float16":
            converter.target_spec.supported_types = [tf.float16]
        elif quantisation == "int8":
            converter.representative_dataset = representative
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        elif quantisation == "int8 weights, int16 values":
            converter.representative_dataset = representative
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
        return bytes(converter.convert())


def dense_function(layers: Any) -> Callable[[Any], Any]:
    """A Keras Sequential of dense layers as a function with constant weights.

    Weights are rounded if the layer rounds them.
    """
    tf = studio_import("tensorflow")
    steps = []
    for layer in layers.layers:
        if hasattr(layer, "kernel"):
            kernel = layer.rounded() if hasattr(layer, "rounded") else layer.kernel
            steps.append(
                (
                    tf.constant(np.asarray(kernel)),
                    tf.constant(np.asarray(layer.bias)),
                    layer.activation,
                )
            )
        else:
            steps.append((None, None, layer))

    def function(values: Any) -> Any:
        for kernel, bias, activation in steps:
            # Not "+ bias": the converter would fuse it into the matmul, and with int16 values a
            # fused bias takes 20 bytes per value.
            values = activation(values if kernel is None else tf.matmul(values, kernel) - (-bias))
        return values

    return function


def run_network(network: bytes, inputs: Floats, outputs: int) -> Floats:
    """Outputs (n, outputs) of a TFLite network for inputs (n, ...)."""
    from ai_edge_litert.interpreter import Interpreter

    with suppress_output():
        interpreter = Interpreter(model_content=network, num_threads=1)
        interpreter.allocate_tensors()
    entry, leave = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    result = np.empty((len(inputs), outputs), np.float32)
    for row, values in enumerate(inputs):
        interpreter.set_tensor(
            entry["index"], np.asarray(values, np.float32).reshape(entry["shape"])
        )
        interpreter.invoke()
        result[row] = interpreter.get_tensor(leave["index"]).ravel()
    return result


def attempt(
    function: Callable[[Any], Any],
    shape: tuple[int, ...],
    quantisation: str,
    examples: Floats,
    probes: Floats,
    unit: float = 1.0,
    post: Callable[[Floats], Floats] = lambda values: values,
) -> Attempt:
    """Convert a network and measure its error.

    Mean and worst absolute difference from the float function over `probes`, times `unit`. `post`,
    such as a clip that every user of the output applies, is applied to both before the comparison.
    """
    tf = studio_import("tensorflow")
    network = convert(function, shape, quantisation, examples)
    exact = np.concatenate(
        [np.asarray(function(tf.constant(probe.reshape(shape)))).reshape(1, -1) for probe in probes]
    )
    error = np.abs(post(run_network(network, probes, exact.shape[1])) - post(exact)) * unit
    return Attempt(quantisation, network, float(error.mean()), float(error.max()))


def smallest_within(
    bound: float,
    make: Callable[[str], Attempt],
    report: Callable[[str], None] = print,
    unit: str = "dB",
    leave_out: Sequence[str] = (),
) -> Attempt:
    """Try every quantisation but those in `leave_out`; return the smallest within `bound`.

    `bound`: the largest mean error, in `unit`. Each attempt is reported. Raises ModelError if not
    even float32 is within it: then the conversion is wrong.
    """
    report(f"{'weights':28} {'bytes':>10} {'mean error':>11} {'worst':>10}")
    good: list[Attempt] = []
    for quantisation in QUANTISATIONS:
        if quantisation in leave_out:
            continue
        try:
            tried = make(quantisation)
        except (ValueError, RuntimeError) as error:
            report(f"{quantisation:28} not possible: {str(error).strip().splitlines()[-1]:.80}")
            continue
        within = tried.mean_error <= bound
        report(
            f"{quantisation:28} {len(tried.network):10d} {tried.mean_error:8.4f} {unit:2} "
            f"{tried.worst_error:7.2f} {unit:2}" + ("" if within else "   too far")
        )
        if within:
            good.append(tried)
    if not good:
        raise ModelError(f"no quantisation stays within {bound:g} {unit} of the float network")
    return min(good, key=lambda tried: len(tried.network))


def model_file(
    name: str,
    kind: str,
    chosen: Attempt,
    probes: Floats,
    grid: Grid,
    *,
    outputs: int,
    db_range: float,
    repaired: bool,
    golden: int = 8,
    golden_outputs: int = 512,
    figures: dict[str, float] | None = None,
    unit: str = "db",
) -> ModelFile:
    """A model file around a converted network; golden vectors from the first `golden` probes."""
    inputs = probes[:golden].reshape(min(golden, len(probes)), -1).astype(np.float32)
    index = np.unique(
        np.linspace(0, outputs - 1, min(golden_outputs, outputs)).round().astype(np.uint32)
    )
    description = Description(
        name=name,
        kind=kind,
        inputs=inputs.shape[1],
        outputs=outputs,
        quantisation=chosen.quantisation,
        network_bytes=len(chosen.network),
        golden=len(inputs),
        golden_outputs=len(index),
        **asdict(grid),
        db_range=db_range,
        repaired=repaired,
        figures={f"mean_error_{unit}": chosen.mean_error, f"worst_error_{unit}": chosen.worst_error}
        | (figures or {}),
    )
    expected = run_network(chosen.network, inputs, outputs)[:, index]
    made = ModelFile(description, chosen.network, inputs, index, expected)
    Network(made, name)
    return made
