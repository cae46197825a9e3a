"""Entities keep their contract in one process, without Thespian's processes."""

from __future__ import annotations

import pytest

from thespian_dc.testkit.entities import ENTITIES
from thespian_dc.testkit.entity_kit import EntityContract
from thespian_dc.testkit.local_entities import LocalEntities


class TestLocal(EntityContract):
    @pytest.fixture
    def driver(self) -> LocalEntities:
        return LocalEntities(*ENTITIES)
