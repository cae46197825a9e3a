"""Live progress: one line that is rewritten on a terminal, a plain line every few seconds
elsewhere."""

from __future__ import annotations

import sys
import time

PLAIN_EVERY_S = 5.0
LIVE_EVERY_S = 0.2


class Progress:
    def __init__(self, total: int) -> None:
        self.total, self.live = total, sys.stdout.isatty()
        self.started, self.shown_at, self.open_line = time.monotonic(), 0.0, False

    def is_due(self) -> bool:
        return time.monotonic() - self.shown_at >= (LIVE_EVERY_S if self.live else PLAIN_EVERY_S)

    def show(self, acknowledged: int, handled: int, lag: int) -> None:
        """lag: events that are stored and not handled."""
        now = self.shown_at = time.monotonic()
        rate = handled / max(now - self.started, 0.001)
        left = f"{(self.total - handled) / rate:4.0f} s" if rate > 0 else "   ? s"
        line = (
            f"{acknowledged:>7} commands acknowledged   {handled:>7} of {self.total} events "
            "handled   "
            f"{rate:>6.0f}/s   lag {lag:>6}   ETA {left}"
        )
        self._print(line, end="" if self.live else "\n")

    def note(self, text: str) -> None:
        self._print(text, end="\n")
        self.open_line = False

    def close(self) -> None:
        if self.open_line:
            print(flush=True)
        self.open_line = False

    def _print(self, line: str, end: str) -> None:
        print(f"\r\x1b[2K{line}" if self.live else line, end=end, flush=True)
        self.open_line = self.live and end == ""
