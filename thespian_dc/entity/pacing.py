"""How many commands of one entity are under way at once. Pure.

An entity remembers the ids of its last commands (limits.known_commands, 512 by default). When its
host is lost, what that host had is sent again, and what it had persisted must still be remembered
then: so no more are under way than are remembered. The others wait here, in order.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

ENTITY_COMMANDS_MAX = 400


class Paced(Protocol):
    """A command. counted: it is under way, and does not wait here. done: it has ended."""

    entity_type: str
    entity_id: str
    counted: bool
    done: bool


P = TypeVar("P", bound=Paced)


class Pacing(Generic[P]):
    """Of one router. Each command is `admit`ted once and `ended` once."""

    def __init__(self, at_once: int = ENTITY_COMMANDS_MAX) -> None:
        self._at_once = at_once
        self._under_way: dict[tuple[str, str], int] = {}
        self._waiting: dict[tuple[str, str], deque[P]] = {}

    def admit(self, command: P) -> bool:
        """Whether it may go now; else `ended` returns it when it is its turn."""
        key = (command.entity_type, command.entity_id)
        under_way = self._under_way.get(key, 0)
        if under_way >= self._at_once:
            waiting = self._waiting.get(key)
            if waiting is None:
                waiting = self._waiting[key] = deque()  # bounded by the router's commands_max
            waiting.append(command)
            return False
        self._under_way[key] = under_way + 1
        command.counted = True
        return True

    def ended(self, command: P) -> P | None:
        """The next of its entity, which goes now; None where none waits."""
        if not command.counted:
            return None
        command.counted = False
        key = (command.entity_type, command.entity_id)
        waiting = self._waiting.get(key)
        while waiting:
            following = waiting.popleft()
            if not following.done:
                following.counted = True
                return following
        self._waiting.pop(key, None)
        under_way = self._under_way[key] - 1
        if under_way:
            self._under_way[key] = under_way
        else:
            del self._under_way[key]
        return None
