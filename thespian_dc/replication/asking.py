"""Asks peers where their logs end, on threads of its own: one that does not answer keeps its thread
for seconds."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from thespian_dc.model.errors import ThespianDcError
from thespian_dc.replication.catch_up import AskHeads, CatchUp

log = logging.getLogger(__name__)

ASKERS = 4


class _Answer(NamedTuple):
    asked: CatchUp
    question: AskHeads
    found: Mapping[int, int] | Exception


class Asking:
    """heads: asks one peer; blocks, ThespianDcError. on_news: called from any thread when there is
    something to `take`."""

    def __init__(
        self, heads: Callable[[str], Mapping[int, int]], on_news: Callable[[], None]
    ) -> None:
        self._heads, self._on_news = heads, on_news
        self._answers: deque[_Answer] = deque()  # bounded: one per peer is asked for at a time
        self._askers = ThreadPoolExecutor(ASKERS, thread_name_prefix="heads")

    def stop(self) -> None:
        self._askers.shutdown(wait=False, cancel_futures=True)

    def ask(self, asks: CatchUp, question: AskHeads) -> None:
        """The answer goes to `asks` at a later `take`."""
        asked = self._askers.submit(self._heads, question.peer)
        asked.add_done_callback(partial(self._on_asked, asks, question))

    def take(self) -> None:
        """Hand out what was answered."""
        while self._answers:
            answer = self._answers.popleft()
            if isinstance(answer.found, Exception):
                answer.asked.on_unreachable(*answer.question, str(answer.found))
            else:
                answer.asked.on_heads(*answer.question, answer.found)

    def on_answer(
        self, asks: CatchUp, question: AskHeads, found: Mapping[int, int] | Exception
    ) -> None:
        """From any thread: the peer's heads, or why there are none."""
        self._answers.append(_Answer(asks, question, found))
        self._on_news()

    def _on_asked(self, asks: CatchUp, question: AskHeads, asked: Any) -> None:
        if asked.cancelled():
            return
        error = asked.exception()
        if error is not None and not isinstance(error, ThespianDcError):
            log.error("heads_failed", exc_info=error)
        self.on_answer(asks, question, asked.result() if error is None else error)
