"""Trains on rooms; makes a folder with decoder.nvmodel, encoder.nvmodel and a report.

Desktop only (Keras).

    NAME/decoder.nvmodel, NAME/encoder.nvmodel   the model; replaced together, at the end
    NAME/report.html                             written by `models.report`
    NAME/training/settings.json                  settings of this training, for `--resume`
    NAME/training/history.json                   losses of each epoch so far
    NAME/training/checkpoint/                    weights, optimiser and epoch, for `--resume`
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
    """Settings of a training.

    `rooms`: number to draw, plus a twelfth of the knobs' cube; `epochs`: passes over all rooms;
    `hidden`, `components`: widths of the decoder; `seed`: of rooms and weights; `rate`: highest
    learning rate.
    """

    rooms: int = 48_000
    epochs: int = 40
    batch: int = 128
    hidden: int = 256
    components: int = 72
    rate: float = 2e-3
    seed: int = 1

    def check(self) -> None:
        """Raises InvalidValue for settings out of range."""
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
                raise InvalidValue(f"{name} = {value}: must be {low} to {high}")
        if self.components > self.rooms // 2:
            raise InvalidValue(
                f"components = {self.components}: at most half the number of rooms ({self.rooms})"
            )


def _draw_chunk(_: None, task: tuple[int, int]) -> Halves:
    rooms, seed = task
    return _packed(generator.draw(rooms, seed))


def draw_packed(rooms: int, seed: int, progress: Progress | None = None) -> Halves:
    """Packed maps of drawn rooms, (rooms, values) float16, computed on all cores.

    The same arguments give the same maps.
    """
    # Each chunk has its own seed, far from those of other trainings.
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
    """The result of a training."""

    decoder: ModelFile
    encoder: ModelFile
    history: dict[str, list[float]]
    settings: TrainSettings


def require_free(folder: Path) -> None:
    """Raises InvalidValue if a new training would delete another one, or its results."""
    for old in ("decoder.nvmodel", "encoder.nvmodel", "training/checkpoint/*"):
        if any(folder.glob(old)):
            raise InvalidValue(
                f"{folder}: has a training already: --resume continues it, --force replaces it, "
                "or choose another folder"
            )


def start(folder: Path, settings: TrainSettings, *, resume: bool) -> TrainSettings:
    """Create the training folder, or with `resume` read the settings of that training.

    An older training in the folder is deleted, see `require_free`. Raises InvalidValue if there is
    nothing to resume, OSError.
    """
    notes = folder / "training" / "settings.json"
    if resume:
        try:
            stored = json.loads(notes.read_text())
            settings = TrainSettings(**stored)
        except FileNotFoundError:
            raise InvalidValue(
                f"{folder}: no training to resume; start one without --resume"
            ) from None
        except (ValueError, TypeError):
            raise InvalidValue(f"{notes}: damaged; start again without --resume") from None
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
    """Train, from the checkpoint with `resume`, and export.

    `own`: packed maps of the user's IRs, mixed into the drawn rooms. Writes only below
    `folder`/training. Raises OSError; InvalidValue if a checkpoint does not fit.
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
        f"{len(packed)} rooms, {steps} steps per epoch; "
        f"decoder of {model.decoder.count_params()} weights, "
        f"encoder of {model.encoder.count_params()}"
        + (f"; resuming after epoch {first}" if first else "")
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
    """Adam with a cosine schedule over all epochs of `steps` steps, warm-up over the first
    twentieth.
    """
    keras = studio_import("keras")
    total = steps * settings.epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.rate / 20,
        total - total // 20,
        alpha=0.1,
        warmup_target=settings.rate,
        warmup_steps=total // 20,
    )
    # XLA cuts the processor time to two thirds, after some seconds of compilation that a small
    # training does not recover.
    jit_compile = rooms * settings.epochs > 200_000
    model.compile(optimizer=keras.optimizers.Adam(schedule), jit_compile=jit_compile)


def _training_rooms(
    settings: TrainSettings, own: Halves | None, progress: Progress
) -> tuple[Halves, Floats]:
    """Packed maps (rooms, values) to train on, and for each 1.0 if it is from the cube, else
    0.0.
    """
    packed = draw_packed(settings.rooms, settings.seed, progress)
    cube = draw_cube(max(64, settings.rooms // 12), settings.seed)
    if own is not None and len(own):
        # Repeat own rooms until they are at least a quarter of all.
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
    """Saves weights, optimiser and losses after each epoch, to resume an interrupted training."""

    def __init__(self, folder: Path, model: Any, epochs: int) -> None:
        self._weights = folder / "checkpoint" / "model.weights.h5"
        self._notes = folder / "history.json"
        self._model, self._epochs = model, epochs
        self.history: dict[str, list[float]] = {}

    def restore(self) -> int:
        """Load the last state. Returns the number of finished epochs, 0 without a checkpoint.

        Raises InvalidValue if the checkpoint does not fit.
        """
        if not self._weights.exists():
            return 0
        try:
            self.history = json.loads(self._notes.read_text())
            with suppress_output():
                self._model.load_weights(self._weights)
            return len(self.history["loss"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidValue(
                f"{self._weights}: does not fit ({first_line(error)}); start again without --resume"
            ) from None

    def save(self, losses: dict[str, float]) -> None:
        """Save the state. Called after each epoch.

        Weights first: if the process ends in between, the last epoch is repeated.
        """
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
        """A Keras callback that saves after each epoch and reports each step."""
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
                self._remark = (
                    f"epoch {epoch + 1} of {checkpoint._epochs}, "
                    f"held-out decay error {logs['val_decay']:.2f} dB"
                )
                progress("training", (epoch + 1) * steps, checkpoint._epochs * steps, self._remark)

        return Watch()


def export(
    model: Any, name: str, examples: Floats, tell: Callable[[str], None]
) -> tuple[ModelFile, ModelFile]:
    """Decoder and encoder as model files in the smallest quantisation within MEAN_ERROR_DB."""
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
    """Latents over the cube, (points, 8): knobs in +-2, and in half of them colours in +-2."""
    latents = random.uniform(LATENT_LOW, LATENT_HIGH, (points, LATENTS))
    latents[: points // 2, KNOBS:] = 0.0
    return random.permutation(latents).astype(np.float32)


def save(folder: Path, trained: Trained) -> list[Path]:
    """Write both model files, each atomically. Raises OSError."""
    paths = [folder / "decoder.nvmodel", folder / "encoder.nvmodel"]
    container.write(paths[0], trained.decoder)
    container.write(paths[1], trained.encoder)
    return paths
