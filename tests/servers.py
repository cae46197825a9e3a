"""A Cassandra of a test's own, and whether one may be missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from thespian_dc.model.errors import MissingToolError
from thespian_dc.testkit.embedded_cassandra import EmbeddedCassandra

IN_CI = os.environ.get("THESPIAN_DC_CI") == "1"


@contextmanager
def own_cassandra(**options: Any) -> Iterator[EmbeddedCassandra]:
    """EmbeddedCassandra(**options), started, and stopped at the end; skips on a laptop that lacks
    the tools, fails in CI."""
    server = EmbeddedCassandra(**options)
    try:
        server.start()
    except MissingToolError as missing:
        if IN_CI:
            raise
        pytest.skip(str(missing))
    try:
        yield server
    finally:
        server.stop()
