"""Let a replica leave for good: all others are to have the same of its events before its slots are
ignored. Pure.

People wish it at each of those that stay. Nobody takes anything from it directly any more then
(`Roles.fenced`), so what the others have of it
together is fixed; they exchange it as they exchange all. Each replica counts rounds: in round 0 it
has fenced the retiring one; it enters the next round when it has read, in the log of each peer that
it is linked to, what that peer had when it entered its last one. What any replica had in round 0 is
after k rounds at all that are at most k links away: with n replicas n - 1 rounds are enough for any
topology. When all have done that, the id is retired.

Heads and rounds travel with every meeting (`Roles.retiring`). A replica whose journal was restored
begins again, in its next generation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from thespian_dc.model.roles import Roles, Stage


def staying(roles: Roles, group: Collection[str]) -> frozenset[str]:
    """Who is neither retired nor retiring. group: all ids of the settings."""
    return frozenset(group) - roles.fenced


def next_stage(
    roles: Roles,
    replica: str,
    linked: Collection[str],
    cursors: Mapping[str, Mapping[int, int]],
    heads: tuple[int, ...],
    group: Collection[str],
) -> Stage | None:
    """The stage that this replica has reached with the retirement of `replica`; None: no other than
    what is stored.

    linked: peers it reads from; while the retiring one is among them it is not fenced. cursors: how
    far in their logs, by slice. heads: of its own log, by slice, read after the cursors. A replica
    that leaves too has no say.
    """
    rows = roles.retiring.get(replica)
    if rows is None or roles.replica_id in roles.fenced or replica in linked:
        return None
    present = rows.get(roles.replica_id)
    if present is None or present.generation != roles.generation:
        return Stage(roles.generation, 0, heads)
    if present.round >= rounds(roles, group):
        return None
    for peer in frozenset(linked) & staying(roles, group):
        theirs = rows.get(peer)
        if theirs is None or theirs.round < present.round:
            return None
        if not _has_read(cursors.get(peer, {}), theirs.heads):
            return None
    return Stage(roles.generation, present.round + 1, heads)


def is_complete(roles: Roles, replica: str, group: Collection[str]) -> bool:
    """All that stay have exchanged what they had of it."""
    rows = roles.retiring.get(replica)
    if rows is None:
        return False
    wanted = rounds(roles, group)
    return all(one in rows and rows[one].round >= wanted for one in staying(roles, group))


def waits_for(roles: Roles, replica: str, group: Collection[str]) -> dict[str, str]:
    """Who is not done with it and why, for people."""
    rows, wanted = roles.retiring.get(replica, {}), rounds(roles, group)
    waits = {}
    for one in sorted(staying(roles, group)):
        stage = rows.get(one)
        if stage is None:
            waits[one] = "was not told to retire it, or did not say so yet"
        elif stage.round < wanted:
            waits[one] = f"has done {stage.round} of {wanted} rounds of reading its peers"
    return waits


def rounds(roles: Roles, group: Collection[str]) -> int:
    """How many there are."""
    return max(len(staying(roles, group)) - 1, 0)


def _has_read(cursor: Mapping[int, int], heads: tuple[int, ...]) -> bool:
    return all(cursor.get(slice_, 0) >= head for slice_, head in enumerate(heads))
