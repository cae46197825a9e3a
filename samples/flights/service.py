"""A service as the demo sees it: a process that takes orders and gives facts, each a line of
JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Service:
    """One service process. `latest` holds the newest value of each fact it said."""

    def __init__(self, script: str, log: Path, *options: str) -> None:
        self.name, self.log, self.latest = script, log, dict[str, Any]()
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, script, *options],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("ab"),
            start_new_session=True,  # the demo is what a signal ends: it ends this
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def order(self, **order: Any) -> None:
        assert self.process.stdin is not None
        with self._news:
            if order["do"] == "send":
                self.latest.pop("done", None)
                self.latest.pop("acknowledged", None)
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def wait_for(self, fact: str, timeout_s: float) -> Any:
        """The fact's value as soon as it is said; SystemExit when the process ends or stays silent
        about it."""
        with self._news:
            self._news.wait_for(lambda: fact in self.latest or "ended" in self.latest, timeout_s)
            if fact not in self.latest:
                raise SystemExit(
                    f"{self.name} did not say {fact!r} within {timeout_s:.0f} s; see {self.log}"
                )
            return self.latest[fact]

    def status(self) -> dict[str, Any]:
        """What its node says of itself now."""
        with self._news:
            self.latest.pop("status", None)
        self.order(do="status")
        status: dict[str, Any] = self.wait_for("status", 20)
        return status

    def stop(self) -> None:
        """End it in good order; by force where it does not come to an end."""
        if self.process.poll() is None:
            try:
                self.order(do="stop")
                self.process.wait(30)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                facts = json.loads(line)
            except ValueError:
                continue
            with self._news:
                self.latest.update(facts)
                self._news.notify_all()
        with self._news:
            self.latest["ended"] = True
            self._news.notify_all()
