"""samples/existing_app: a Thespian program, and the same program with entities added."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "samples" / "existing_app"
CHANGED_LINES_MAX = 15

pytestmark = pytest.mark.processes


def changed(name: str) -> list[str]:
    sides = [SAMPLE / side / name for side in ("before", "after")]
    before, after = (side.read_text().splitlines() for side in sides)
    return [
        line
        for line in difflib.unified_diff(before, after, n=0, lineterm="")
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]


def test_entities_are_added_in_few_lines() -> None:
    """A team drops entities in: what it had stays as it was."""
    assert 0 < len(changed("app.py")) <= CHANGED_LINES_MAX


def test_no_actor_is_edited() -> None:
    """Neither the actors nor the program's own tests know of the entities."""
    assert changed("desk.py") == []
    assert changed("test_app.py") == []


@pytest.mark.parametrize("side", ["before", "after"])
def test_the_programs_own_tests_pass(side: str, tmp_path: Path) -> None:
    """Both versions pass the same tests."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SAMPLE / side)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SAMPLE / side)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
