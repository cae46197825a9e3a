"""The command as an operator meets it: what it prints, on which stream, with which exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.unit.cli_journal import (
    ESCAPES,
    SLICES,
    TIME_US,
    Added,
    Noted,
    damage,
    fill,
    sqlite_url,
)
from thespian_dc import __version__
from thespian_dc.cli.main import main
from thespian_dc.cli.output import safe
from thespian_dc.journal.api import open_journal
from thespian_dc.model.ids import SliceKey, slice_of
from thespian_dc.model.settings_toml import variables

DOCS = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")
PROGRAM = [sys.executable, "-c", "from thespian_dc.cli.main import main; main()"]
ACTED_UPON = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e]")


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Three events of c-1, one of every other id, four slices."""
    where = sqlite_url(tmp_path)
    mine = [("c-1", Added(f"sku-{n}")) for n in range(3)]
    fill(where, [*mine, *[(f"c-{n}", Added("pear")) for n in range(2, 12)]])
    return where


# --- what stands in a journal ---


def test_heads_shows_every_slice_with_its_owner(url: str) -> None:
    """Who may append, and where: the first question in any trouble with hosts."""
    rows = lines_of(run("heads", "--journal", url, "--json"))
    assert [(row["entity_type"], row["slice"]) for row in rows] == [
        ("cart", number) for number in range(SLICES)
    ]
    assert sum(row["head"] for row in rows) == 13
    assert {(row["epoch"], row["owner"], row["claimed"]) for row in rows} == {(1, "member-1", 1)}


def test_heads_shows_the_trim_mark_and_events_begin_there(url: str) -> None:
    """Trimmed records are no damage and no hole."""
    key = SliceKey("cart", slice_of("c-1", SLICES))
    journal = open_journal(url)
    head = journal.find_head(key).head
    assert journal.trim(key, head - 1) == head - 1
    journal.close()
    rows = lines_of(run("heads", "--journal", url, "--json"))
    assert rows[key.slice]["trimmed"] == head - 1
    left = lines_of(run("events", "cart", "--slice", str(key.slice), "--journal", url, "--json"))
    assert [event["offset"] for event in left] == [head - 1]


def test_of_a_trimmed_entity_the_rest_is_shown(tmp_path: Path) -> None:
    """Whoever looks does not know where the rest begins."""
    url = sqlite_url(tmp_path)
    fill(url, [("c-1", Added(f"sku-{n}")) for n in range(4)])
    journal = open_journal(url)
    assert journal.trim(SliceKey("cart", slice_of("c-1", SLICES)), 2) == 2
    journal.close()
    for options, seq_nrs in (((), [3, 4]), (("--from", "2"), [3, 4]), (("--from", "4"), [4])):
        left = run("events", "cart", "c-1", *options, "--journal", url, "--json")
        assert [event["seq_nr"] for event in lines_of(left)] == seq_nrs
        assert left.exit_code == 0


def test_heads_without_a_terminal_is_tab_separated(url: str) -> None:
    """So that cut and awk can read it."""
    header, *rows = run("heads", "--journal", url).stdout.splitlines()
    assert header.split("\t") == [
        "entity_type", "slice", "head", "epoch", "trimmed", "owner", "claimed",
    ]  # fmt: skip
    assert all(len(row.split("\t")) == 7 for row in rows)
    assert len(rows) == SLICES


def test_events_of_an_entity_come_in_order_with_their_payload(url: str) -> None:
    """The user's classes are not needed."""
    found = lines_of(run("events", "cart", "c-1", "--journal", url, "--json"))
    assert [event["seq_nr"] for event in found] == [1, 2, 3]
    assert [event["payload"]["sku"] for event in found] == ["sku-0", "sku-1", "sku-2"]
    assert found[0]["timestamp_us"] == TIME_US
    assert found[0]["manifest"] == "Added/1"
    assert found[0]["tags"] == ["large"]


def test_events_from_a_seq_nr(url: str) -> None:
    """--from is inclusive."""
    found = lines_of(run("events", "cart", "c-1", "--from", "2", "--journal", url, "--json"))
    assert [event["seq_nr"] for event in found] == [2, 3]


def test_events_of_all_slices_come_in_offset_order_each(url: str) -> None:
    """All of them, none twice."""
    found = lines_of(run("events", "cart", "--journal", url, "--json"))
    places = [(event["slice"], event["offset"]) for event in found]
    assert len(found) == 13
    assert places == sorted(set(places))


def test_events_of_a_slice_from_an_offset_up_to_a_limit(url: str) -> None:
    """What a consumer's position names can be looked at."""
    number = slice_of("c-1", SLICES)
    options = ("--slice", str(number), "--offset", "1", "--limit", "2")
    found = lines_of(run("events", "cart", *options, "--journal", url, "--json"))
    assert [(event["slice"], event["offset"]) for event in found] == [(number, 1), (number, 2)]


