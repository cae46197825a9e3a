"""What is logged of a journal that does not answer: at once, then rarely, and the end."""

from __future__ import annotations

import logging

from thespian_dc.model.outage import Outage
from thespian_dc.shell.clock import now_us


class OutageLog:
    """Of one thread, in the log given: `<what>_unavailable` and `<what>_answers_again`."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log, self._what, self._outage = log, what, Outage()

    def failed(self, error: Exception) -> None:
        """Something could not be read or written; it is tried again."""
        times = self._outage.on_failure(now_us())
        if times:
            facts = {"reason": str(error), "times": times}
            self._log.warning(f"{self._what}_unavailable", extra=facts)

    def turn(self) -> None:
        """After each turn that tried something, whether it failed or not."""
        lasted_us = self._outage.on_turn(now_us())
        if lasted_us:
            self._log.warning(f"{self._what}_answers_again", extra={"after_s": lasted_us / 1e6})
