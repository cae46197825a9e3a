"""The journal's conformance suite: a backend inherits it and has every promise tested.

    class TestMyJournal(JournalConformance):
        segment_records = 8                      # None where the backend has no segments

        @pytest.fixture
        def journal_factory(self):
            yield MyStorage()                    # see JournalStorage: open(), flip(rng), race_url

Differences between backends are the attributes of `Suite`, `DamageCases` and `RaceCases`, each with
its reason. The parts are in `journal_cases/`. Register them for pytest's assertion texts in a
conftest.py: `pytest.register_assert_rewrite("thespian_dc.testkit.journal_cases")`.
"""

from __future__ import annotations

from thespian_dc.testkit.journal_cases.damage import DamageCases
from thespian_dc.testkit.journal_cases.derived import DerivedCases
from thespian_dc.testkit.journal_cases.in_use import InUseCases
from thespian_dc.testkit.journal_cases.log import LogCases
from thespian_dc.testkit.journal_cases.race import RaceCases
from thespian_dc.testkit.journal_cases.registry import RegistryCases
from thespian_dc.testkit.journal_cases.storage import Flip, JournalStorage
from thespian_dc.testkit.journal_cases.twin import TwinCases

__all__ = ["Flip", "JournalConformance", "JournalStorage"]


class JournalConformance(
    LogCases, DerivedCases, RegistryCases, DamageCases, InUseCases, RaceCases, TwinCases
):
    """All parts of the suite. Override `journal_factory`."""
