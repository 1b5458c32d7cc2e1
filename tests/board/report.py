"""The results of the scenarios, as a table and as JSON."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """One line of the table. `bar`: the requirement; empty for a figure without one."""

    scenario: str
    board: str
    what: str
    figure: str
    bar: str
    ok: bool


@dataclass
class Report:
    """Collects checks from several threads and prints each."""

    checks: list[Check] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock, repr=False)
    _begun: float = field(default_factory=time.monotonic)

    def add(
        self,
        scenario: str,
        board: str,
        what: str,
        figure: object,
        bar: str = "",
        *,
        ok: bool = True,
    ) -> None:
        check = Check(scenario, board, what, str(figure), bar, bool(ok))
        with self._lock:
            self.checks.append(check)
            print(self.line(check), flush=True)

    @staticmethod
    def line(check: Check) -> str:
        mark = "ok  " if check.ok else "FAIL"
        bar = f"   (bar: {check.bar})" if check.bar else ""
        return f"{mark}  {check.scenario:8} {check.board:6} {check.what:44} {check.figure}{bar}"

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    def table(self) -> str:
        order = {
            name: place for place, name in enumerate(dict.fromkeys(c.scenario for c in self.checks))
        }
        rows = sorted(self.checks, key=lambda c: order[c.scenario])
        took = "   ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        failed = sum(not check.ok for check in self.checks)
        seconds = time.monotonic() - self._begun
        last = f"{len(rows)} checks, {failed} failed, {seconds:.0f} s in all   ({took})"
        return "\n".join([*map(self.line, rows), "", last])

    def json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "seconds": round(time.monotonic() - self._begun, 1),
            "parts": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
            "checks": [asdict(check) for check in self.checks],
        }
