"""A transaction of a consumer's database that is kept whole, or nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Committing(Protocol):
    """The part of a database that ends transactions (databases.Database)."""

    def begin(self) -> None: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


@contextmanager
def own_transaction(database: Committing) -> Iterator[None]:
    """What is done inside, in a transaction of its own; whatever raises, nothing of it is kept."""
    database.begin()
    try:
        yield
        database.commit()
    except BaseException:
        database.rollback()
        raise
