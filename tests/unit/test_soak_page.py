"""docs/soak.md says in a few tables what the log of `make soak` says in hundreds of lines."""

from __future__ import annotations

from tests.soak_page import PARTS, page, section

LOG = """\
collected 9 items / 5 deselected / 4 selected
- tests/processes/test_chaos_kills.py::test_hosts_are_killed[10] -
chaos: 120 attempts of 100 commands and looks, {'acknowledged': 117, 'error': 0, 'unknown': 3}, \
1530 acknowledged/s, 99 events stored, 7 commands sent again, 2 unknown outcomes resolved
chaos:   hosts pid 11: all slices answer after 0.50 s, what is sent now after 3.00 s, \
longest pause of one 0.25 s, 7 appends in flight
chaos:   hosts pid 12: all slices answer after 2.50 s, what is sent now after 4.00 s, \
longest pause of one 1.25 s, 0 appends in flight
chaos:   hosts pid 13: all slices answer after 1.00 s, what is sent now after 3.50 s, \
longest pause of one 1.00 s, 8 appends in flight
chaos:   cassandra back pid 14: all slices answer after 3.87 s, what is sent now after 4.45 s, \
longest pause of one 3.87 s
replicas: 60 s, 4 kills, 3 cuts (2 reset, 1 silent), 70 events of a, 29 events of b, \
each held once by all; equal 2.5 s after healing
---------- tests/simulation/test_simulation.py::test_ten_thousand_seeds_hold -----------
        12  fault: append refused, poison
       101  host: Answer

10000 seeds: 280000000 actions (at least 2000 a seed), 7 commands; 200 seeds a minute
============================== slowest durations ===============================
258.10s call     tests/processes/test_chaos_kills.py::test_hosts_are_killed[10]
28.11s setup    tests/processes/test_chaos_kills.py::test_hosts_are_killed[10]
0.30s call     tests/journal/test_cassandra_ring.py::test_two
=========================== short test summary info ============================
"""
FAILED = "FAILED tests/journal/test_cassandra_ring.py::test_two - Asse...\n"


def rows(made: str) -> list[list[str]]:
    """The cells of all tables but their heads."""
    lines = [line for line in made.splitlines() if line.startswith("|")]
    tables = [line[2:-2].split(" | ") for line in lines if "---" not in line]
    return [one for one in tables if one[0] not in ("run", "test")]


def test_each_run_and_each_kind_of_kill_is_a_row() -> None:
    """Least, middle and most of what kills of a kind cost; the last line of what others said."""
    made = section(
        "kills", f"{LOG}========= 4 passed, 5 deselected in 1531.15s (0:25:31) ==========\n", []
    )
    kills = "`test_hosts_are_killed[10]`"
    assert rows(made) == [
        ["`processes/test_chaos_kills.py::test_hosts_are_killed[10]`", "4", "100", "120", "1530",
         "99", "7", "3", "2"],
        [kills, "hosts", "3", "0.5 / 1 / 2.5", "3 / 3.5 / 4", "0.25 / 1 / 1.25", "0 / 7 / 8"],
        [kills, "cassandra back", "1", "3.87 / 3.87 / 3.87", "4.45 / 4.45 / 4.45",
         "3.87 / 3.87 / 3.87", ""],
        [kills, "60", "3 cuts (2 reset, 1 silent)", "70 events of a, 29 events of b", "2.5"],
        ["`simulation/test_simulation.py::test_ten_thousand_seeds_hold`",
         "10000 seeds: 280000000 actions (at least 2000 a seed), 7 commands; 200 seeds a minute"],
        ["`processes/test_chaos_kills.py::test_hosts_are_killed[10]`", "258"],
    ]  # fmt: skip
    assert "FAILED" not in made


def test_what_failed_is_named() -> None:
    """And when, what and where it ran."""
    closing = "========= 1 failed, 3 passed, 5 deselected in 1531.15s (0:25:31) ==========\n"
    log = f"{LOG}{FAILED}{closing}left running by the tests, ended now: 31\n"
    made = section("kills", log, ["commit: 1f"])
    assert "- commit: 1f\n- result: 1 failed, 3 passed, 5 deselected in 1531.15s" in made
    assert FAILED in made


def test_a_run_that_ended_early_has_no_result() -> None:
    """Interrupted, or no disk: the page says so, and what there is."""
    made = section("kills", "collected 9 items / 5 deselected / 4 selected\n", [])
    assert made.endswith("- result: none\n")


def test_a_part_that_runs_again_replaces_its_own_section_alone() -> None:
    """Whatever stood there before, in the order of the parts."""
    made = page("# another page\n\n## of old\n\nfacts\n", "replicas", "## " + PARTS["replicas"])
    for part, said in (("kills", "first"), ("simulation", "seeds"), ("kills", "second")):
        made = page(made, part, f"## {PARTS[part]}\n\n- {said}\n")
    titles = [line for line in made.splitlines() if line.startswith("## ")]
    assert titles == [f"## {PARTS[part]}" for part in ("simulation", "kills", "replicas")]
    assert ("- seeds\n" in made, "first" in made, "- second\n" in made) == (True, False, True)
