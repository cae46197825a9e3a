"""The examples of the pages work as they stand there, like the README's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import blocks
from tests.docs.blocks import fault, read_blocks
from tests.docs.conftest import Installed
from tests.laws import ROOT

PAGES = ("delivery", "parking", "push", "security")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_how_it_is_checked(page: str) -> None:
    """Pictures and sketches are text blocks; all else is run."""
    found = read_blocks((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert [one for one in found if one.kind == "run"], "nothing to run"
    assert not [fault(one) for one in found if fault(one)]


@pytest.mark.processes
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_blocks_run_in_order(installed: Installed, tmp_path: Path, page: str) -> None:
    """From the installed wheel, in an empty folder."""
    for block in read_blocks((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")):
        if block.kind in {"run", "file"}:
            try:
                blocks.run(block, tmp_path, installed.environment())
            except AssertionError as failed:
                raise AssertionError(f"{page}.md {block.title}: {failed}") from failed
