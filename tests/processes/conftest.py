"""What chaos runs measured is shown though they passed: kills, rates, pauses."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", []):
        if "test_chaos_" in report.nodeid and report.when == "call" and report.capstdout:
            terminalreporter.section(report.nodeid, "-")
            terminalreporter.write_line(report.capstdout.strip())
