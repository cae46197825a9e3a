"""`thespian-dc destination-filter` as an operator meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli_journal import fill, sqlite_url
from thespian_dc.cli.main import main
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Exclude, Filter
from thespian_dc.stream.destination_filters import begin_destination_filter


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A journal with a destination that leaves out one entity."""
    where = sqlite_url(tmp_path)
    fill(where, [])
    begin(where, Exclude.entity_ids("c-9"))
    return where


def begin(url: str, initial: Filter) -> int:
    """Start a node with this filter in its settings; the version that is wanted then."""
    journal = open_journal(url)
    found = begin_destination_filter(journal, "carts", initial)
    journal.close()
    return found.version


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["destination-filter", *arguments])


def row(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_what_is_set_outlives_the_node_until_its_settings_change(url: str) -> None:
    """Each change has a version; a start with the same settings changes nothing."""
    shown = row(run("show", "carts", "--journal", url, "--json"))
    assert shown == {
        "stream": "carts",
        "version": 1,
        "filter": {"exclude": {"entity_ids": ["c-9"]}},
    }
    wanted = {"exclude": {"tags": ["small"]}}
    set_ = row(run("set", "carts", "--exclude-tag", "small", "--journal", url, "--json"))
    assert set_ == {"stream": "carts", "version": 2, "filter": wanted}
    assert begin(url, Exclude.entity_ids("c-9")) == 2
    assert row(run("show", "carts", "--journal", url, "--json")) == set_
    assert begin(url, Exclude.entity_ids("c-8")) == 3
    assert run("clear", "carts", "--journal", url).stdout == "carts: everything (version 4)\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["carts"], "clear"), (["nobody", "--exclude-tag", "x"], "no stream is called"),
     (["carts", "--exclude-regex", "(?=a)"], "RE2 refuses it"),
     (["carts", "--exclude-tag", "x", "--expected", "7"], "version 1, not 7")],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_and_nothing_changes(
    url: str, arguments: list[str], says: str
) -> None:
    refused = run("set", *arguments, "--journal", url)
    assert refused.exit_code == 2
    assert says in refused.output
    assert row(run("show", "carts", "--journal", url, "--json"))["version"] == 1
