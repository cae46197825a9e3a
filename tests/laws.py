"""The laws of the source, each a function from one parsed file to what is wrong with it.

A law sees a path and its source, so tests/unit/test_tidy.py can show it a bad file that does not
exist. `LAWS` names them; what a law forbids and why stands in its docstring. Limits only go down.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "thespian_dc"
CHECKED = (PACKAGE, "tests", "samples", "bench")

# A room may import rooms of a lower number; rooms of one number never import each other.
LEVEL = {
    "model": 0, "crdt": 1, "codec": 1, "journal": 2, "wire": 2, "shell": 2, "slices": 3,
    "entity": 4, "projection": 4, "stream": 5, "replication": 6, "client": 7, "node": 7,
    "settings_file": 7, "cli": 8, "testkit": 9,
}  # fmt: skip
OPEN_ROOMS = {"model", "shell", "wire"}  # imported without passing an api.py
PURE_ROOMS = ("model", "crdt", "codec")
PURE_NAMES = ("core", "running", "recovery", "allocation", "writer", "replicated", "region")
IMPURE = {
    "thespian", "grpc", "cassandra", "threading", "time", "random", "logging", "socket", "sqlite3",
    "asyncio", "subprocess", "secrets",
}  # fmt: skip
STARTERS = {
    "Thread", "ThreadPoolExecutor", "ProcessPoolExecutor", "Process", "Popen", "ActorSystem",
    "Cluster", "insecure_channel", "secure_channel", "socket", "create_connection",
}  # fmt: skip
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
# Built once per event, commit or frame: freezing costs 1.2 us each, on the path that counts.
NOT_FROZEN = {"Envelope", "Commit", "CommandFrame", "ReplyFrame"}
FILE_LINES_MAX, FILE_LINES_WITHOUT_REASON, FUNCTION_LINES_MAX, COLUMNS_MAX = 600, 400, 70, 100


@dataclass(frozen=True)
class Import:
    """One imported module, in full: `from a.b import c` counts as a.b.c (c may be a module)."""

    module: str
    line: int
    at_import: bool  # executed when the file is imported: not in a function
    types_only: bool  # under `if TYPE_CHECKING`

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


@dataclass(frozen=True)
class Source:
    """A file as a law sees it: a path relative to the root, and text."""

    path: PurePosixPath
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def in_package(self) -> bool:
        return self.path.parts[0] == PACKAGE

    @property
    def room(self) -> str:
        """`journal` for thespian_dc/journal/sqlite/x.py, `node` for thespian_dc/node*.py."""
        room = PurePosixPath(self.path.parts[1]).stem if self.in_package else ""
        return "node" if room.startswith("node_") else room

    @property
    def is_generated(self) -> bool:
        return self.path.name.endswith(("_pb2.py", "_pb2_grpc.py"))

    @property
    def is_pure(self) -> bool:
        named = any(self.path.stem == n or self.path.stem.endswith(f"_{n}") for n in PURE_NAMES)
        return self.in_package and self.room != "testkit" and (named or self.room in PURE_ROOMS)

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, at_import=True, types_only=False))


Law = Callable[[Source], Iterator[str]]


def _imports(node: ast.AST, at_import: bool, types_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(name.name, child.lineno, at_import, types_only)
        elif isinstance(child, ast.ImportFrom):
            for name in child.names:
                yield Import(f"{child.module}.{name.name}", child.lineno, at_import, types_only)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, at_import=False, types_only=types_only)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imports(child, at_import, types_only=True)
        else:
            yield from _imports(child, at_import, types_only)


def _calls(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call below `node` with what is called, as text: `time.sleep`, `self.send`."""
    for child in ast.walk(node):
        if isinstance(child, ast.Call):
            yield ast.unparse(child.func), child


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _is_actor_file(path: PurePosixPath) -> bool:
    return path.stem == "actor" or path.stem.endswith("_actor")


def down_only(source: Source) -> Iterator[str]:
    """L1: imports go down the levels, so a room can be read knowing only what is below it."""
    for one in source.imports:
        parts = one.module.split(".")
        if source.room not in LEVEL or parts[0] != PACKAGE or len(parts) < 2:
            continue
        other = parts[1]
        if other == source.room or other not in LEVEL:
            continue
        if LEVEL[other] >= LEVEL[source.room]:
            yield f"{one.line}: {source.room} must not import {other}"


