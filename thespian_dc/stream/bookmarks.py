"""Places in a list at entities that may not be named to who reads it: each by a token that says
nothing. From any thread."""

from __future__ import annotations

import secrets
from threading import Lock
from typing import NamedTuple

BOOKMARKS_MAX = 1_000
"""Kept; the oldest goes. Whoever comes back with it begins further back."""
TOKEN_BYTES = 16


class Place(NamedTuple):
    """Behind this entity, in the order in which the journal lists those of a slice."""

    slice: int
    entity_id: str


class Bookmarks:
    """Of one replica stream."""

    def __init__(self) -> None:
        self._places: dict[bytes, Place] = {}
        self._lock = Lock()

    def put(self, place: Place) -> bytes:
        """The token by which `find` knows it."""
        token = secrets.token_bytes(TOKEN_BYTES)
        with self._lock:
            if len(self._places) >= BOOKMARKS_MAX:
                del self._places[next(iter(self._places))]
            self._places[token] = place
        return token

    def find(self, token: bytes, slice_: int, otherwise: str) -> str:
        """The entity of this slice behind which to go on; `otherwise` where that is not known."""
        place = self._places.get(token)
        return otherwise if place is None or place.slice != slice_ else place.entity_id
