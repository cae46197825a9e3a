"""What a user installs is complete, light to import and says what is missing."""

from __future__ import annotations

import re
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.docs.conftest import Installed
from tests.laws import PACKAGE, ROOT
from thespian_dc import __version__

pytestmark = pytest.mark.timeout(600)  # the first test builds and installs


def test_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    """A folder without __init__.py or a forgotten data file shows only at a user's."""
    shipped = {".py", ".pyi", ".typed"}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.suffix in shipped or path.name == "py.typed"
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == wanted


def test_metadata_says_licence_python_and_extras(wheel: Path) -> None:
    """What package indexes and licence scanners read."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
    metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == "thespian-dc"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"cassandra", "demo", "bench", "dev"} <= set(metadata.get_all("Provides-Extra"))
    core = [one for one in metadata.get_all("Requires-Dist") if "extra ==" not in one]
    names = {re.split(r"[<>=!~ ]", one)[0] for one in core}
    assert names == {"thespian", "grpcio", "protobuf", "msgpack", "click"}


def test_import_works_without_any_extra(installed: Installed, tmp_path: Path) -> None:
    """And brings in nothing heavy: commands start fast, and no thread exists before a fork."""
    program = (
        "import sys, threading, thespian_dc\n"
        "heavy = {'grpc', 'thespian', 'cassandra', 'google', 'sqlite3'} & set(sys.modules)\n"
        "print(thespian_dc.__version__, thespian_dc.__file__, heavy, threading.active_count())\n"
    )
    done = installed.run("python", "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    version, file, rest = done.stdout.split(maxsplit=2)
    assert version == __version__
    assert file.startswith(str(installed.bin.parent))
    assert rest.strip() == "set() 1"


def test_every_module_but_the_drivers_imports_without_an_extra(
    installed: Installed, tmp_path: Path
) -> None:
    """A driver imported at the wrong place would break users who never asked for it."""
    program = (
        "import importlib, pkgutil, thespian_dc\n"
        "for one in pkgutil.walk_packages(thespian_dc.__path__, 'thespian_dc.'):\n"
        "    parts = one.name.split('.')[1:]\n"
        "    if parts[0] != 'testkit' and 'cassandra' not in parts:\n"
        "        importlib.import_module(one.name)\n"
    )
    done = installed.run("python", "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_missing_extra_is_named_with_its_remedy(installed: Installed, tmp_path: Path) -> None:
    """`No module named cassandra` would not tell a user what to type."""
    program = (
        "from thespian_dc.journal.api import open_journal\n"
        "open_journal('cassandra://127.0.0.1:1/k')\n"
    )
    done = installed.run("python", "-c", program, cwd=tmp_path)
    assert done.returncode != 0
    assert "pip install 'thespian-dc[cassandra]'" in done.stderr, done.stderr


def test_console_command_answers(installed: Installed, tmp_path: Path) -> None:
    """The entry point resolves in the installed package."""
    done = installed.run("thespian-dc", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    version = installed.run("thespian-dc", "--version", cwd=tmp_path)
    assert __version__ in version.stdout, version.stderr
