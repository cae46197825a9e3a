"""The package as a user gets it: a wheel, installed into an environment that holds nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.laws import PACKAGE, ROOT


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with the wheel and the core dependencies, and nothing of this checkout."""

    wheel: Path
    bin: Path

    def environment(self) -> dict[str, str]:
        """Variables for a program that must see this environment and no other."""
        ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "THESPIAN_DC_CACHE"}
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        return {
            **kept,
            "PATH": f"{self.bin}{os.pathsep}{kept['PATH']}",
            "VIRTUAL_ENV": str(self.bin),
        }

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in `cwd`, keeping what it prints."""
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing an earlier build left can get into it."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT / PACKAGE, copy / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "*.db")
    )
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    _check(sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(copy))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own."""
    home = tmp_path_factory.mktemp("user") / "venv"
    venv.create(home, with_pip=True)
    _check(str(home / "bin/python"), "-m", "pip", "install", "--quiet", str(wheel))
    return Installed(wheel, home / "bin")


def _check(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (
        f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
