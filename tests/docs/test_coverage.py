"""docs/coverage.md and docs/behaviours.md name what is there: behind a renamed or deleted test a
promise would stand unproved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.laws import ROOT

PAGE = ROOT / "docs" / "coverage.md"
BEHAVIOURS = ROOT / "docs" / "behaviours.md"
KIT = "thespian_dc/testkit/entity_kit.py"
CASES = "thespian_dc/testkit/journal_cases"


def named_tests(text: str) -> list[tuple[str, str]]:
    """(file, test) as the pages mean them: `file::test`, `::test` of the file before it in its
    line, `kit test`. A test's name may end in *."""
    found = []
    for line in text.splitlines():
        path = ""
        for kit, file, name in re.findall(r"(kit )?`([\w/.]*?)(?:::)?(test_\w+\*?)`", line):
            path = KIT if kit else file or path
            found.append((path, name))
    return found


def located(path: str) -> Path | None:
    """Where the page's short form points to."""
    places = (path, f"tests/{path}", path.replace("cases/", f"{CASES}/", 1))
    return next((ROOT / one for one in places if path and (ROOT / one).is_file()), None)


@pytest.mark.parametrize("page", [PAGE, BEHAVIOURS], ids=lambda page: page.stem)
def test_every_named_test_is_there(page: Path) -> None:
    """In the file that the page names."""
    named = named_tests(page.read_text(encoding="utf-8"))
    assert len(named) > 100, "the page's form is not understood any more"
    wrong = []
    for path, name in named:
        file, pattern = located(path), rf"def {name.replace('*', '')}{'' if '*' in name else '[(]'}"
        if file is None or not re.search(pattern, file.read_text(encoding="utf-8")):
            wrong.append(f"{path}::{name}")
    assert not wrong


def test_each_behaviour_is_shown_or_said_to_be_missing() -> None:
    """Once, in order: none is left out in silence."""
    rows = re.findall(
        r"^\| (\d+) \| (.+?) \| (.+) \|$", BEHAVIOURS.read_text("utf-8"), re.MULTILINE
    )
    assert [int(number) for number, *_ in rows] == [*range(1, 126)]
    for number, _, shown in rows:
        assert named_tests(shown) or shown.startswith(("not needed: ", "not there: ")), number
