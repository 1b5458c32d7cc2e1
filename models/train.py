"""Training: rooms in, a folder with decoder.nvmodel, encoder.nvmodel and a report out. Desktop only (Keras).

NAME/decoder.nvmodel, NAME/encoder.nvmodel   the model; replaced together, at the end
NAME/report.html                             what `models.report` tells of it
NAME/training/settings.json                  what this training was asked for: `--resume` asks for the same
NAME/training/history.json                   losses of each epoch so far
NAME/training/checkpoint/                    weights, optimiser and epoch: what `--resume` goes on from
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import DEFAULT_GRID
from dsp.errors import InvalidValue, first_line
from models import container, generator, measures
from models.container import ModelFile
from models.files import write_atomically
from models.latent import KNOBS, LATENT_HIGH, LATENT_LOW, LATENTS
from models.packages import studio_import
from models.suppress import suppress_output
from models.workers import on_all_cores

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Progress = Callable[[str, int, int, str], None]
"""progress(what, done, of, remark)"""

_CHUNK = 500


@dataclass(frozen=True)
class TrainSettings:
    """What a training is asked for.

    `rooms`: drawn by the generator (a twelfth as many of the knobs' cube come on top); `epochs`: passes over all; `hidden`,
    `components`: widths of the decoder; `seed` of rooms and weights; `rate`: highest learning rate.
    """

    rooms: int = 48_000
    epochs: int = 40
    batch: int = 128
    hidden: int = 256
    components: int = 72
    rate: float = 2e-3
    seed: int = 1

    def check(self) -> None:
        """Raises InvalidValue for settings that cannot be trained with."""
        for name, low, high in (
            ("rooms", 256, 2_000_000),
            ("epochs", 1, 10_000),
            ("batch", 8, 8192),
            ("hidden", 16, 1024),
            ("components", 8, 256),
            ("seed", 0, 1_000_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidValue(f"{name} = {value}: from {low} to {high}")
        if self.components > self.rooms // 2:
            raise InvalidValue(
                f"components = {self.components}: at most half the number of rooms ({self.rooms})"
            )


def _draw_chunk(_: None, task: tuple[int, int]) -> Halves:
    rooms, seed = task
    return _packed(generator.draw(rooms, seed))


def draw_packed(rooms: int, seed: int, progress: Progress | None = None) -> Halves:
    """Packed maps of drawn rooms, (rooms, values) float16, on all cores; the same for the same arguments."""
    # Each chunk has a seed of its own, far from those of other trainings.
    tasks = [
        (min(_CHUNK, rooms - at), seed * 4096 + at // _CHUNK) for at in range(0, rooms, _CHUNK)
    ]
    packed = np.empty((rooms, measures.PACKED_VALUES), np.float16)
    at = 0
    for part in on_all_cores(_draw_chunk, None, tasks):
        packed[at : at + len(part)] = part
        at += len(part)
        if progress:
            progress("drawing rooms", at, rooms, "")
    return packed


@dataclass(frozen=True)
class Trained:
    """What a training ends with."""

    decoder: ModelFile
    encoder: ModelFile
    history: dict[str, list[float]]
    settings: TrainSettings


def start(folder: Path, settings: TrainSettings, *, resume: bool) -> TrainSettings:
    """Makes the training folder, or with `resume` reads what that training was asked for.

    Raises InvalidValue where there is nothing to resume, OSError.
    """
    notes = folder / "training" / "settings.json"
    if resume:
        try:
            said = json.loads(notes.read_text())
            settings = TrainSettings(**said)
        except FileNotFoundError:
            raise InvalidValue(
                f"{folder}: no training to resume there; leave --resume out to begin one"
            ) from None
        except (ValueError, TypeError):
            raise InvalidValue(
                f"{notes}: damaged; begin the training anew without --resume"
            ) from None
        settings.check()
        return settings
    settings.check()
    checkpoint = folder / "training" / "checkpoint"
    checkpoint.mkdir(parents=True, exist_ok=True)
    for old in checkpoint.iterdir():
        old.unlink()
    (folder / "training" / "history.json").unlink(missing_ok=True)
    notes.write_text(json.dumps(asdict(settings), indent=2) + "\n")
    return settings


def train(
    folder: Path,
    settings: TrainSettings,
    *,
    own: Halves | None = None,
    progress: Progress,
    tell: Callable[[str], None],
    resume: bool = False,
) -> Trained:
    """Trains (on from the checkpoint with `resume`) and exports. `own`: packed maps of the user's IRs, mixed into the drawn rooms.

    Nothing outside `folder`/training is written. Raises OSError; InvalidValue when a checkpoint does not fit.
    """
    keras = studio_import("keras")
    studio_import("tensorflow")
    from models.network import RoomModel

    keras.utils.set_random_seed(settings.seed)
    packed, from_cube = _training_rooms(settings, own, progress)
    test = _packed(generator.draw(min(1000, settings.rooms // 8), generator.HELD_OUT_SEED + 1))

    model = RoomModel(settings.hidden, settings.components)
    some = np.random.default_rng(settings.seed).permutation(len(packed))[:4000]
    model.start_basis(packed[some].astype(np.float32))
    steps = -(-len(packed) // settings.batch)
    _compile(model, settings, steps, len(packed))
    model.losses_of(packed[:8], from_cube[:8], training=False)
    model.built = True
    model.optimizer.build(model.trainable_variables)
    checkpoint = Checkpoint(folder / "training", model, settings.epochs)
    first = checkpoint.restore() if resume else 0
    tell(
        f"{len(packed)} rooms, {steps} steps an epoch; decoder of {model.decoder.count_params()} weights, "
        f"encoder of {model.encoder.count_params()}"
        + (f"; going on after epoch {first}" if first else "")
    )
    if first < settings.epochs:
        model.fit(
            packed,
            from_cube,
            batch_size=settings.batch,
            initial_epoch=first,
            epochs=settings.epochs,
            validation_data=(test, np.zeros(len(test), np.float32)),
            validation_batch_size=256,
            verbose=0,
            callbacks=[checkpoint.callback(progress, steps)],
        )
    decoder, encoder = export(
        model, folder.resolve().name, packed[some[:256]].astype(np.float32), tell
    )
    return Trained(decoder, encoder, checkpoint.history, settings)


def _compile(model: Any, settings: TrainSettings, steps: int, rooms: int) -> None:
    """Adam, with a cosine schedule over all epochs of `steps` steps and a warm-up over the first twentieth."""
    keras = studio_import("keras")
    total = steps * settings.epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.rate / 20,
        total - total // 20,
        alpha=0.1,
        warmup_target=settings.rate,
        warmup_steps=total // 20,
    )
    # XLA cuts the time of a step to two thirds, but compiles for some seconds: not worth it for a small training.
    jit_compile = rooms * settings.epochs > 200_000
    model.compile(optimizer=keras.optimizers.Adam(schedule), jit_compile=jit_compile)


def _training_rooms(
    settings: TrainSettings, own: Halves | None, progress: Progress
) -> tuple[Halves, Floats]:
    """Packed maps (rooms, values) to train on, and for each 1.0 if it is a room of the cube, else 0.0."""
    packed = draw_packed(settings.rooms, settings.seed, progress)
    cube = draw_cube(max(64, settings.rooms // 12), settings.seed)
    if own is not None and len(own):
        # Own rooms are repeated until they are at least a quarter of all.
        packed = np.concatenate(
            [packed, np.resize(own, (max(len(own), settings.rooms // 3), own.shape[1]))]
        )
    from_cube = np.concatenate([np.zeros(len(packed), np.float32), np.ones(len(cube), np.float32)])
    return np.concatenate([packed, cube]), from_cube


def draw_cube(rooms: int, seed: int) -> Halves:
    """Packed maps of the knobs' cube."""
    return _packed(generator.draw(rooms, seed * 4096 + 4095, "knobs"))


def _packed(rooms: generator.RoomParameters) -> Halves:
    return measures.pack(*generator.energy_maps(rooms)).astype(np.float16)


class Checkpoint:
    """Weights, optimiser and losses after each epoch, so that a training can go on where it was cut off."""

    def __init__(self, folder: Path, model: Any, epochs: int) -> None:
        self._weights = folder / "checkpoint" / "model.weights.h5"
        self._notes = folder / "history.json"
        self._model, self._epochs = model, epochs
        self.history: dict[str, list[float]] = {}

    def restore(self) -> int:
        """Loads the last state; how many epochs it has behind it. Raises InvalidValue when there is none or it does not fit."""
        if not self._weights.exists():
            return 0
        try:
            self.history = json.loads(self._notes.read_text())
            with suppress_output():
                self._model.load_weights(self._weights)
            return len(self.history["loss"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidValue(
                f"{self._weights}: does not fit ({first_line(error)}); begin the training anew without --resume"
            ) from None

    def save(self, losses: dict[str, float]) -> None:
        """Called after each epoch. Weights first: were it cut off between the two, an epoch is counted once less, no harm."""
        for name, value in losses.items():
            self.history.setdefault(name, []).append(float(value))
        temporary = self._weights.with_name("new.weights.h5")
        with suppress_output():
            self._model.save_weights(temporary)
        os.replace(temporary, self._weights)
        write_atomically(
            self._notes, lambda file: file.write(json.dumps(self.history).encode()), durable=False
        )

    def callback(self, progress: Progress, steps: int) -> Any:
        """A Keras callback that saves after each epoch and shows each step."""
        keras = studio_import("keras")
        checkpoint = self

        class Watch(keras.callbacks.Callback):  # type: ignore[name-defined,misc]
            _remark, _epoch = "", 0

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                self._epoch = epoch

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if batch % 16 == 15:
                    progress(
                        "training",
                        self._epoch * steps + batch + 1,
                        checkpoint._epochs * steps,
                        self._remark,
                    )

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                checkpoint.save(logs)
                self._remark = f"epoch {epoch + 1} of {checkpoint._epochs}, held-out decay error {logs['val_decay']:.2f} dB"
                progress("training", (epoch + 1) * steps, checkpoint._epochs * steps, self._remark)

        return Watch()


def export(
    model: Any, name: str, examples: Floats, tell: Callable[[str], None]
) -> tuple[ModelFile, ModelFile]:
    """Decoder and encoder as model files: the smallest quantisation within MEAN_ERROR_DB of the network as trained."""
    from models import export as export_tools

    random = np.random.default_rng(0)
    probes = cube_points(512, random)
    latents = np.asarray(model.latents(examples))
    function = export_tools.dense_function(model.decoder)
    tell("decoder")
    chosen = export_tools.smallest_within(
        MEAN_ERROR_DB,
        lambda way: export_tools.attempt(
            function, (1, LATENTS), way, np.concatenate([probes, latents]), probes
        ),
        tell,
        leave_out=export_tools.NOT_DENSE_ON_OLD,
    )
    common: dict[str, Any] = {"db_range": 120.0, "repaired": False}
    decoder = export_tools.model_file(
        name, "rooms", chosen, probes, DEFAULT_GRID, outputs=measures.PACKED_VALUES, **common
    )
    heard = measures.pooled_db(*measures.unpack(examples))
    function = export_tools.dense_function(model.encoder)
    tell("encoder")
    chosen = export_tools.smallest_within(
        MEAN_ERROR_DB,
        lambda way: export_tools.attempt(function, (1, measures.POOLED_VALUES), way, heard, heard),
        tell,
        leave_out=export_tools.NOT_DENSE_ON_OLD,
    )
    encoder = export_tools.model_file(
        name, "room encoder", chosen, heard, DEFAULT_GRID, outputs=LATENTS, **common
    )
    return decoder, encoder


MEAN_ERROR_DB = 0.05


def cube_points(points: int, random: np.random.Generator) -> Floats:
    """Latents over the whole cube, (points, 8): knobs anywhere in +-2, half of them with colours, a preset's in +-2, too."""
    latents = random.uniform(LATENT_LOW, LATENT_HIGH, (points, LATENTS))
    latents[: points // 2, KNOBS:] = 0.0
    return random.permutation(latents).astype(np.float32)


def save(folder: Path, trained: Trained) -> list[Path]:
    """Writes both model files, each whole or not at all. Raises OSError."""
    paths = [folder / "decoder.nvmodel", folder / "encoder.nvmodel"]
    container.write(paths[0], trained.decoder)
    container.write(paths[1], trained.encoder)
    return paths
