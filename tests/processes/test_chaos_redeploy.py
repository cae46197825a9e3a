"""New code for old while clients keep asking: drain, stop, exchange the folder, start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import laws
from tests.processes.chaos.world import World, busy, prompt, world

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
VERSIONS = Path(__file__).with_name("chaos") / "versions"


class Application:
    """Its folder, which the actor system's Admin has on its path."""

    def __init__(self, run: World) -> None:
        self._run, self._folder = run, run.folder / "application"
        self._folder.symlink_to(VERSIONS / "v1")  # Python never looks again where nothing was
        self.system = run.actor_system(PYTHONPATH=str(self._folder))

    def deploy(self, version: str) -> None:
        admin_port = str(self.system.latest["admin_port"])
        subprocess.run(
            [sys.executable, "-m", "tests.processes.chaos.deploy", admin_port, str(self._folder),
             str(VERSIONS / version), self._run.journal],
            cwd=laws.ROOT, check=True, timeout=60,
        )  # fmt: skip


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.soak)])
def test_a_redeploy_under_load_loses_nothing(tmp_path: Path, times: int) -> None:
    """What is under way is finished or sent again; who asks meanwhile waits, a few seconds."""
    with world(tmp_path) as run:
        application = Application(run)
        application.deploy("v1")
        load = run.load(application.system)
        for _ in range(times):
            run.progress(load, 3000)
            run.note("redeploy")
            application.deploy("v2")
            run.progress(load, 3000)
        evidence = run.judge()
    written = [r.manifest for r in sorted(evidence.records, key=lambda r: r.time_us)]
    assert (written[0], written[-1]) == ("Noted/1", "Noted/2"), "the new code wrote"
    assert busy(evidence)
    assert evidence.starved() == [], "clients get their answers"
    assert prompt([evidence.longest_pause_s(kill.us) for kill in run.kills], run.journal)
