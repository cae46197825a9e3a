"""Replicas in processes: what is written at one reaches all, once, whatever is killed."""

from __future__ import annotations

from pathlib import Path

from tests.processes.replicas import agree, replicas


def test_a_write_reaches_all(tmp_path: Path) -> None:
    with replicas(tmp_path, "ab") as found:
        a, b = found.values()
        a.change("x", 5)
        agree([a, b], "x", (5, {"a": 1}))
        b.change("x", -2)
        agree([a, b], "x", (3, {"a": 1, "b": 1}))
