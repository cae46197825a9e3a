"""Checks of a journal: its servers, schema, clock against this machine's, slice counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from thespian_dc.cli.finding import FAIL, OK, WARN, Finding
from thespian_dc.cli.journals import opened, slice_keys
from thespian_dc.journal.api import Journal, ServerFacts, server_facts
from thespian_dc.model.errors import JournalError, ThespianDcError
from thespian_dc.model.ids import SLICES_DEFAULT

AHEAD_S_MAX = 1.0
_OLDEST_RELEASE = (4, 1)


def check_journal(url: str, now_us: int, wanted: Mapping[str, int]) -> Iterator[Finding]:
    """All that can be seen of a journal. wanted: slice counts of settings by entity type."""
    try:
        facts = server_facts(url)
        if facts is not None:
            yield from check_servers(url, facts)
        with opened(url) as journal:
            yield Finding("journal", OK, f"{url} opens, id {journal.journal_id}")
            yield check_commit_times(journal, now_us)
            yield from check_slice_counts(journal.slice_counts(), wanted)
    except (ThespianDcError, OSError) as error:
        yield Finding("journal", FAIL, str(error), "mend this first; other checks need it")


def check_servers(url: str, facts: ServerFacts) -> Iterator[Finding]:
    """What the servers of a Cassandra journal say about themselves."""
    yield _schema(url, facts)
    if facts.schema is not None:
        yield _home(facts.schema.home_dc, facts.data_centre)
    for address, data_centre, release, variant in facts.servers:
        if data_centre == facts.data_centre:
            yield _release(address, release)
            yield paxos(address, variant)


def _schema(url: str, facts: ServerFacts) -> Finding:
    found = facts.schema.version if facts.schema else 0
    if found == facts.schema_wanted:
        return Finding("schema", OK, f"version {found}")
    state = f"version {found}" if found else "there is none"
    apply = f"thespian-dc schema apply --journal {url}"
    remedy = "upgrade thespian-dc" if found > facts.schema_wanted else apply
    return Finding("schema", FAIL, f"{state}, this program needs {facts.schema_wanted}", remedy)


def _home(home_dc: str, data_centre: str) -> Finding:
    if home_dc == data_centre:
        return Finding("home-data-centre", OK, home_dc)
    return Finding(
        "home-data-centre",
        FAIL,
        f"the journal lives in {home_dc!r}, this URL leads to {data_centre!r}",
        f"name servers of {home_dc!r} and local_dc={home_dc}",
    )


def _release(address: str, release: str) -> Finding:
    numbers = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if numbers >= _OLDEST_RELEASE:
        return Finding("server", OK, f"{address}: Cassandra {release}")
    remedy = "upgrade to 4.1 or later: earlier ones lose conditional writes when nodes come or go"
    return Finding("server", WARN, f"{address}: Cassandra {release or '?'}", remedy)


def paxos(address: str, variant: str) -> Finding:
    """One server's paxos_variant: are conditional writes and serial reads linearizable?"""
    if "without_linearizable_reads" in variant:
        return Finding(
            "paxos",
            FAIL,
            f"{address}: paxos_variant is {variant}: a serial read may miss a finished write",
            "set paxos_variant: v2 in cassandra.yaml on every server and restart one by one",
        )
    if variant == "v2":
        return Finding("paxos", OK, f"{address}: paxos_variant is v2")
    if not variant:
        remedy = "start it, or grant select on system_views.settings, and look again"
        return Finding("paxos", WARN, f"{address}: it does not say its paxos_variant", remedy)
    return Finding(
        "paxos",
        WARN,
        f"{address}: paxos_variant is {variant}: twice the round trips, and not linearizable while "
        "nodes come or go",
        "set paxos_variant: v2 in cassandra.yaml on every server and restart one by one",
    )


def check_commit_times(journal: Journal, now_us: int) -> Finding:
    """Is the newest commit from the future? Then the clock here, or where it was made, is wrong."""
    newest_us, where = 0, ""
    for key in slice_keys(journal):
        head = journal.find_head(key).head
        try:
            commits = journal.read(key, head - 1) if head else []
        except JournalError:  # trimmed up to the head, or damaged: `verify` names it
            continue
        if commits and commits[-1].time_us > newest_us:
            newest_us, where = commits[-1].time_us, f"{key}@{commits[-1].base_offset}"
    if not newest_us:
        return Finding("commit-times", OK, "no commits yet")
    ahead_s = (newest_us - now_us) / 1e6
    if ahead_s > AHEAD_S_MAX:
        return Finding(
            "commit-times",
            WARN,
            f"commit {where} is {ahead_s:.1f} s ahead of this machine's clock",
            "set the clocks of all machines (chrony, systemd-timesyncd); time stamps stand still "
            "until the clock has passed that time, offsets do not depend on it",
        )
    return Finding("commit-times", OK, f"the newest commit is {max(0.0, -ahead_s):.1f} s old")


def check_slice_counts(recorded: Mapping[str, int], wanted: Mapping[str, int]) -> Iterator[Finding]:
    """The journal's slice counts against the settings'; without settings they are just shown."""
    if not wanted:
        shown = ", ".join(f"{name}: {count}" for name, count in sorted(recorded.items()))
        hint = "compare with settings: --settings FILE"
        yield Finding("slices", OK, shown or "no entity types yet", hint)
    for name, count in sorted(wanted.items()):
        if name not in recorded:
            yield Finding("slices", OK, f"{name}: not in the journal yet, will be {count}")
        elif recorded[name] == count:
            yield Finding("slices", OK, f"{name}: {count}")
        else:
            yield Finding(
                "slices",
                FAIL,
                f"{name}: settings say {count}, the journal {recorded[name]}",
                f"set slices = {recorded[name]}: a slice count cannot change once events exist "
                f"(the default is {SLICES_DEFAULT})",
            )