def test_payloads_of_every_encoding_are_shown(tmp_path: Path) -> None:
    """msgpack and json decoded, protobuf and nonsense as base64: never an error."""
    url = sqlite_url(tmp_path)
    fill(
        url,
        [
            ("c-1", Added("apple", b"\x00\xff")),
            ("c-1", Noted("hello")),
            ("c-1", ("Message/1+protobuf", b"\x08\x01")),
            ("c-1", ("Added/1", b"\xdd\xff\xff\xff\xff")),
        ],
    )
    found = lines_of(run("events", "cart", "c-1", "--journal", url, "--json"))
    payloads = [event["payload"] for event in found]
    assert payloads[0] == {"sku": "apple", "photo": {"$bytes": "AP8="}}
    assert payloads[1] == {"text": "hello"}
    assert payloads[2] == {"$protobuf": "CAE="}
    assert payloads[3]["$undecodable"] == "3f////8="
    assert found[2]["manifest"] == "Message/1+protobuf"


@pytest.mark.parametrize("as_json", [True, False])
def test_terminal_escapes_in_a_journal_stay_text(tmp_path: Path, as_json: bool) -> None:
    """Whoever may write an event must not command the terminal of who reads it."""
    url = sqlite_url(tmp_path)
    fill(url, [(f"c-{ESCAPES}", Added(ESCAPES)), ("c-1", (f"Added/1{ESCAPES}", b"\xc0"))])
    option = ("--json",) if as_json else ()
    result = run("events", "cart", "--journal", url, *option)
    assert result.exit_code == 0
    assert not ACTED_UPON.search(result.stdout)
    assert result.stdout.count("\n") == 2
    if as_json:
        assert {event["entity_id"] for event in lines_of(result)} == {f"c-{ESCAPES}", "c-1"}


def test_safe_text_reads_back_as_json() -> None:
    """Escapes are those of JSON: a program gets the very string, also beyond U+FFFF."""
    for character in map(chr, [*range(0x20, 0x3000), 0xD800, 0xFEFF, 0xE0001, 0x1F600]):
        if character not in '"\\':
            assert json.loads(f'"{safe(character)}"') == character


# --- damage ---


def test_verify_of_a_sound_journal_counts_and_exits_with_0(url: str) -> None:
    """The summary says how much was read: "sound" over nothing would be worth nothing."""
    assert run("verify", "--journal", url).stdout == "sound: 4 slices, 13 records\n"
    (summary,) = lines_of(run("verify", "--journal", url, "--json"))
    assert summary == {"kind": "summary", "damaged": 0, "slices": 4, "records": 13}


def test_verify_names_each_damage_and_exits_with_1(url: str) -> None:
    """Slice, offset and entity: what an operator restores."""
    places = {damage(url, "c-1", 0), damage(url, "c-1", 2)}
    result = run("verify", "--journal", url, "--json")
    *found, summary = lines_of(result)
    assert result.exit_code == 1
    assert summary["damaged"] == len(found) == 2
    assert {(one["slice"], one["offset"]) for one in found} == places
    assert all(one["error"] == "CorruptRecordError" and one["entity_id"] for one in found)
    assert run("verify", "--journal", url).stdout.count("damage: CorruptRecordError") == 2


def test_events_go_on_behind_damage_and_exit_with_1(url: str) -> None:
    """One damaged record must not hide the others."""
    number, offset = damage(url, "c-1", 1)
    result = run("events", "cart", "--journal", url, "--json")
    assert result.exit_code == 1
    assert len(lines_of(result)) == 12
    assert (number, offset) not in {(e["slice"], e["offset"]) for e in lines_of(result)}
    assert f"slice {number} offset {offset} is damaged" in result.stderr