def through_the_door(source: Source) -> Iterator[str]:
    """L2: a room with an api.py is entered through it; node.py may also take the actor shells."""
    if not source.in_package or source.room in {"testkit", "__init__"}:
        return
    for one in source.imports:
        parts = one.module.split(".")
        if parts[0] != PACKAGE or len(parts) < 3 or parts[1] in {source.room, *OPEN_ROOMS}:
            continue
        has_door = (ROOT / PACKAGE / parts[1] / "api.py").exists()
        actor = source.room == "node" and _is_actor_file(PurePosixPath(parts[2] + ".py"))
        if has_door and parts[2] != "api" and not actor:
            yield f"{one.line}: enter {parts[1]} through {parts[1]}/api.py, not {parts[2]}"


def pure_cores(source: Source) -> Iterator[str]:
    """L3: cores take inputs and `now_us` and return actions: the simulator runs them all."""
    if not source.is_pure:
        return
    for one in source.imports:
        harmless = one.types_only or one.module == "threading.local"  # neither starts nor waits
        if one.top in IMPURE and not harmless:
            yield f"{one.line}: a pure file must not import {one.top}"
        if one.module in {"uuid.uuid4", "uuid.uuid1"}:
            yield f"{one.line}: ids come from `new_id`, not from {one.module}"
    for name, call in _calls(source.tree):
        if name in {"datetime.now", "datetime.utcnow", "date.today", "uuid.uuid4", "open"}:
            yield f"{call.lineno}: a pure file must not call {name}"


def one_place_per_dependency(source: Source) -> Iterator[str]:
    """L4: what comes from outside is touched in one place, where it can be replaced or missing."""
    if not source.in_package or source.room == "testkit":
        return
    inner = source.path.relative_to(PACKAGE)
    room, second = inner.parts[0], inner.parts[1] if len(inner.parts) > 1 else ""
    allowed = {
        "thespian": room in {"shell", "client", "node.py"} or _is_actor_file(source.path),
        "grpc": room == "stream" or second == "status.py" or source.is_generated,
        "grpc_health": room == "stream",
        "cassandra": second == "cassandra" and room in {"journal", "projection"},
        "sqlite3": inner.parts[:2] == ("journal", "sqlite")
        or (room == "projection" and "sqlite" in second),
        "pickle": inner.parts == ("shell", "frames.py"),
        "re2": inner.parts == ("model", "regexes.py"),
        "marshal": False,
        "dill": False,
    }
    for one in source.imports:
        if not allowed.get(one.top, True) and not one.types_only:
            yield f"{one.line}: {one.top} has no place in {inner}"
        backend = one.module.startswith(f"{PACKAGE}.journal.cassandra")
        if backend and one.at_import and not allowed["cassandra"]:
            yield f"{one.line}: a backend with a driver is imported inside the factory"


def nothing_at_import(source: Source) -> Iterator[str]:
    """L5: no thread, process, channel or connection before the first message: fork copies it."""
    if not source.in_package or source.is_generated:
        return
    for statement in source.tree.body:
        definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        if isinstance(statement, definition) or "__name__" in ast.unparse(statement):
            continue
        for name, call in _calls(statement):
            if _last(name) in STARTERS:
                yield f"{call.lineno}: {name} when the module is imported"
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ClassDef) or not node.name.endswith("Actor"):
            continue
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                for name, call in _calls(method):
                    sends = name in {"self.send", "self.createActor", "self.wakeupAfter"}
                    if sends or _last(name) in STARTERS:
                        yield f"{call.lineno}: {name} in an actor's __init__"


def messages_pickle(source: Source) -> Iterator[str]:
    """L6: what crosses actors is a slotted dataclass, frozen but for the few of NOT_FROZEN."""
    crosses = source.room == "model" or source.path.stem == "protocol"
    if not (source.in_package and crosses):
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in map(ast.unparse, node.decorator_list):
            if not decorator.startswith("dataclass"):
                continue
            if "slots=True" not in decorator:
                yield f"{node.lineno}: {node.name} needs slots=True"
            if "frozen=True" not in decorator and node.name not in NOT_FROZEN:
                yield f"{node.lineno}: {node.name} needs frozen=True"


