"""The source obeys its laws (tests/laws.py), and each law is shown a bad file that it catches."""

from __future__ import annotations

import functools
import importlib
import inspect
import pickle
import pkgutil
import re
from datetime import date
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests import laws
from tests.laws import LAWS, ROOT, Source
from thespian_dc import __version__, model
from thespian_dc.model import errors

# law, path, source with the fault, and the same without it
BROKEN = [
    ("down_only", "model/x.py", "from thespian_dc.journal.api import A", "import enum"),
    ("down_only", "entity/x.py", "from thespian_dc.projection import api", "import enum"),
    ("down_only", "journal/x.py", "def f():\n    import thespian_dc.slices", "import enum"),
    ("down_only", "node.py", "from thespian_dc.client import A", "import thespian_dc.model"),
    ("down_only", "node_x.py", "from thespian_dc.client import A", "import thespian_dc.model"),
    (
        "down_only",
        "stream/x.py",
        "from thespian_dc import testkit",
        "from thespian_dc import model",
    ),
    (
        "through_the_door",
        "slices/x.py",
        "from thespian_dc.journal.cells import A",
        "from thespian_dc.journal.api import A",
    ),
    (
        "through_the_door",
        "client/x.py",
        "from thespian_dc.entity.router import Router",
        "from thespian_dc.entity.api import Router",
    ),
    (
        "through_the_door",
        "node_x.py",
        "from thespian_dc.entity.hosted import A",
        "from thespian_dc.entity.inline_actor import A",
    ),
    ("pure_cores", "slices/writer.py", "import time", "from datetime import time"),
    ("pure_cores", "stream/producer_core.py", "from grpc import aio", "import enum"),
    ("pure_cores", "model/x.py", "import logging", "import enum"),
    ("pure_cores", "codec/x.py", "import threading", "from threading import local"),
    ("pure_cores", "codec/x.py", "from uuid import uuid4", "from uuid import UUID"),
    ("pure_cores", "entity/core.py", "a = datetime.now()", "a = now_us"),
    ("one_place_per_dependency", "slices/x.py", "import thespian.actors", "import enum"),
    ("one_place_per_dependency", "client/x.py", "import grpc", "import thespian.actors"),
    ("one_place_per_dependency", "journal/x.py", "import cassandra", "import enum"),
    ("one_place_per_dependency", "entity/x.py", "import sqlite3", "import enum"),
    ("one_place_per_dependency", "entity/x.py", "from pickle import loads", "import enum"),
    ("one_place_per_dependency", "shell/guard.py", "import pickle", "import thespian"),
    (
        "one_place_per_dependency",
        "journal/api.py",
        "from thespian_dc.journal.cassandra.open import f",
        "def g():\n    from thespian_dc.journal.cassandra.open import f",
    ),
    ("nothing_at_import", "stream/x.py", "a = Thread()", "def f():\n    a = Thread()"),
    ("nothing_at_import", "client/x.py", "a = [socket.socket()]", "a = [1]"),
    (
        "nothing_at_import",
        "entity/actor.py",
        "class A_Actor:\n    def __init__(self):\n        self.send(1)",
        "class A_Actor:\n    def start(self):\n        self.send(1)",
    ),
    (
        "messages_pickle",
        "model/x.py",
        "@dataclass(frozen=True)\nclass A: pass",
        "@dataclass(frozen=True, slots=True)\nclass A: pass",
    ),
    (
        "messages_pickle",
        "entity/protocol.py",
        "@dataclass(slots=True)\nclass A: pass",
        "@dataclass(frozen=True, slots=True)\nclass A: pass",
    ),
    ("bounded_queues", "stream/x.py", "a = Queue()", "a = Queue(maxsize=8)"),
    ("bounded_queues", "stream/x.py", "a = deque()", "a = deque()  # bounded by the credit"),
    ("sizes", "model/x.py", "\n" * 601, "\n" * 400),
    ("sizes", "model/x.py", '"""One."""' + "\n" * 450, '"""Long because ..."""' + "\n" * 450),
    ("sizes", "model/x.py", "def f():\n" + "    a()\n" * 70, "def f():\n" + "    a()\n" * 69),
    ("line_length", "model/x.py", "#" * 101, "#" * 100),
    ("names", "model/utils.py", "", None),
    ("names", "common/x.py", "", None),
    ("names", "model/x.py", "class SliceManager: pass", "class Slices: pass"),
    ("no_sleeps_in_tests", "../tests/x.py", "time.sleep(1)", "eventually(f)"),
    ("no_sleeps_in_tests", "../tests/x.py", "await asyncio.sleep(0.1)", "await asyncio.sleep(0)"),
    (
        "cancellation_goes_on",
        "stream/server.py",
        "try:\n    a()\nexcept asyncio.CancelledError:\n    return",
        "try:\n    a()\nexcept asyncio.CancelledError:\n    b()\n    raise",
    ),
    ("finished", "model/x.py", "import enum", "from __future__ import annotations\nimport enum"),
    ("finished", "model/x.py", "# TO" + "DO later", "# done"),
]


def _source(path: str, text: str) -> Source:
    under_tests = path.startswith("../")
    return Source(PurePosixPath(path[3:] if under_tests else f"{laws.PACKAGE}/{path}"), text)


@functools.cache
def _broken() -> dict[str, list[str]]:
    """What each law finds: one look at each file for all laws, since parsing is what takes time."""
    found: dict[str, list[str]] = {law: [] for law in LAWS}
    for source in laws.sources():
        for law, check in LAWS.items():
            found[law].extend(f"{source.path}:{fault}" for fault in check(source))
    return found


