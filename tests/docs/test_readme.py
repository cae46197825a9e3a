"""Each code block of the README, and of pages whose blocks say how, works: from the installed
wheel, in an empty folder, in order."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs import blocks
from tests.docs.blocks import (
    Block,
    check_output,
    fault,
    read_blocks,
    split_console,
    with_free_ports,
)
from tests.docs.conftest import Installed
from tests.laws import ROOT

README = ROOT / "README.md"
PAGES = [README, *(page for page in sorted((ROOT / "docs").glob("*.md"))
                   if "\n<!-- run: " in page.read_text(encoding="utf-8"))]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_how_it_is_checked(page: Path) -> None:
    """An unmarked block would look checked and not be."""
    found = read_blocks(page.read_text(encoding="utf-8"))
    assert [one for one in found if one.kind in {"run", "file"}], "nothing to run"
    assert not [fault(one) for one in found if fault(one)]


def test_make_blocks_name_targets_that_exist() -> None:
    """They are run by CI itself, or take minutes: here only that make knows them."""
    for block in read_blocks(README.read_text(encoding="utf-8")):
        if block.kind == "make":
            _check_make(block)


@pytest.mark.processes
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run_in_order(installed: Installed, tmp_path: Path, page: Path) -> None:
    """What a reader types works on their machine: no checkout, no path of ours."""
    for block in read_blocks(with_free_ports(page.read_text(encoding="utf-8"))):
        if block.kind in {"run", "file"}:
            try:
                blocks.run(block, tmp_path, installed.environment())
            except AssertionError as failed:
                raise AssertionError(f"{page.name} {block.title}: {failed}") from failed


def _check_make(block: Block) -> None:
    commands, _ = split_console(block.text)
    assert commands, block.title
    for command in commands:
        words = command.split("#")[0].split()
        if words[0] in {"git", "cd"}:
            continue
        assert words[0] == "make", f"{block.title}: {command!r} is not a make command"
        done = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.title}: {command}: {done.stderr}"


PAGE = """
<!-- file: shop.py -->
```python
APPLES = 2
```

<!-- run: first -->
```python
import shop
assert shop.APPLES == 2
```

<!-- run: commands -->
```console
test -f shop.py
cat shop.py
```

<!-- run: second -->
```console
$ python -c 'import shop
> print("apples:", shop.APPLES, id(shop))'
apples: 2 …
$ sleep 1000 &
```
"""


def test_harness_runs_files_programs_and_commands(tmp_path: Path) -> None:
    """The proof of the harness: blocks build on each other, and what they leave running ends."""
    for block in read_blocks(PAGE):
        assert not fault(block)
        blocks.run(block, tmp_path, os.environ)


def test_a_pages_ports_are_others_when_it_runs() -> None:
    """Each is one other, wherever it stands; what is no port stays."""
    page = "listen :18161 2019 118161\n$ tail :18161\n{'Admin Port': 19061}\n"
    first, year, number, again, admin = re.findall(r"\d+", with_free_ports(page))
    assert (year, number) == ("2019", "118161")
    assert first == again
    assert len({first, admin, "18161", "19061"}) == 4


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("<!-- run: x -->\n```python\nassert False\n```\n", "exit code 1"),
        ("<!-- run: x -->\n```console\n$ false\n$ true\n```\n", "exit code 1"),
        ("<!-- run: x -->\n```console\n$ echo a\nb\n```\n", "not printed: 'b'"),
        ("<!-- run: x -->\n```console\n$ printf 'b\\na\\n'\na\nb\n```\n", "not printed: 'b'"),
    ],
)
def test_harness_catches_a_block_that_fails(page: str, why: str, tmp_path: Path) -> None:
    """A check that cannot fail is none."""
    (block,) = read_blocks(page)
    with pytest.raises(AssertionError, match=why):
        blocks.run(block, tmp_path, os.environ)


@pytest.mark.parametrize(
    "page",
    [
        "```python\nprint()\n```\n",
        "```\nprint()\n```\n",
        "<!-- run: x -->\n\n```python\nprint()\n```\n",
        "<!-- run: x -->\n```toml\na = 1\n```\n",
        "<!-- run: x -->\n```text\nprint()\n```\n",
        "```console\nmake test\nrm -rf x\n```\n",
        "<!-- file -->\n```python\nprint()\n```\n",
    ],
)
def test_harness_names_an_unchecked_block(page: str) -> None:
    """The same: these seven are all refused."""
    (block,) = read_blocks(page)
    assert fault(block)


def test_output_may_have_more_lines_but_not_another_order() -> None:
    """Logs may stand between what the page shows."""
    check_output(["a", "c … e"], "a\nb\nc d e\n")
    with pytest.raises(AssertionError):
        check_output(["c", "a"], "a\nb\nc\n")
