"""What our processes log, as anybody's log shows it: the event's name, and its facts behind it.

Facts stand in `extra`, where a formatter that knows their names finds them. One that does not
showed `user_code_failed` and nothing else.
"""

from __future__ import annotations

import logging
from typing import Any

PACKAGE = "thespian_dc."
_OF_EVERY_RECORD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "actorAddress"}


class FactsRecord(logging.LogRecord):
    """A record whose text names its facts, each as Python writes it: on one line, whatever came
    from elsewhere."""

    def getMessage(self) -> str:
        text = super().getMessage()
        if not self.name.startswith(PACKAGE):
            return text
        found = [f"{k}={v!r}" for k, v in self.__dict__.items() if k not in _OF_EVERY_RECORD]
        return f"{text} {' '.join(found)}" if found else text

    def __reduce__(self) -> tuple[Any, ...]:
        """For Thespian's logger process, which needs none of our classes: Thespian has put this
        text in place of the event's name by then."""
        return logging.makeLogRecord, (self.__dict__,)


def warn(log: logging.Logger, event: str, **facts: object) -> None:
    """The same text in a process that is none of ours, but a test's or an actor's of the user's."""
    log.warning("%s %s", event, " ".join(f"{k}={v!r}" for k, v in facts.items()))


def show_facts() -> None:
    """From now on, in this process: one of ours. Another kind of records stays as it is."""
    if logging.getLogRecordFactory() is logging.LogRecord:
        logging.setLogRecordFactory(FactsRecord)
