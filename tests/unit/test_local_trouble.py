"""A `Local` source whose journal does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from thespian_dc.journal.api import Journal, open_journal
from thespian_dc.model.criteria import UNFILTERED
from thespian_dc.projection.api import SourceEvents
from thespian_dc.projection.local import LocalSource
from thespian_dc.testkit.eventually import eventually


class CountedSource(LocalSource):
    looks = 0

    def _slices_of(self, journal: Journal) -> int:
        self.looks += 1
        return super()._slices_of(journal)


def test_what_a_journal_says_at_every_try_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried ten times a second: the log would fill a disk that is nearly full."""
    url = f"sqlite:///{tmp_path}/journal.db"
    open_journal(url).close()
    source = CountedSource("cart", url)
    source.start("", {}, UNFILTERED, None, cast("SourceEvents", None))
    eventually(lambda: source.looks > 3)
    assert "it has no cart yet" in source.trouble
    source.stop()
    said = [one.msg for one in caplog.records if one.name == "thespian_dc.projection.local"]
    assert said == ["journal_unavailable"]
