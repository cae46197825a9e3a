"""A Cassandra that may be killed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from thespian_dc.model.errors import MissingToolError
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra


@pytest.fixture
def cassandra_of_its_own() -> Iterator[EmbeddedCassandra]:
    """To be killed; skipped on a laptop that lacks the tools, failed in CI."""
    server = EmbeddedCassandra(heap_mb=768)
    try:
        server.start()
    except MissingToolError as missing:
        if os.environ.get("THESPIAN_DC_CI") == "1":
            raise
        pytest.skip(str(missing))
    yield server
    server.stop()
