"""`thespian-dc stream-filter` as an operator meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli_journal import ESCAPES, fill, sqlite_url
from thespian_dc.cli.main import main
from thespian_dc.journal.api import open_journal
from thespian_dc.model.criteria import Exclude, Include
from thespian_dc.stream.filter_registry import announce_streams, stored_filters


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A journal from which two streams are served."""
    where = sqlite_url(tmp_path)
    fill(where, [])
    journal = open_journal(where)
    announce_streams(journal, ["carts", "orders"])
    journal.close()
    return where


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["stream-filter", *arguments])


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_is_set_is_listed_and_taken_away_again(url: str) -> None:
    """Includes alone show nothing else; each change has a version."""
    nothing: list[dict[str, Any]] = [
        {"stream": name, "version": 0, "filter": None} for name in ("carts", "orders")
    ]
    assert rows(run("list", "--journal", url, "--json")) == nothing
    wanted = ["--include-topic", "public/#", "--include-id", "c-1", "--include-id", "c-2"]
    set_ = rows(run("set", "carts", *wanted, "--journal", url, "--json"))
    plain = {"exclude": {"regexes": [".*"]},
             "include": {"entity_ids": ["c-1", "c-2"], "topics": ["public/#"]}}  # fmt: skip
    assert set_ == [{"stream": "carts", "version": 1, "filter": plain}]
    assert rows(run("list", "--journal", url, "--json")) == [*set_, nothing[1]]
    journal = open_journal(url)
    found = stored_filters(journal).filter_of("carts").filter
    journal.close()
    assert found == Exclude.all() + Include.entity_ids("c-1", "c-2") + Include.topics("public/#")
    assert rows(run("clear", "carts", "--journal", url, "--json"))[0]["version"] == 2
    assert rows(run("list", "--journal", url, "--json"))[0]["filter"] is None


def test_it_prints_text_for_people(url: str) -> None:
    """And nothing that a terminal would act upon."""
    done = run("set", "carts", "--exclude-tag", f"secret{ESCAPES}", "--journal", url)
    assert done.exit_code == 0
    assert ESCAPES not in done.stdout
    assert done.stdout.startswith('carts: {"exclude": {"tags": ["secret')
    assert "orders\t0\tas its settings say" in run("list", "--journal", url).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["carts"], "clear"), (["nobody", "--exclude-tag", "x"], "no stream is called"),
     (["carts", "--exclude-regex", "(?=a)"], "RE2 refuses it"),
     (["carts", "--exclude-tag", "x", "--expected", "7"], "version 0, not 7")],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_and_nothing_changes(
    url: str, arguments: list[str], says: str
) -> None:
    """A typing error must not open or close anything."""
    refused = run("set", *arguments, "--journal", url)
    assert refused.exit_code == 2
    assert says in refused.output
    assert {row["version"] for row in rows(run("list", "--journal", url, "--json"))} == {0}
