"""An error of one part of the control loop leaves the others."""

from __future__ import annotations

from itertools import pairwise

import pytest
from clock import Clock

from dsp.errors import UserError
from firmware_py.control.parts import FIRST_PAUSE_S, LONGEST_PAUSE_S, LoopParts


@pytest.mark.parametrize("error", [OSError(5, "Input/output error", "/data/x"), UserError("no")])
def test_failing_part_is_logged_once_and_tried_again_after_growing_pauses(
    capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    clock = Clock()
    parts, tries, works = LoopParts(clock), [], False

    def part() -> str:
        tries.append(clock.now)
        if not works:
            raise error
        return "done"

    for _ in range(20_000):  # 100 s of a loop
        clock.now += 0.005
        assert parts.run("disk", part) is None
        assert parts.run("other", lambda: "done") == "done"
    pauses = [b - a for a, b in pairwise(tries)]
    assert pauses[0] == pytest.approx(FIRST_PAUSE_S, abs=0.01)
    assert max(pauses) == pytest.approx(LONGEST_PAUSE_S, abs=0.01)
    assert list(parts.failed) == ["disk"]
    assert capsys.readouterr().err.count("\n") == 1
    works = True
    clock.now += LONGEST_PAUSE_S
    assert parts.run("disk", part) == "done"
    assert not parts.failed
    assert "disk: works again" in capsys.readouterr().err


def test_a_bug_is_no_failure_of_the_machine() -> None:
    with pytest.raises(ZeroDivisionError):
        LoopParts().run("sums", lambda: 1 / 0)
