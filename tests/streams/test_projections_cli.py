"""The verbs that look after projections, over a projection that runs in another process."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests import laws
from tests.streams.material import (
    Added,
    PoisonedCount,
    Writer,
    counted,
)
from tests.streams.processes import Child
from thespian_dc.cli.main import main
from thespian_dc.model.delivery_settings import Recovery
from thespian_dc.projection.committing import own_transaction
from thespian_dc.projection.databases import open_stores
from thespian_dc.projection.parking import LOST, ParkedEvent, ParkedMost
from thespian_dc.testkit.eventually import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
NAME = "popularity"
PROGRAM = [sys.executable, "-c", "from thespian_dc.cli.main import main; main()"]


@pytest.fixture
def cli(read_model: Path) -> Callable[..., Result]:
    """Run a verb over the database."""

    def call(*words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--positions", f"sqlite:///{read_model}"])

    return call


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


@pytest.fixture
def running(writer: Writer, run: Any, read_model: Path) -> Child:
    """Twenty events are handled."""
    writer.add([(f"c-{i}", Added("apple", 1)) for i in range(20)])
    child: Child = run()
    eventually(lambda: counted(read_model) == {"apple": 20})
    return child


def test_list_and_status(running: Child, cli: Any) -> None:
    """A line per projection; a projection with its slices and workers; the same as JSON."""
    (row,) = objects(cli("projections", "list", "--json"))
    assert row == {"projection": NAME, "phase": "running", "lag": 0, "workers": 1, "error": ""}
    assert "popularity\trunning\t0\t1\t-" in cli("projections", "list").output
    (view,) = objects(cli("projections", "status", NAME, "--json"))
    assert sum(one["offset"] for one in view["slices"]) == 20
    assert [one["pid"] for one in view["workers"]] == [running.process.pid]
    text = cli("projections", "status", NAME).output
    assert "running" in text
    assert "slice\toffset\thead\tlag" in text


def test_pause_and_resume(running: Child, cli: Any, writer: Writer, read_model: Path) -> None:
    """Both wait until it is so."""
    (view,) = objects(cli("projections", "pause", NAME, "--json"))
    assert view["phase"] == "paused"
    assert running.ask("status").phase == "paused"
    writer.add([("c-1", Added("apple", 1))])
    assert "running" in cli("projections", "resume", NAME).output
    eventually(lambda: counted(read_model) == {"apple": 21})


def test_positions_are_shown_set_and_refused(running: Child, cli: Any) -> None:
    """What is refused says why, in one line, with exit code 2."""
    rows = objects(cli("projections", "position", "get", NAME, "--json"))
    at = next(row for row in rows if row["offset"])
    where = ("--slice", str(at["slice"]), "--offset", str(at["offset"]))
    refused = cli("projections", "position", "set", NAME, *where, "--expected", "999")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: projection popularity: position ")
    assert "not at 999" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    done = cli("projections", "position", "set", NAME, *where, "--expected", str(at["offset"]))
    assert done.output == f"slice {at['slice']} of popularity goes on at {at['offset']}\n"


def test_skip_and_the_exit_code_of_trouble(
    writer: Writer, run: Any, cli: Any, read_model: Path
) -> None:
    """`status` exits with 1 where a handler fails; `skip` mends it."""
    writer.add([("c-1", Added("apple", 13)), ("c-1", Added("pear", 1))])
    run(PoisonedCount, restart_backoff_ms=(60_000, 60_000))
    eventually(lambda: cli("projections", "status", NAME).exit_code == 1)
    (row,) = objects(cli("projections", "list", "--json"))
    assert row["phase"] == "failing"
    assert "thirteen" in row["error"]
    at = next(one for one in objects(cli("projections", "position", "get", NAME, "--json"))
              if one["head"])  # fmt: skip
    assert cli("projections", "skip", NAME, "--slice", str(at["slice"]), "--offset", "0").output
    eventually(lambda: counted(read_model) == {"pear": 1})
    eventually(lambda: cli("projections", "status", NAME).exit_code == 0)


def test_rebuild_shows_its_progress(running: Child, cli: Any, read_model: Path) -> None:
    """Plain lines where nobody looks at a terminal; the last one says that it is done."""
    done = cli("projections", "rebuild", NAME, "--follow", "--yes")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].startswith("popularity  running  lag 0")
    assert "\r" not in done.output
    assert counted(read_model) == {"apple": 20}


def test_rescale_is_a_wish(running: Child, cli: Any) -> None:
    """Nodes come to it; `settings` takes it back."""
    (view,) = objects(cli("projections", "rescale", NAME, "3", "--json"))
    assert view["workers_wished"] == 3
    (view,) = objects(cli("projections", "rescale", NAME, "settings", "--json"))
    assert view["workers_wished"] is None
    assert cli("projections", "rescale", NAME, "many").exit_code == 2
    assert "workers must be 1..64" in cli("projections", "rescale", NAME, "65").stderr


def test_filters_are_changed_while_it_runs(
    running: Child, cli: Any, writer: Writer, read_model: Path
) -> None:
    """Excluded entities are passed over at once; included again, what they missed comes first."""
    cli("filters", "exclude", NAME, "--id", "c-1", "--id", "c-2")
    (shown,) = objects(cli("filters", "show", NAME, "--json"))
    assert shown["exclude"] == {"entity_ids": ["c-1", "c-2"]}
    text = cli("filters", "show", NAME).output
    assert "exclude id c-1\nexclude id c-2\n" in text
    changed = cli("filters", "remove", NAME, "exclude", "--id", "c-2", "--expected", "77")
    assert changed.exit_code == 2
    assert "its filter has version" in changed.stderr
    objects(cli("filters", "remove", NAME, "exclude", "--id", "c-2", "--json"))
    (shown,) = objects(cli("filters", "include", NAME, "--tag", "large", "--json"))
    assert shown["include"] == {"tags": ["large"]}
    assert cli("filters", "include", NAME).exit_code == 2
    assert "everything passes" in cli("filters", "clear", NAME).output


def test_parked_entities_are_listed_shown_retried_and_skipped(
    writer: Writer, run: Any, cli: Any, read_model: Path
) -> None:
    """One event poisons its entity only; left out, the entity goes on."""
    writer.add([("c-1", Added("apple", 13)), ("c-1", Added("pear", 1)), ("c-2", Added("fig", 1))])
    run(PoisonedCount, recovery=Recovery("retry-and-park", retries=1, delay_ms=1))
    eventually(lambda: counted(read_model) == {"fig": 1})
    (row,) = eventually(lambda: objects(cli("parked", "list", NAME, "--json")))
    assert (row["entity_id"], row["seq_nr"], row["events"]) == ("c-1", 1, 2)
    assert "thirteen" in row["cause"]
    first, second = objects(cli("parked", "show", NAME, "c-1", "--json"))
    assert (first["seq_nr"], second["payload"]["sku"]) == (1, "pear")
    assert "c-1#1 Added/1" in cli("parked", "show", NAME, "c-1").output
    assert cli("parked", "skip", NAME, "c-1", "--seq-nr", "2").exit_code == 2
    for verb in ("show", "retry"):
        nobody = cli("parked", verb, NAME, "c-9")
        assert nobody.exit_code == 2
        assert "c-9 is not parked (nothing of it is parked)" in nobody.output
    assert cli("parked", "retry", NAME, "c-1").exit_code == 0
    assert cli("parked", "skip", NAME, "c-1").exit_code == 0
    eventually(lambda: counted(read_model) == {"fig": 1, "pear": 1})
    eventually(lambda: not objects(cli("parked", "list", NAME, "--json")))


def test_lost_history_is_listed_and_shown(running: Child, cli: Any, read_model: Path) -> None:
    """There is no event to show: only where it would begin, and why it is not there."""
    stores = open_stores(f"sqlite:///{read_model}")
    lost = ParkedEvent(1, 40, "c-1", 7, 0, LOST, "TrimmedError: gone", 1, 1_700_000_000_000_000)
    with own_transaction(stores.database):
        stores.parked.park(NAME, lost, ParkedMost(1, 1))
    stores.database.close()
    (row,) = objects(cli("parked", "list", NAME, "--json"))
    assert (row["entity_id"], row["seq_nr"], row["size_bytes"]) == ("c-1", 7, 0)
    (event,) = objects(cli("parked", "show", NAME, "c-1", "--json"))
    assert (event["seq_nr"], event["manifest"], event["payload"]) == (7, "", None)
    assert "c-1#7" in (text := cli("parked", "show", NAME, "c-1").output)
    assert "TrimmedError: gone" in text


def test_a_terminal_gets_one_line_that_changes(running: Child, read_model: Path) -> None:
    """Rate and what is left, until nothing waits."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*PROGRAM, "projections", "status", NAME, "--follow", "--positions",
         f"sqlite:///{read_model}"],
        stdout=theirs, cwd=laws.ROOT, check=True, timeout=60,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert shown.count("\r\x1b[K") >= 2
    assert "events/s" in shown
    assert shown.rstrip("\r\n").count("\n") == 0


def test_a_real_process(running: Child, read_model: Path) -> None:
    """As an operator types it, with the database from the environment."""
    url = f"sqlite:///{read_model}"
    done = subprocess.run(
        [*PROGRAM, "projections", "list", "--json"],
        env={**os.environ, "THESPIAN_DC_POSITIONS": url}, cwd=laws.ROOT, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["projection"] == NAME
