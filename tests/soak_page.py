"""Put what a part of `make soak` said into docs/soak.md, from its log and from nothing else.

python -m tests.soak_page docs/soak.md kills .cache/soak-kills.log "commit: 251e3d4" …
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

SECTION = re.compile(r"^-+ (tests/\S+) -+$")
OTHER = re.compile(r"^(=+|_+) ")
RUN = re.compile(
    r"^chaos: (?P<attempts>\d+) attempts of (?P<commands>\d+) commands and looks, .*, "
    r"(?P<rate>\d+) acknowledged/s, (?P<events>\d+) events stored, "
    r"(?P<again>\d+) commands sent again, (?P<resolved>\d+) unknown outcomes resolved$"
)
KILL = re.compile(
    r"^chaos:   (?P<what>.+) pid \d+: all slices answer after (?P<all>\S+) s, "
    r"what is sent now after (?P<now>\S+) s, longest pause of one (?P<one>\S+) s"
    r"(?:, (?P<flight>\d+) appends in flight)?$"
)
REPLICAS = re.compile(
    r"^replicas: (?P<s>\d+) s, \d+ kills, (?P<cuts>\d+ cuts \(.*\)), (?P<own>\d+ events of .*), "
    r"each held once by all; equal (?P<equal>\S+) s after healing$"
)
UNKNOWN = re.compile(r"'unknown': (\d+)")
CLOSING = re.compile(r"^=+ (.*\d+ (?:passed|failed|errors?|deselected).*|no tests ran.*) =+$")
TOOK = re.compile(r"^(?P<s>[\d.]+)s call +(?P<test>tests/\S+)$")
TOOK_MIN_S = 10.0


PARTS = {
    "simulation": "Seeds of the simulators",
    "journal": "Journals",
    "streams": "Streams and projections",
    "kills": "Processes killed under load",
    "replicas": "Replicas killed and cut off under load",
}
"""In their order, each with its title."""
HEAD = """# Soak

The tests with full counts (`make soak`), each part as it ran last: made from the log of that run.
"""


def page(before: str, part: str, section: str) -> str:
    """The whole page with this part's section in its place; `before` may be any page."""
    sections = {
        one: found[0].strip()
        for one, title in PARTS.items()
        if (found := re.findall(rf"(?ms)^## {re.escape(title)}$.*?(?=^## |\Z)", before))
    }
    sections[part] = section.strip()
    return "\n\n".join([HEAD.strip(), *(sections[one] for one in PARTS if one in sections)]) + "\n"


def section(part: str, log: str, facts: Iterable[str]) -> str:
    """What a log says. facts: what it does not say, a list entry each."""
    lines = log.splitlines()
    closing = [found[1] for found in map(CLOSING.match, lines) if found]
    parts = [
        f"## {PARTS[part]}",
        "\n".join(f"- {one}" for one in (*facts, f"result: {(closing or ['none'])[-1]}")),
    ]
    broken = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if broken:
        parts += ["```text\n" + "\n".join(broken) + "\n```"]
    sections = dict(_sections(lines))
    runs = {test: told for test, told in sections.items() if any(map(RUN.match, told))}
    if runs:
        parts += _chaos(runs)
    replicas = list(_replicas(runs))
    if replicas:
        head = ("run", "s", "cuts", "events, each held once by all", "s from healing until equal")
        parts += _table(head, replicas)
    others = {test: told[-1] for test, told in sections.items() if test not in runs}
    if others:
        parts += _table(("test", "measured"), others.items())
    took = [found for found in map(TOOK.match, lines) if found and float(found["s"]) >= TOOK_MIN_S]
    if took:
        rows = [(one["test"], f"{float(one['s']):.0f}") for one in took]
        head = ("test", "s")
        parts += [f"Tests of {TOOK_MIN_S:.0f} s and more:", *_table(head, rows)]
    return "\n\n".join(parts) + "\n"


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """What each test that passed had printed: its lines, none of them empty."""
    test, told = "", list[str]()
    for line in [*lines, "= "]:
        header = SECTION.match(line)
        if header or OTHER.match(line):
            if test and told:
                yield test, told
            test, told = header[1] if header else "", []
        elif line.strip():
            told.append(line)


def _chaos(runs: dict[str, list[str]]) -> Iterator[str]:
    """Two tables: of each run, and of each kind of kill in it."""
    rows, kills = [], []
    for test, told in runs.items():
        for line, run in ((line, RUN.match(line)) for line in told):
            if run:
                unknown = UNKNOWN.search(line)
                found = [kill for kill in map(KILL.match, told) if kill]
                rows.append((
                    test, f"{len(found)}", run["commands"], run["attempts"], run["rate"],
                    run["events"], run["again"], unknown[1] if unknown else "", run["resolved"],
                ))  # fmt: skip
                kills += [(f"`{test.rpartition('::')[2]}`", *one) for one in _by_kind(found)]
    yield from _table(
        ("run", "kills", "commands", "attempts", "acknowledged/s", "events", "sent again",
         "unknown attempts", "unknown commands resolved"), rows,
    )  # fmt: skip
    yield "Seconds after a kill, minimum / median / maximum:"
    yield from _table(
        ("run", "killed", "kills", "until all slices answer", "until what is sent now is answered",
         "longest pause of one slice", "appends in flight"), kills,
    )  # fmt: skip


def _replicas(runs: dict[str, list[str]]) -> Iterator[tuple[str, ...]]:
    """Of each run of several replicas: how long, what was cut, what they held, when equal."""
    for test, told in runs.items():
        for one in filter(None, map(REPLICAS.match, told)):
            yield f"`{test.rpartition('::')[2]}`", one["s"], one["cuts"], one["own"], one["equal"]


def _by_kind(kills: list[re.Match[str]]) -> Iterator[tuple[str, ...]]:
    for what in dict.fromkeys(kill["what"] for kill in kills):
        those = [kill for kill in kills if kill["what"] == what]
        spreads = [_spread([float(kill[name]) for kill in those]) for name in ("all", "now", "one")]
        flights = [int(kill["flight"]) for kill in those if kill["flight"]]
        yield what, f"{len(those)}", *spreads, _spread(flights) if flights else ""


def _spread(values: list[float] | list[int]) -> str:
    return " / ".join(f"{one:.4g}" for one in (min(values), median(values), max(values)))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """One string, in a list: an element of the page."""
    lines = [head, ("---",) * len(head), *rows]
    return ["\n".join(f"| {' | '.join(_shown(one) for one in row)} |" for row in lines)]


def _shown(text: str) -> str:
    return f"`{text.removeprefix('tests/')}`" if text.startswith("tests/") else text


if __name__ == "__main__":
    path, part, log, *facts = sys.argv[1:]
    found = section(part, Path(log).read_text(), facts)
    document = Path(path)
    document.write_text(page(document.read_text() if document.exists() else "", part, found))