def bounded_queues(source: Source) -> Iterator[str]:
    """L7: a queue without a length says in a comment, there or one line up, what bounds it."""
    if not source.in_package:
        return
    limits = {"deque": "maxlen", "Queue": "maxsize", "SimpleQueue": "", "LifoQueue": "maxsize"}
    for name, call in _calls(source.tree):
        limit = limits.get(_last(name))
        if limit is None or any(keyword.arg == limit for keyword in call.keywords):
            continue
        said = " ".join(source.lines[max(0, call.lineno - 2) : call.end_lineno])
        if "bounded" not in said:
            yield f"{call.lineno}: {name}() without {limit or 'a length'}: bounded by what?"


def sizes(source: Source) -> Iterator[str]:
    """A file of 100-300 lines and a function of 40 fit a head; above the limit they are split."""
    lines = len(source.lines)
    docstring = " ".join((ast.get_docstring(source.tree) or "").split())
    if lines > FILE_LINES_MAX:
        yield f"1: {lines} lines, at most {FILE_LINES_MAX}"
    elif lines > FILE_LINES_WITHOUT_REASON and "Long because" not in docstring:
        yield f"1: {lines} lines: split it, or let the docstring say 'Long because ...'"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES_MAX}"


def line_length(source: Source) -> Iterator[str]:
    """100 columns, comments and docstrings too."""
    for number, line in enumerate(source.lines, 1):
        if len(line) > COLUMNS_MAX:
            yield f"{number}: {len(line)} columns, at most {COLUMNS_MAX}"


def names(source: Source) -> Iterator[str]:
    """A module is called after what it is; a drawer for everything is not a thing."""
    for part in (*source.path.parts[:-1], source.path.stem):
        if part in BANNED_MODULES:
            yield f"1: no module is called {part}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Helper", "Utils")):
            yield f"{node.lineno}: {node.name}: say what it does"


def no_sleeps_in_tests(source: Source) -> Iterator[str]:
    """A sleep is too short on a loaded machine and too long on every other: use `eventually`."""
    if source.path.parts[0] != "tests":
        return
    for name, call in _calls(source.tree):
        gives_way = bool(call.args) and ast.unparse(call.args[0]) == "0"  # asyncio.sleep(0)
        if name in {"time.sleep", "sleep", "asyncio.sleep"} and not gives_way:
            yield f"{call.lineno}: {name}: wait for the fact with testkit's eventually or never"


def cancellation_goes_on(source: Source) -> Iterator[str]:
    """A grpc.aio servicer that swallows CancelledError leaks its call (grpc issue 43360)."""
    if source.room != "stream" or "server" not in source.path.stem:
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else "BaseException"
        raises = any(isinstance(child, ast.Raise) for child in ast.walk(node))
        if ("CancelledError" in caught or "BaseException" in caught) and not raises:
            yield f"{node.lineno}: catches {caught} and does not raise it again"


def finished(source: Source) -> Iterator[str]:
    """Annotations are never evaluated at import, and nothing is left for later."""
    code = [node for node in source.tree.body if not isinstance(node, ast.Expr)]
    future = any(one.module == "__future__.annotations" for one in source.imports)
    if code and not future and not source.is_generated:
        yield "1: `from __future__ import annotations` is missing"
    for number, line in enumerate(source.lines, 1):
        if any(word in line for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X")):
            yield f"{number}: unfinished business"


LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        down_only, through_the_door, pure_cores, one_place_per_dependency, nothing_at_import,
        messages_pickle, bounded_queues, sizes, line_length, names, no_sleeps_in_tests,
        cancellation_goes_on, finished,
    )
}  # fmt: skip


def sources() -> Iterator[Source]:
    """Every Python file of the repository but generated ones."""
    for folder in CHECKED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = PurePosixPath(path.relative_to(ROOT).as_posix())
            source = Source(relative, path.read_text(encoding="utf-8"))
            if not source.is_generated and "__pycache__" not in relative.parts:
                yield source
