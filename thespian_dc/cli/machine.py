"""Checks of this machine and installation: packages with their versions, and the clock."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from thespian_dc.cli.finding import FAIL, OK, WARN, Finding

DISTRIBUTION = "thespian-dc"
CLOCK_WATCH_S = 0.2
CLOCK_STEP_S_MAX = 0.02
_FOR_DEVELOPERS = ("dev", "bench", "demo")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([^;]*)(?:;\s*extra\s*==\s*[\"']([^\"']+)[\"'])?")
_BOUND = re.compile(r"(>=|<)\s*([0-9.]+)")


def check_packages(needed_extras: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Each package this one requires, in its range; extras that `needed_extras` lacks may miss."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        remedy = f"pip install {DISTRIBUTION}"
        yield Finding("packages", WARN, f"{DISTRIBUTION} is not installed, only imported", remedy)
        return
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or match[3] in _FOR_DEVELOPERS:
            continue
        name, bounds, extra = match[1], match[2].strip(), match[3] or ""
        yield check_package(name, bounds, extra, extra == "" or extra in needed_extras)


def check_package(name: str, bounds: str, extra: str, needed: bool) -> Finding:
    """One package against bounds such as ">=1.78,<2"."""
    what = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        remedy = f"pip install '{what}'"
        status = FAIL if needed else OK
        return Finding(name, status, f"not installed (extra {extra})", remedy)
    if not in_range(version, bounds):
        remedy = f"pip install '{name}{bounds}'"
        return Finding(name, FAIL, f"{version} is outside {bounds}", remedy)
    return Finding(name, OK, f"{version} ({bounds})")


def in_range(version: str, bounds: str) -> bool:
    """Whether a version satisfies all its lower and upper bounds."""
    number = _number(version)
    for sign, bound in _BOUND.findall(bounds):
        if (number >= _number(bound)) != (sign == ">="):
            return False
    return True


def _number(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without closing zeros: 2.0 is 2."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def check_clock(watch_s: float = CLOCK_WATCH_S) -> Iterator[Finding]:
    """Is the wall clock plausible, and does it run as the monotonic one does?"""
    written_s = Path(__file__).stat().st_mtime
    wall_s, steady_s = time.time(), time.monotonic()
    if wall_s < written_s:
        yield Finding(
            "clock",
            FAIL,
            f"this machine's clock is {written_s - wall_s:.0f} s behind a file it has written",
            "set the clock (chrony, systemd-timesyncd)",
        )
        return
    time.sleep(watch_s)
    yield stepped(time.time() - wall_s, time.monotonic() - steady_s)


def stepped(wall_s: float, steady_s: float) -> Finding:
    """What a span on the wall clock says beside the same span on the monotonic one."""
    differs_s = wall_s - steady_s
    if abs(differs_s) > CLOCK_STEP_S_MAX:
        return Finding(
            "clock",
            WARN,
            f"the clock moved by {differs_s:+.3f} s within {steady_s:.1f} s",
            "let one service discipline it, slowly (chrony, systemd-timesyncd); offsets do not "
            "depend on it, time stamps do",
        )
    return Finding("clock", OK, f"runs evenly ({differs_s * 1e3:+.1f} ms in {steady_s:.1f} s)")