def test_verify_of_one_type_takes_no_unknown_one_for_sound(url: str) -> None:
    """A typo must not look like health."""
    assert run("verify", "--type", "cart", "--journal", url).exit_code == 0
    result = run("verify", "--type", "crat", "--journal", url)
    assert result.exit_code == 2
    assert "only cart" in result.stderr


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("heads",), "Missing option '--journal'"),
        (("heads", "--journal", "sqlite:///absent.db"), "there is no journal yet"),
        (("heads", "--journal", "sqlite:///no/such/folder.db"), "does not exist"),
        (("heads", "--journal", "memory:"), "its own process alone"),
        (("heads", "--journal", "postgres://x/y"), "no journal is called 'postgres'"),
        (("schema", "check", "--journal", "nonsense"), "no journal is called 'nonsense'"),
        (("events", "cart", "--journal", "sqlite:///x.db", "--from", "1"), "give ENTITY_ID"),
        (("events", "cart", "--journal", "sqlite:///x.db", "--offset", "1"), "give --slice"),
        (("events", "cart", "c", "--journal", "sqlite:///x", "--slice", "1"), "leave ENTITY_ID"),
        (("events", "--journal", "sqlite:///x.db"), "Missing argument"),
        (("nonsense",), "No such command 'nonsense'"),
        (("heads", "--jurnal", "x"), "No such option"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script can tell "found something" from "could not look"; nobody reads tracebacks."""
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.fullmatch(r"error: .*\n", result.stderr)
    assert text in result.stderr
    assert list(tmp_path.iterdir()) == [], "looking at a journal must not make it"


def test_an_unexpected_error_is_one_line_too(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a word on how to see where it comes from."""

    def broken(*_: object) -> Iterator[None]:
        raise RuntimeError("first\nsecond \x1b[31m")

    monkeypatch.setattr("thespian_dc.cli.heads._rows", broken)
    result = run("heads", "--journal", url)
    assert result.exit_code == 2
    assert re.fullmatch(r"error: RuntimeError: first second .*DEBUG=1.*\n", result.stderr)
    assert "\x1b" not in result.stderr
    debugged = run("heads", "--journal", url, THESPIAN_DC_DEBUG="1")
    assert isinstance(debugged.exception, RuntimeError)


def test_an_interrupted_verb_says_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exit code that shells give to one stopped by Ctrl-C."""

    def interrupted(*_: object) -> Iterator[None]:
        raise KeyboardInterrupt

    monkeypatch.setattr("thespian_dc.cli.heads._rows", interrupted)
    result = run("heads", "--journal", url)
    assert (result.exit_code, result.stderr.strip()) == (130, "error: interrupted")


def test_the_journal_may_come_from_the_environment(url: str) -> None:
    """As a container has it."""
    assert run("verify", THESPIAN_DC_JOURNAL=url).exit_code == 0


@pytest.mark.parametrize("verb", ["apply", "check"])
def test_an_embedded_journal_needs_no_schema_verb(verb: str, tmp_path: Path) -> None:
    """It says so, and makes nothing."""
    result = run("schema", verb, "--journal", sqlite_url(tmp_path))
    assert (result.exit_code, "nothing to do" in result.stdout) == (0, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group", ["schema", "projections", "replication"])
def test_a_group_without_its_verb_shows_its_help(group: str) -> None:
    result = run(group)
    shown = (result.stdout + result.stderr).splitlines()
    assert shown[0].startswith("Usage:")
    assert "Commands:" in shown


def test_heads_of_an_unknown_type_shows_no_table(url: str) -> None:
    result = run("heads", "--type", "nope", "--journal", url)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_list_of_what_is_not_there_shows_no_heading(tmp_path: Path) -> None:
    result = run("parked", "list", "ranking", "--positions", sqlite_url(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")


def test_version_and_bare_call() -> None:
    """The first two things anybody types."""
    assert __version__ in run("--version").stdout
    bare = run()
    assert bare.exit_code == 0
    assert "verify" in bare.stdout


def test_a_reader_that_has_seen_enough_is_no_error(url: str) -> None:
    """`thespian-dc events … | head -1` is how it is used."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, "events", "cart", "--journal", url],
            stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert done.stderr == ""


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_a_table_in_colour(url: str, no_color: str) -> None:
    """On a real pseudo-terminal; NO_COLOR is respected."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color}
    done = subprocess.run(
        [*PROGRAM, "heads", "--journal", url], stdout=theirs, env=environment, timeout=60,
        check=True,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert ("\x1b[1m" in shown) is (no_color == "")
    assert "entity_type  slice" in shown


# --- documentation ---


def _verbs(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner, verb in command.commands.items():
            yield from _verbs(verb, f"{name} {inner}")


VERBS = dict(_verbs(main, "thespian-dc"))


def _section(verb: str) -> str:
    """The text under the heading of a verb, up to the next heading."""
    match = re.search(rf"^##+ {verb}$(.*?)(?=^#|\Z)", DOCS, re.MULTILINE | re.DOTALL)
    return match[1] if match else ""


@pytest.mark.parametrize("verb", [name for name in VERBS if " " in name])
def test_every_verb_and_option_is_documented(verb: str) -> None:
    """And nothing is documented that is not there."""
    section = _section(verb)
    assert section, f"docs/cli.md has no heading for {verb}"
    documented = set(re.findall(r"^\| `(--?[a-z-]+)", section, re.MULTILINE))
    options = {
        name
        for parameter in VERBS[verb].params if isinstance(parameter, click.Option)
        for name in parameter.opts
    }  # fmt: skip
    assert documented == options - {"--help"}


def test_every_variable_of_the_environment_is_documented() -> None:
    """With the field it replaces."""
    documented = dict(re.findall(r"^\| `(THESPIAN_DC_\w+)` \| `([\w.]+)` \|$", DOCS, re.MULTILINE))
    assert documented == {name: ".".join(path) for name, (path, _) in variables().items()}
