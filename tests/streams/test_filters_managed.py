"""A projection's filter, changed by way of its database while it runs: from the API and the command
line, over a stream."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.streams.material import Added, Writer, projection, rows
from thespian_dc import Projections
from thespian_dc.cli.main import main
from thespian_dc.model.access import Access, StreamLimits
from thespian_dc.model.criteria import Exclude, Filter, Include, VersionedFilter
from thespian_dc.model.projection_errors import FilterChangedError
from thespian_dc.model.settings import Remote
from thespian_dc.model.stream_errors import InvalidFilterError
from thespian_dc.testkit.eventually import eventually, never

NAME = "popularity"


@pytest.fixture
def read_model(tmp_path: Path) -> Path:
    return tmp_path / "read.db"


@pytest.fixture
def manage(read_model: Path) -> Projections:
    return Projections(f"sqlite:///{read_model}")


@pytest.fixture
def run(serve: Any, consume: Any, read_model: Path) -> Callable[..., Any]:
    """Start the projection over a stream of the writer's journal."""
    _, port = serve()

    def start(filter_: Filter) -> Any:
        remote = Remote("carts", f"127.0.0.1:{port}")
        return consume(projection(read_model, remote, filter=filter_))[0]

    return start


def seen(read_model: Path) -> list[tuple[str, int]]:
    try:
        return rows(read_model, "select entity_id, seq_nr from seen order by nr")
    except sqlite3.OperationalError:  # its table is not there yet
        return []


def add(writer: Writer, *entity_ids: str, tags: tuple[str, ...] = ()) -> None:
    for entity_id in entity_ids:
        writer.add([(entity_id, Added("apple", 1))], tags)


def test_a_filter_set_while_it_runs_counts_and_outlives_the_run(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    """Includes alone let through only what they include, also where they are set later; a setting
    that did not change does not bring the first one back."""
    first = run(Exclude.entity_ids("a"))
    add(writer, "a", "b", "a", "c")
    eventually(lambda: sorted(seen(read_model)) == [("b", 1), ("c", 1)])
    assert manage.filter(NAME) == VersionedFilter(1, Exclude.entity_ids("a"))
    changed = manage.set_filter(NAME, Include.entity_ids("a"))
    assert changed == VersionedFilter(2, Exclude.all() + Include.entity_ids("a"))
    eventually(lambda: seen(read_model)[2:] == [("a", 1), ("a", 2)])
    add(writer, "b", "a")
    eventually(lambda: seen(read_model)[4:] == [("a", 3)])
    assert first.stop()
    manage.add_criteria(NAME, Include.entity_ids("c"))  # while nothing runs
    run(Exclude.entity_ids("a"))
    add(writer, "b", "c", "a")
    eventually(lambda: sorted(seen(read_model)[5:]) == [("a", 4), ("c", 2)])
    assert manage.filter(NAME).version == 3
    manage.set_filter(NAME, Filter())
    add(writer, "b")  # what it missed comes first
    eventually(lambda: seen(read_model)[7:] == [("b", 2), ("b", 3), ("b", 4)])


def test_an_include_that_is_removed_excludes_again(
    writer: Writer, run: Any, manage: Projections, read_model: Path
) -> None:
    run(Exclude.entity_ids("a"))
    add(writer, "z")
    eventually(lambda: seen(read_model) == [("z", 1)])
    manage.add_criteria(NAME, Include.entity_ids("a"))
    add(writer, "a")
    eventually(lambda: seen(read_model)[1:] == [("a", 1)])
    version = manage.remove_criteria(NAME, Include.entity_ids("a")).version

    def excluded() -> bool:  # of two events in order the first is not handled
        add(writer, "a", "z")
        eventually(lambda: ("z", writer.seq_nrs["z"]) in seen(read_model))
        return ("a", writer.seq_nrs["a"]) not in seen(read_model)

    eventually(excluded)
    last = ("a", writer.seq_nrs["a"])
    never(lambda: last in seen(read_model), within_s=0.3)
    with pytest.raises(FilterChangedError):
        manage.add_criteria(NAME, Include.tags("x"), expected=version - 1)
    with pytest.raises(InvalidFilterError):
        manage.add_criteria(NAME, Include.topics("a/#/b"))
    assert manage.filter(NAME) == VersionedFilter(version, Exclude.entity_ids("a"))


def test_a_filter_that_the_producer_refuses_is_mended_at_once(
    writer: Writer, serve: Any, consume: Any, manage: Projections, read_model: Path
) -> None:
    """The projection fails by name; another filter does not wait for the pause before a restart."""
    _, port = serve(access=Access(StreamLimits(filter_criteria_max=3)))
    wanted = projection(
        read_model, Remote("carts", f"127.0.0.1:{port}"), filter=Exclude.entity_ids("a"),
        restart_backoff_ms=(600_000, 600_000),
    )  # fmt: skip
    running, _ = consume(wanted)
    add(writer, "a", "b")
    eventually(lambda: seen(read_model) == [("b", 1)])
    for _ in range(2):
        too_much = Exclude.entity_ids("c", "d", "e")
        manage.add_criteria(NAME, too_much)
        eventually(lambda: running.status().phase == "waiting")
        assert running.status().error.startswith("FilterTooLargeError")
        add(writer, "b")
        manage.remove_criteria(NAME, too_much)
        eventually(lambda: seen(read_model)[-1] == ("b", writer.seq_nrs["b"]))


def test_single_events_by_tag_from_the_command_line(
    writer: Writer, run: Any, read_model: Path
) -> None:
    """events_only: nothing is looked up for what passes by its tag alone."""
    run(Filter())
    add(writer, "a")
    eventually(lambda: seen(read_model) == [("a", 1)])

    def cli(*words: str) -> dict[str, Any]:
        done = CliRunner().invoke(
            main, ["filters", *words, "--positions", f"sqlite:///{read_model}", "--json"]
        )
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.output)
        return found

    cli("exclude", NAME, "--all")
    shown = cli("include", NAME, "--tag", "large", "--events-only")
    assert shown["include"] == {"tags": ["large"]}
    assert shown["events_only"]

    def took_over() -> bool:  # an untagged event tells nothing; a tagged one shows it is in force
        add(writer, "probe", tags=("large",))
        add(writer, "quiet")
        return ("probe", 1) in seen(read_model)

    eventually(took_over)
    before = len(seen(read_model))
    add(writer, "a", "b", "a")
    add(writer, "b", tags=("large",))
    eventually(lambda: ("b", 2) in seen(read_model)[before - 1 :])
    assert ("b", 1) not in seen(read_model)
    assert ("a", 2) not in seen(read_model)
    cli("remove", NAME, "exclude", "--all")
    add(writer, "c")
    eventually(lambda: ("c", 1) in seen(read_model))
