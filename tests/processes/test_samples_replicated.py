"""The samples of replication, run as users run them: they compare by themselves what came out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.laws import ROOT
from tests.processes.ended import check_ended_twice

pytestmark = pytest.mark.processes


def run(script: str, *options: str) -> tuple[str, list[str]]:
    """What it printed, and the facts that it found to hold."""
    done = subprocess.run(
        [sys.executable, ROOT / "samples" / script, *options],
        capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    facts = re.findall(r"^(ok |NOT) (.*)$", done.stdout, re.MULTILINE)
    assert {holds for holds, _ in facts} == {"ok "}
    return done.stdout, [fact for _, fact in facts]


@pytest.mark.timeout(170)
def test_three_regions_that_were_cut_off_come_to_the_same_carts() -> None:
    """All took writes meanwhile; each change is stored once in each region."""
    said, facts = run("active_active/demo.py", "--seconds", "1")
    assert len(facts) == 5
    rows = re.findall(r"^  \w+ +(\d+) +(\d+) +(\d+)  (\w{16}) → (\w{16})$", said, re.MULTILINE)
    assert len(rows) == 3
    written, lacked, stored, apart, healed = zip(*rows, strict=True)
    assert {int(one) for one in stored} == {sum(map(int, written))}
    assert min(map(int, lacked)) > 0
    assert (len(set(apart)), len(set(healed))) == (3, 1)


@pytest.mark.timeout(170)
def test_a_standby_is_promoted_when_the_active_region_is_killed() -> None:
    """By the command line; what could not be had is reported, and comes later."""
    said, facts = run("hot_standby/demo.py")
    assert len(facts) == 9
    assert "was not promoted, because it lacks events" in said
    assert re.search(r"^east\tunknown\t.* is not available", said, re.MULTILINE)
    assert "20 events of east are listed at west" in said


@pytest.mark.timeout(170)
@pytest.mark.parametrize(("script", "systems"), [("active_active", 3), ("hot_standby", 2)])
def test_a_sample_that_is_ended_leaves_nothing_behind(
    script: str, systems: int, tmp_path: Path
) -> None:
    """By SIGTERM, and another one while it ends its regions for that."""
    all_of_them = 1 + systems * 6  # Admin, logger, coordinator, host, producer, replication
    check_ended_twice(f"{script}/demo.py", tmp_path, all_of_them, up_s=100, gone_s=30)
