"""Progress on stderr: a bar on a terminal, a line every LINE_EVERY_S in a file."""

from __future__ import annotations

import sys
import time

from dsp.names import shown

WIDTH = 30
LINE_EVERY_S = 30.0
is_quiet = False
"""Whether bars stay hidden: `nverb --quiet`."""


class Bar:
    """Shows how far a task is: `bar(what, done, of, remark)`. A new `what` starts a new line."""

    def __init__(self) -> None:
        self._what = ""
        self._began_s = self._shown_s = 0.0
        self._first = 0
        self._open = False
        self._terminal = sys.stderr.isatty()

    def __call__(self, what: str, done: int, of: int, remark: str = "") -> None:
        if is_quiet:
            return
        now_s = time.monotonic()
        if what != self._what:
            self.close()
            self._what, self._began_s, self._shown_s, self._first = what, now_s, now_s, done
        elif done < of and now_s - self._shown_s < (0.1 if self._terminal else LINE_EVERY_S):
            return
        self._shown_s = now_s
        share = done / max(of, 1)
        line = f"{what} {share:4.0%} {done} of {of}"
        if done < of and done > self._first:
            left_s = (now_s - self._began_s) * (of - done) / (done - self._first)
            line += f", {_duration(left_s)} left"
        if remark:
            line += f", {remark}"
        line = shown(line)
        if self._terminal:
            filled = int(share * WIDTH)
            print(
                f"\r[{'#' * filled}{'.' * (WIDTH - filled)}] {line}\x1b[K",
                end="",
                file=sys.stderr,
                flush=True,
            )
            self._open = True
            if done >= of:
                self.close()
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line, so that the next output starts on a new one."""
        if self._open:
            print(file=sys.stderr, flush=True)
        self._open = False


def _duration(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d} min" if whole >= 60 else f"{whole} s"


class Report:
    """Receives progress and notes of a task. This class ignores them."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` bytes; 0 of 0 at the start of a stage without a count."""

    def note(self, text: str) -> None:
        """A remark for the user; the task continues."""
