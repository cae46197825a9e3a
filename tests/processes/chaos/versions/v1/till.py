"""The first version of an application's entity."""

from __future__ import annotations

from tests.processes.chaos.ledger import Ledger


class Till(Ledger):
    """As it is."""
