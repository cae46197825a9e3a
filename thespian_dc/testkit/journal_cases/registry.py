"""The registry: slice counts, claims, members, entries, identity."""

from __future__ import annotations

import threading

import pytest

from thespian_dc.journal.api import Entry, Journal, Member, Owner
from thespian_dc.model.errors import SettingsError, SliceCountDiffersError
from thespian_dc.model.ids import SliceKey
from thespian_dc.testkit.journal_cases.storage import SLICES, TYPE, JournalStorage, Suite, Writer

KEY = SliceKey(TYPE, 0)


class RegistryCases(Suite):
    """What `slices`, `claim`, `owner`, `owners`, members and entries promise."""

    def test_the_slice_count_is_fixed_by_the_first_use(
        self, journal: Journal, other: Journal
    ) -> None:
        """Another count would send every entity to another slice: refused by name, nothing
        written."""
        Writer(journal, KEY).take_over().write("a")
        for wanted in (1, SLICES * 2):
            with pytest.raises(SliceCountDiffersError) as caught:
                other.slices(TYPE, wanted)
            assert (caught.value.recorded, caught.value.wanted) == (SLICES, wanted)
        assert other.slice_counts() == {TYPE: SLICES}
        assert other.slices("account", 1) == 1
        assert journal.slice_counts() == {TYPE: SLICES, "account": 1}
        assert journal.slices(TYPE, SLICES) == SLICES
        assert journal.verify() == []

    @pytest.mark.parametrize("wanted", [0, 3, 2048, -1])
    def test_a_wrong_slice_count_is_never_recorded(self, journal: Journal, wanted: int) -> None:
        """A power of two, 1..1024."""
        with pytest.raises(SettingsError):
            journal.slices("account", wanted)
        assert "account" not in journal.slice_counts()

    def test_slice_counts_raced_by_threads_agree(self, journal_factory: JournalStorage) -> None:
        """Two nodes start at once with different settings: one count stands, the other is told."""
        outcomes: list[object] = []

        def start(wanted: int) -> None:
            view = journal_factory.open()
            try:
                outcomes.append(view.slices("raced", wanted))
            except SliceCountDiffersError as error:
                outcomes.append(error.recorded)
            finally:
                view.close()

        _in_threads(start, [4, 8] * 4)
        assert len(outcomes) == 8
        assert len(set(outcomes)) == 1

    def test_the_journal_keeps_its_id(self, journal: Journal, other: Journal) -> None:
        """A consumer's position is worth nothing in another journal."""
        assert journal.journal_id == other.journal_id
        assert len(journal.journal_id) >= 16

    # --- claims ---
    def test_claims_count_epochs_up(self, journal: Journal, other: Journal) -> None:
        """Every claim is a new epoch, whoever asks."""
        assert journal.owner(KEY) is None
        assert journal.claim(KEY, "m-1", b"t-1") == Owner(1, "m-1", b"t-1")
        assert other.claim(KEY, "m-2", b"t-2") == Owner(2, "m-2", b"t-2")
        assert journal.claim(KEY, "m-1", b"t-3", seen_epoch=2) == Owner(3, "m-1", b"t-3")
        assert other.owner(KEY) == Owner(3, "m-1", b"t-3")

    def test_a_claim_reads_back_by_its_token(self, journal: Journal, other: Journal) -> None:
        """After an unknown answer an epoch is mine only if my token stands there."""
        mine = journal.claim(KEY, "m-1", b"token-1")
        found = other.owner(KEY)
        assert found is not None
        assert (found.epoch, found.token) == (mine.epoch, b"token-1")

    def test_a_claim_on_an_outdated_view_returns_who_was_quicker(
        self, journal: Journal, other: Journal
    ) -> None:
        """Its token is not mine: nothing was claimed."""
        journal.claim(KEY, "m-1", b"t-1")
        other.claim(KEY, "m-2", b"t-2", seen_epoch=1)
        assert journal.claim(KEY, "m-1", b"t-3", seen_epoch=1) == Owner(2, "m-2", b"t-2")
        assert journal.owner(KEY) == Owner(2, "m-2", b"t-2")

    def test_of_many_claims_at_once_each_epoch_is_one_members(
        self, journal_factory: JournalStorage, journal: Journal
    ) -> None:
        """Two owners of one epoch would both be let in."""
        claims: list[Owner] = []

        def claim_some(number: int) -> None:
            view = journal_factory.open()
            for turn in range(5):
                token = f"t-{number}-{turn}".encode()
                owner = view.claim(KEY, f"m-{number}", token)
                if owner.token == token:
                    claims.append(owner)
            view.close()

        _in_threads(claim_some, list(range(4)))
        epochs = [owner.epoch for owner in claims]
        assert len(epochs) == len(set(epochs)) >= 1
        assert journal.owner(KEY) == max(claims, key=lambda owner: owner.epoch)

    def test_owners_of_a_type_are_listed_by_slice(self, journal: Journal) -> None:
        """For routing: who to ask first."""
        assert journal.owners(TYPE) == {}
        journal.claim(SliceKey(TYPE, 3), "m-1", b"t")
        journal.claim(SliceKey(TYPE, 1), "m-2", b"u")
        journal.claim(SliceKey("account", 1), "m-9", b"v")
        assert journal.owners(TYPE) == {3: Owner(1, "m-1", b"t"), 1: Owner(1, "m-2", b"u")}

    # --- members and entries ---
    def test_members_announce_and_are_forgotten(self, journal: Journal, other: Journal) -> None:
        """A row per member, overwritten by each beat."""
        first = Member("m-1", "10.0.0.1:1900", "node-a", (TYPE, "account"), 1)
        second = Member("m-2", "(T|:1901)", "node-b", (), 1)
        for member in (first, second, first._replace(beat=2), first._replace(beat=3, leaving=True)):
            journal.announce(member)
        expected = {"m-1": first._replace(beat=3, leaving=True), "m-2": second}
        assert {member.member_id: member for member in other.members()} == expected
        journal.forget("m-1")
        journal.forget("m-1")
        assert other.members() == [second]

    def test_entries_change_by_compare_and_set(self, journal: Journal, other: Journal) -> None:
        """Filters and management survive two operators at once: the slower one is told."""
        assert journal.entry("filter/a") == Entry(0, None)
        assert journal.put_entry("filter/a", 0, {"tags": ["x"], "n": 1, "b": b"\0"})
        assert not other.put_entry("filter/a", 0, "lost")
        assert other.entry("filter/a") == Entry(1, {"tags": ["x"], "n": 1, "b": b"\0"})
        assert other.put_entry("filter/a", 1, None)
        assert not journal.put_entry("filter/a", 1, "lost")
        assert journal.entry("filter/a") == Entry(2, None)
        assert journal.entry("filter/b") == Entry(0, None)

    def test_entries_raced_by_threads_lose_no_write(
        self, journal_factory: JournalStorage, journal: Journal
    ) -> None:
        """Each success builds on the one before."""

        def count_up(_: int) -> None:
            view = journal_factory.open()
            done = 0
            while done < 5:
                version, value = view.entry("counter")
                done += view.put_entry("counter", version, (value or 0) + 1)
            view.close()

        _in_threads(count_up, list(range(4)))
        assert journal.entry("counter") == Entry(20, 20)


def _in_threads(work, arguments: list[int]) -> None:  # type: ignore[no-untyped-def]
    """Run `work` once per argument, all at the same time; raise what any of them raised."""
    errors: list[BaseException] = []

    def guarded(argument: int) -> None:
        try:
            work(argument)
        except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