@pytest.mark.parametrize("law", LAWS)
def test_every_file_obeys(law: str) -> None:
    """What a law forbids and why is in its docstring in tests/laws.py."""
    assert not _broken()[law], f"{LAWS[law].__doc__}\n" + "\n".join(_broken()[law])


@pytest.mark.parametrize(("law", "path", "bad", "good"), BROKEN)
def test_law_catches_a_bad_file(law: str, path: str, bad: str, good: str | None) -> None:
    """A check that cannot fail is none: the bad file is caught, its mended twin is not."""
    assert list(LAWS[law](_source(path, bad)))
    if good is not None:
        assert not list(LAWS[law](_source(path, good)))


def test_every_law_is_shown_a_bad_file() -> None:
    """A new law comes with its proof."""
    assert {law for law, *_ in BROKEN} == set(LAWS)


def test_the_laws_read_the_whole_package() -> None:
    """A law over no files holds trivially."""
    read = {str(one.path) for one in laws.sources()}
    assert {"thespian_dc/model/errors.py", "tests/laws.py"} <= read
    rooms = {path.name for path in (ROOT / laws.PACKAGE).iterdir() if path.is_dir()}
    assert rooms - {"__pycache__"} <= set(laws.LEVEL), "a new room needs its level"


def _error_classes() -> list[type[errors.ThespianDcError]]:
    for module in pkgutil.iter_modules(model.__path__, model.__name__ + "."):
        importlib.import_module(module.name)
    for path in (ROOT / laws.PACKAGE / "model").glob("*errors.py"):
        import_module(f"{laws.PACKAGE}.model.{path.stem}")
    found = [errors.ThespianDcError]
    for known in found:
        found += [kind for kind in known.__subclasses__() if kind not in found]
    return sorted(set(found), key=lambda kind: kind.__name__)


def _argument(parameter: inspect.Parameter) -> Any:
    """A value of the annotated type; the annotation is text, because it is never evaluated."""
    kind = str(parameter.annotation)
    for start, value in (
        (r"int|float", 7),
        (r"bool", True),
        (r"bytes", b"seven"),
        (r"tuple|Sequence|Iterable|Collection", ("a", "b")),
        (r"list", ["a", "b"]),
        (r"frozenset|set|Set", frozenset({"a"})),
        (r"dict|Mapping", {"a": 1}),
        (r"BaseException|Exception", ValueError("seven")),
    ):
        if re.match(start, kind):
            return value
    return "seven"


@pytest.mark.parametrize("kind", _error_classes(), ids=lambda kind: kind.__name__)
def test_error_survives_pickling(kind: type[errors.ThespianDcError]) -> None:
    """Errors cross actors; one whose arguments are not in `args` dies on the way, far from here."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        error = kind("what happened")
    else:
        error = kind(*[_argument(one) for one in parameters if one.kind is not one.KEYWORD_ONLY])
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) != ""
    assert repr(copy.args) == repr(error.args)
    assert repr(vars(copy)) == repr(vars(error))


def test_an_error_given_its_fields_by_name_survives_pickling_too() -> None:
    """An exception keeps only positional arguments by itself; `with_fields` keeps all."""
    error = errors.SchemaError(found=1, wanted=2, where="sqlite:///a.db")
    copy = pickle.loads(pickle.dumps(error))
    assert copy.args == error.args == ("sqlite:///a.db", 1, 2)
    assert (copy.where, copy.found, copy.wanted, str(copy)) == (*error.args, str(error))
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        errors.GapError("a journal", 1)  # type: ignore[call-arg]


def test_a_careless_error_would_be_caught() -> None:
    """The proof of the test above: this is the mistake it is for."""
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        pickle.loads(pickle.dumps(CarelessError("a", "b")))


class CarelessError(Exception):
    def __init__(self, what: str, where: str) -> None:
        super().__init__(what + where)


def _changelog_faults(text: str, version: str) -> list[str]:
    """What is wrong with a changelog in the form of keepachangelog.com."""
    faults = [] if text.startswith("# Changelog\n") else ["the title is `# Changelog`"]
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if not headings or headings[0] != "[Unreleased]":
        faults.append("the first section is [Unreleased]")
    releases: list[tuple[tuple[int, ...], date]] = []
    for heading in headings[1:]:
        match = re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading)
        if match:
            number = tuple(map(int, match[1].split(".")))
            releases.append((number, date.fromisoformat(match[2])))
        else:
            faults.append(f"`## {heading}` is not `## [1.2.3] - 2026-01-31`")
    if releases != sorted(releases, reverse=True):
        faults.append("the newest release comes first")
    if releases and releases[0][0] > tuple(map(int, version.split("."))):
        faults.append(f"the newest release is newer than __version__, {version}")
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    faults += [f"`### {kind}` is not a kind of change" for kind in kinds - allowed]
    return faults


def test_changelog_has_the_form_tools_read() -> None:
    """Users and bots read it; the form is keepachangelog.com."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert not _changelog_faults(text, __version__)


def test_changelog_check_catches_each_fault() -> None:
    """The proof of the test above."""
    start = "# Changelog\n## [Unreleased]\n"
    assert not _changelog_faults(start + "### Added\n## [0.1.0] - 2026-01-31\n", "0.1.0")
    older_first = "## [0.0.1] - 2026-01-31\n## [0.1.0] - 2026-02-01\n"
    for bad in (
        "Changes\n## [Unreleased]\n",
        "# Changelog\n## [0.1.0] - 2026-01-31\n",
        start + "## 0.1.0\n",
        start + older_first,
        start + "## [0.2.0] - 2026-01-31\n",
        start + "### News\n",
    ):
        assert _changelog_faults(bad, "0.1.0"), bad
