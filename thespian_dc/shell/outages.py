"""What a thread logs of a registry that does not answer it: at once, then rarely, and the end."""

from __future__ import annotations

import logging

from thespian_dc.model.outage import Outage
from thespian_dc.shell.clock import now_us


class RegistryLog:
    """Of one thread, in the log given."""

    def __init__(self, log: logging.Logger) -> None:
        self._log, self._outage = log, Outage()

    def failed(self, error: Exception) -> None:
        """Something could not be read or written; it is tried again."""
        times = self._outage.on_failure(now_us())
        if times:
            facts = {"reason": str(error), "times": times}
            self._log.warning("registry_unavailable", extra=facts)

    def turn(self) -> None:
        """After each turn, whether something failed or not."""
        lasted_us = self._outage.on_turn(now_us())
        if lasted_us:
            self._log.warning("registry_answers_again", extra={"after_s": lasted_us / 1e6})
