"""A page for ears: rooms as recorded, encoded and decoded, each through the same dry clip, and a
blind test after MUSHRA (ITU-R BS.1534): a known reference, and in random order the hidden
reference, the two copies and a low-passed anchor. HTML for any browser, without a network."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bank.sound import write_sound
from dsp.acoustics import onset
from dsp.energymap import EnergyMap
from dsp.loudness import of_samples
from dsp.synthesis import LONGEST_S, Synthesiser
from models.decoder import Decoder, Encoder
from models.encoding import encode
from models.files import write_atomically
from models.measures import RATE_HZ
from models.width import width_of

Floats = NDArray[np.float32]

ROOMS = 10
"""On a page."""
CLIP_S = 4.0
ANCHOR_HZ = 3500.0
"""The low-pass of MUSHRA's anchor."""
PEAK = 0.8
KINDS = {
    "original": "the recording",
    "encoded": "as nverb encode keeps it",
    "decoded": "the latents alone, without the residual",
    "anchor": f"the recording, low-passed at {ANCHOR_HZ / 1000:g} kHz",
}


@dataclass(frozen=True)
class Recorded:
    """A recorded room: float32 (1 or 2 channels, taps) at RATE_HZ."""

    name: str
    samples: Floats


def write_page(
    folder: Path,
    rooms: Iterable[Recorded],
    clip: Floats,
    decoder: Decoder,
    encoder: Encoder,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Write index.html and the sounds into `folder`; the number of rooms.

    `clip`: dry, float32 (frames,) at RATE_HZ. Raises InvalidValue for a silent room, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trials = []
    for number, room in enumerate(rooms):
        sounds = matched(versions(room, decoder, encoder), clip)
        files = {}
        for kind, sound in sounds.items():
            # The name of a file must not tell what it holds.
            key = hashlib.blake2b(f"{number} {room.name} {kind}".encode(), digest_size=6)
            files[kind] = f"{key.hexdigest()}.flac"
            _write(folder / files[kind], sound)
        trials.append({"room": room.name, "files": files})
        progress(number + 1)
    page = _PAGE.replace("TRIALS", json.dumps(trials).replace("<", "\\u003c"))
    page = page.replace("KINDS", json.dumps(KINDS)).replace("MODEL", html.escape(decoder.name))
    write_atomically(
        folder / "index.html", lambda file: file.write(page.encode(errors="replace")), durable=False
    )
    return len(trials)


def _write(path: Path, sound: Floats) -> None:
    write_sound(path, RATE_HZ, 2, lambda file: file.write(sound), durable=False)


def versions(room: Recorded, decoder: Decoder, encoder: Encoder) -> dict[str, Floats]:
    """The IRs (2, taps) of a room by kind, from the direct sound on.

    A recording of one channel is compared in mono: a copy that is wider would be told by that.
    """
    samples = room.samples[:2]
    loudest = samples[int(np.argmax((samples.astype(np.float64) ** 2).sum(axis=1)))]
    width = width_of(samples[0], samples[1], RATE_HZ) if len(samples) == 2 else 0.0
    encoded = encode(loudest, decoder, encoder, width=width)
    x, y, z, *colours = (float(value) for value in encoded.latent)
    begin = min(onset(channel) for channel in samples if np.abs(channel).max() > 0)
    sides = np.resize(samples, (2, samples.shape[1]))[:, begin : begin + int(LONGEST_S * RATE_HZ)]
    return {
        "original": np.ascontiguousarray(sides),
        "encoded": _ir(encoded.room, width),
        "decoded": _ir(decoder.energy_map(x, y, z, colours), width),
        "anchor": low_passed(sides),
    }


def _ir(room: EnergyMap, width: float) -> Floats:
    return Synthesiser(RATE_HZ, room.grid)(room, width)


def low_passed(ir: Floats) -> Floats:
    """The IR without what is above ANCHOR_HZ; half an octave of slope."""
    size = 2 * ir.shape[1]
    hz = np.fft.rfftfreq(size, 1 / RATE_HZ)
    slope = np.clip(np.log2(np.maximum(hz, 1.0) / ANCHOR_HZ) / 0.5, 0, 1)
    gain = 0.5 + 0.5 * np.cos(np.pi * slope)
    return np.asarray(
        np.fft.irfft(np.fft.rfft(ir, size) * gain, size)[:, : ir.shape[1]], np.float32
    )


def matched(irs: dict[str, Floats], clip: Floats) -> dict[str, Floats]:
    """The clip through each IR, (frames, 2): equally loud (dsp.loudness), equally long, and none
    above PEAK."""
    longest = max(ir.shape[1] for ir in irs.values())
    frames = len(clip) + longest
    size = 1 << (frames - 1).bit_length()
    dry = np.fft.rfft(clip, size)
    sounds = {}
    for kind, ir in irs.items():
        equal = ir * np.float32(of_samples(ir, RATE_HZ) ** -0.5)
        sounds[kind] = np.fft.irfft(np.fft.rfft(equal, size) * dry, size)[:, :frames].T
    gain = PEAK / max(float(np.abs(sound).max()) for sound in sounds.values())
    return {kind: (sound * gain).astype(np.float32) for kind, sound in sounds.items()}


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>MODEL: listening test</title><style>
body { font: 15px/1.45 sans-serif; max-width: 60em; margin: 1em auto; padding: 0 1em; }
fieldset { margin: 1em 0; border: 1px solid #bbb; }
.row { display: flex; gap: 1em; align-items: center; margin: .3em 0; }
.row input { flex: 1; } button { min-width: 7em; padding: .3em; }
button.on { background: #357; color: #fff; } output { width: 2.5em; text-align: right; }
audio { height: 32px; vertical-align: middle; }
td { padding: 2px 8px; }
</style></head><body><h1>MODEL: can you tell the copies from the room?</h1>
<p>For each room play the reference, then the sounds A to D, which are in random order. One of them
is the reference itself; give it 100. Rate how near each of the others is to the reference: 100 no
difference, 80 excellent, 60 good, 40 fair, 20 poor, 0 bad. You can change between sounds while they
play. Headphones are best.</p>
<p><label>Your name: <input id="listener"></label></p>
<div id="test"></div>
<p><button id="save">Download the results (CSV)</button> <span id="told"></span></p>
<h2>All sounds, with their names</h2>
<p>After the test.</p>
<details><summary>Show them</summary><div id="open"></div></details>
<script>
"use strict";
const trials = TRIALS, kinds = KINDS, letters = "ABCD";
const player = new Audio();
player.loop = true;
let pressed = null;
function play(button, file) {
  const same = pressed && pressed.dataset.room === button.dataset.room;
  const at = same ? player.currentTime : 0;
  if (pressed) pressed.classList.remove("on");
  if (pressed === button && !player.paused) { player.pause(); pressed = null; return; }
  player.src = file;
  player.addEventListener("loadedmetadata", () => { player.currentTime = at; }, { once: true });
  player.play();
  pressed = button;
  button.classList.add("on");
}
function shuffled(list) {
  const result = list.slice();
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}
function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
}
function playButton(parent, text, room, file) {
  const button = element("button", text, parent);
  button.dataset.room = room;
  button.onclick = () => play(button, file);
  return button;
}
const ratings = [];
for (const room of shuffled(trials.map((_, i) => i))) {
  const trial = trials[room];
  const box = element("fieldset", "", document.getElementById("test"));
  element("legend", "Room " + (document.querySelectorAll("fieldset").length), box);
  playButton(element("div", "", box), "Reference", room, trial.files.original);
  shuffled(Object.keys(kinds)).forEach((kind, place) => {
    const row = element("div", "", box);
    row.className = "row";
    playButton(row, letters[place], room, trial.files[kind]);
    const slider = element("input", "", row);
    Object.assign(slider, { type: "range", min: 0, max: 100, value: 50 });
    const shown = element("output", "", row);
    const rating = { room: trial.room, kind, slider, rated: false };
    slider.oninput = () => { rating.rated = true; shown.textContent = slider.value; };
    ratings.push(rating);
  });
}
const table = element("table", "", document.getElementById("open"));
for (const trial of trials) {
  element("th", trial.room, element("tr", "", table)).colSpan = 2;
  for (const [kind, what] of Object.entries(kinds)) {
    const row = element("tr", "", table);
    element("td", kind + ": " + what, row);
    const sound = element("audio", "", element("td", "", row));
    Object.assign(sound, { controls: true, preload: "none", src: trial.files[kind] });
  }
}
document.getElementById("save").onclick = () => {
  const missing = ratings.filter((rating) => !rating.rated).length;
  const told = document.getElementById("told");
  told.textContent = missing ? missing + " sounds are not rated; they are left out." : "";
  const quoted = (text) => '"' + String(text).replaceAll('"', '""') + '"';
  const name = document.getElementById("listener").value;
  const lines = ratings.filter((rating) => rating.rated).map((rating) =>
    [quoted(name), quoted(rating.room), rating.kind, rating.slider.value].join(","));
  const csv = ["listener,room,sound,rating", ...lines].join("\\r\\n") + "\\r\\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
  link.download = "ratings.csv";
  link.click();
};
</script></body></html>
"""
