"""`nverb bank browse`: HTML that any browser takes, with pictures and players that work."""

from __future__ import annotations

import base64
import os
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from bank.browse import CLIP_HZ, HEIGHT, WIDTH
from bank.build import build
from firmware_py.cli import main
from firmware_py.rooms.source import find_source

VOID = {"meta", "br", "img", "rect", "circle", "polygon"}
"""Elements without an end: of HTML, and of SVG here, which are written as <.../>."""


class Page(HTMLParser):
    """The elements of a page. Fails on an end without its beginning, in the wrong order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag}: an attribute twice"
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            assert self._open[-1] == "tr"
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("rect", "circle", "polygon"), f"<{tag}/> has no meaning in HTML"
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> ends another element"

    def handle_data(self, data: str) -> None:
        if self._open and {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [about for name, about in self.found if name == tag]


def page_of(source: Path, out: Path) -> Page:
    """The page, once all of it is valid: every picture decodes, every player has its sound."""
    assert main(["bank", "browse", str(source), "-o", str(out)]) == 0
    text = (out / "index.html").read_text()
    assert text.startswith("<!doctype html>") and "http" not in text
    page = Page(text)
    assert len({len(row) for row in page.rows}) == 1, "rows of unlike length"
    for image in page.all("img"):
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64" and image["alt"]
        picture = Image.open(BytesIO(base64.b64decode(data, validate=True)))
        picture.load()
        assert picture.size == (WIDTH, HEIGHT) == (int(image["width"]), int(image["height"]))
    players = [player["src"] for player in page.all("audio")]
    assert len(set(players)) == len(players) == len(page.rows) - 1 == len(page.all("img"))
    for player in players:
        sound, rate_hz = soundfile.read(out / player)
        assert rate_hz == CLIP_HZ and sound.shape[1] == 2 and 0.05 < np.abs(sound).max() <= 1
    assert {file.name for file in out.iterdir()} == {"index.html", *players}
    for shape in page.all("polygon"):
        points = np.array([point.split(",") for point in shape["points"].split()], float)
        assert points.min() >= 0 and (points <= [WIDTH, HEIGHT]).all()
    return page


def decay(frames: int, channels: int = 1) -> NDArray[np.float64]:
    draw = np.random.default_rng(frames)
    ir = draw.standard_normal((frames, channels)) * np.exp(-np.arange(frames) / 3000)[:, None]
    ir[0] = 1
    return 0.2 * ir


def test_page_of_odd_recordings_is_valid(tmp_path: Path) -> None:
    """Names with all that HTML escapes, a byte that is not UTF-8, one sample, four channels."""
    folder = tmp_path / '<i>"irs" & {more}'
    folder.mkdir()
    odd = {
        "a <b> \"c\" & 'd' {e} &amp;.wav": (decay(9000, 2), 48000),
        "new\nline.wav": (decay(300), 8000),
        os.fsdecode(b"\xff raum.wav"): (decay(4000, 4), 192000),
        "one sample é 日本.wav": (decay(1), 44100),
        "low.wav": (decay(2000), 1000),
    }
    for name, (samples, rate_hz) in odd.items():
        with (folder / name).open("wb") as file:
            soundfile.write(file, samples, rate_hz, format="WAV", subtype="FLOAT")
    page = page_of(folder, tmp_path / "page")
    names = " ".join(row[1] for row in page.rows)
    assert "a <b> \"c\" & 'd' {e} &amp;.wav" in names and "one sample é 日本.wav" in names
    assert len(page.rows) == 1 + len(odd)


def test_page_of_a_bank_has_the_places_of_its_recordings(tmp_path: Path) -> None:
    (tmp_path / "irs").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / f"irs/{number}.wav", decay(4000 + number), 48000)
    (tmp_path / "irs/coordinates.csv").write_text("0.wav,0,9,4.5\n1.wav,1,2,3\n2.wav,9,0,0\n")
    bank = tmp_path / "o.nvbank"
    assert main(["bank", "import", str(tmp_path / "irs"), "-o", str(bank)]) == 0
    page = page_of(bank, tmp_path / "page")
    assert [row[4].strip() for row in page.rows[1:]] == [
        "x 0.00 y 9.00 z 4.50",
        "x 1.00 y 2.00 z 3.00",
        "x 9.00 y 0.00 z 0.00",
    ]


def test_page_of_drawn_rooms_has_the_corners_and_the_middle(tmp_path: Path) -> None:
    """The room at x 9 rings longer than that at x 0, in the page's own figures."""
    bank = tmp_path / "o.nvbank"
    rooms = find_source(None)
    build(bank, rooms.energy_map, steps=2, name="rooms", progress=lambda done, of: None)
    page = page_of(bank, tmp_path / "page")
    assert len(page.rows) == 10
    at_1_khz = page.rows[0].index("1k")
    times = {row[4].strip(): float(row[at_1_khz]) for row in page.rows[1:]}
    assert times["x 9.00 y 0.00 z 0.00"] > 2 * times["x 0.00 y 0.00 z 0.00"]
    assert "x 4.50 y 4.50 z 4.50" in times


def test_a_source_that_cannot_be_shown_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("no bank")
    for source in ("text", "nothing"):
        assert main(["bank", "browse", str(tmp_path / source), "-o", str(tmp_path / "p")]) == 1
        assert source in capsys.readouterr().err
        assert not (tmp_path / "p" / "index.html").exists()
