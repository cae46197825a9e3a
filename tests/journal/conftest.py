"""Readable assertion texts from the shipped suite."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("thespian_dc.testkit.journal_cases")
