"""The contract of entities: the same behaviours wherever an entity runs. A place gives a driver.

class TestHere(EntityContract):
    @pytest.fixture
    def driver(self): ...          # an EntityDriver over a journal nobody has used
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pytest

from thespian_dc.entity.protocol import EntityRef
from thespian_dc.model.entity_errors import (
    AlreadyHandledError,
    ApplyEventReturnedNoneError,
    CommandFailedError,
    RevisionConflictError,
    UnansweredError,
    UnknownCommandError,
)
from thespian_dc.model.errors import TooLargeError
from thespian_dc.testkit.entities import (
    Account,
    Balance,
    Deposit,
    Do,
    Forgetful,
    GetBalance,
    Oracle,
    Profile,
    Put,
    Question,
    Receipt,
    Special,
)
from thespian_dc.testkit.eventually import eventually


class EntityDriver(Protocol):
    """Where entities run, as the suite needs it. It serves testkit.entities.ENTITIES."""

    is_client: bool
    """Callers are known by their correlation: they get UnansweredError, and command ids count."""
    has_address: bool
    """An entity has an actor address of its own here."""

    def ask(
        self, entity: type, entity_id: str, message: Any, *, command_id: str = ""
    ) -> Any:
        """The reply; raises the entity's error."""

    def ask_many(self, entity: type, entity_id: str, messages: Sequence[Any]) -> list[Any]:
        """The replies of pipelined commands, in their order."""

    def tell(self, entity: type, entity_id: str, message: Any) -> None: ...

    def begin_ask(self, entity: type, entity_id: str, message: Any) -> Any:
        """Send a command whose reply comes later: `finish` waits for it."""

    def finish(self, begun: Any) -> Any:
        """The reply to what begin_ask returned; raises the entity's error."""

    def create(self, actor_class: type) -> Any:
        """An ordinary actor's address."""

    def ask_actor(self, address: Any, message: Any) -> Any:
        """An ordinary actor's answer."""

    def restart(self) -> None:
        """Everything in memory is gone; the journal stays."""


class EntityContract:
    """Inherit it, and give a fixture `driver`."""

    # --- events and replies ---
    def test_reply_shows_the_state_as_the_command_left_it(self, driver: EntityDriver) -> None:
        """The promise of then_reply."""
        assert driver.ask(Account, "a", Deposit(3)) == Balance(3)
        assert driver.ask(Account, "a", Deposit(4, in_parts=2)) == Balance(11)

    def test_state_outlives_the_process(self, driver: EntityDriver) -> None:
        """What was acknowledged is durable, through snapshots (every 10 events) and replay."""
        for amount in range(1, 25):
            driver.ask(Account, "a", Deposit(amount if amount != 13 else 0))
        driver.restart()
        assert driver.ask(Account, "a", GetBalance()) == Balance(sum(range(25)) - 13)
        facts = driver.ask(Account, "a", Do("facts"))
        assert facts == ("a", 24, 0, 1, "account|a")

    def test_entities_are_apart(self, driver: EntityDriver) -> None:
        """Each id has a state of its own."""
        driver.ask(Account, "a", Deposit(1))
        driver.ask(Account, "b", Deposit(2))
        assert driver.ask(Account, "a", GetBalance()) == Balance(1)

    def test_pipelined_commands_see_each_other(self, driver: EntityDriver) -> None:
        """Each reply is its own prefix sum, although the state changes in place."""
        replies = driver.ask_many(Account, "a", [Deposit(1 + n % 3) for n in range(1000)])
        sums, total = [], 0
        for n in range(1000):
            total += 1 + n % 3
            sums.append(Balance(total))
        assert replies == sums

    def test_none_and_reply_persist_nothing(self, driver: EntityDriver) -> None:
        """A read leaves no trace."""
        assert driver.ask(Account, "a", Do("none")) == 0
        assert driver.ask(Account, "a", Do("facts"))[1] == 0

    # --- what goes wrong ---
    def test_raising_handler_persists_and_sends_nothing(self, driver: EntityDriver) -> None:
        """It runs once, unlike Thespian's own retry, and the asker learns where it happened."""
        oracle = driver.create(Oracle)
        with pytest.raises(CommandFailedError) as failed:
            driver.ask(Account, "a", Do("raise", oracle))
        assert failed.value.error_type == "ZeroDivisionError"
        assert failed.value.entity == "account|a"
        assert failed.value.where.startswith("entities.py:")
        assert driver.ask(Account, "a", Do("facts")) == ("a", 0, 1, 1, "account|a")
        assert driver.ask_actor(oracle, "notes?") == []

    @pytest.mark.parametrize("command", [Deposit(13), Do("raise_in_reply")])
    def test_spoilt_state_is_thrown_away(self, driver: EntityDriver, command: Any) -> None:
        """apply_event or the reply function raised half-way: the state is the log's again."""
        driver.ask(Account, "a", Deposit(2))
        with pytest.raises(CommandFailedError):
            driver.ask(Account, "a", command)
        assert driver.ask(Account, "a", Deposit(5)) == Balance(7)
        assert driver.ask(Account, "a", Do("facts"))[1] == 2

    def test_unregistered_event_is_refused_before_anything_is_written(
        self, driver: EntityDriver
    ) -> None:
        """The journal holds registered types only."""
        with pytest.raises(CommandFailedError, match="UnregisteredTypeError"):
            driver.ask(Account, "a", Do("persist_unregistered"))
        assert driver.ask(Account, "a", Do("facts"))[1] == 0

    def test_forgotten_state_is_named(self, driver: EntityDriver) -> None:
        """The commonest slip with apply_event."""
        with pytest.raises(ApplyEventReturnedNoneError, match="in_place_states"):
            driver.ask(Forgetful, "f", 1)
        assert driver.ask(Forgetful, "f", 0) == (0, 0)

    def test_unknown_command_lists_what_is_known(self, driver: EntityDriver) -> None:
        """Also for types that a receiveMsg_object would have caught: there is none here."""
        with pytest.raises(UnknownCommandError, match="Deposit, Do, GetBalance"):
            driver.ask(Account, "a", 3.5)

    def test_silence_is_answered(self, driver: EntityDriver) -> None:
        """An asker never waits for a handler that forgot it; what was persisted stands."""
        if not driver.is_client:
            pytest.skip("a raw sender may not wait at all: nobody can say")
        with pytest.raises(UnansweredError):
            driver.ask(Account, "a", Do("nothing"))
        with pytest.raises(UnansweredError):
            driver.ask(Account, "a", Do("persist_in_silence", 4))
        assert driver.ask(Account, "a", GetBalance()) == Balance(4)

    def test_second_answer_is_refused(self, driver: EntityDriver) -> None:
        """The asker gets one answer; the handler learns of its slip."""
        oracle = driver.create(Oracle)
        assert driver.ask(Account, "a", Do("reply_twice", oracle)) == 1
        eventually(lambda: driver.ask_actor(oracle, "notes?") == ["EffectError"])

    def test_effects_outside_a_handler_are_refused(self, driver: EntityDriver) -> None:
        """A chain that was kept has no effect any more, and says so."""
        driver.ask(Account, "a", Do("late_effect"))
        assert "handler has ended" in driver.ask(Account, "a", Do("use_late_effect"))

    def test_actors_are_not_created_in_handlers(self, driver: EntityDriver) -> None:
        """A handler may run again after a lost commit."""
        with pytest.raises(CommandFailedError, match=r"\.then"):
            driver.ask(Account, "a", Do("create_actor"))

    def test_actors_are_created_in_then(self, driver: EntityDriver) -> None:
        """That function runs once, when the command is durable."""
        oracle = driver.create(Oracle)
        assert driver.ask(Account, "a", Do("create_then", oracle)) == "done"
        eventually(lambda: driver.ask_actor(oracle, "notes?") == ["made"])

    def test_oversized_command_is_refused(self, driver: EntityDriver) -> None:
        """More than 1 MiB by default; nothing happened, and the next one is handled."""
        with pytest.raises(TooLargeError, match=r"account\|a.*1048576"):
            driver.ask(Account, "a", Do("none", b"x" * (1 << 20)))
        assert driver.ask(Account, "a", Do("none", b"x" * 1_000_000)) == 0

    def test_exit_in_a_handler_ends_nothing(self, driver: EntityDriver) -> None:
        """sys.exit() is the failure of its command, not the end of a host of thousands."""
        with pytest.raises(CommandFailedError, match="SystemExit"):
            driver.ask(Account, "a", Do("exit"))
        assert driver.ask(Account, "a", Do("facts")) == ("a", 0, 0, 1, "account|a")

    # --- dispatch and senders ---
    def test_only_super_hands_on(self, driver: EntityDriver) -> None:
        """As in Thespian; any other return value means nothing."""
        assert driver.ask(Account, "a", Special("special")) == "special"
        assert driver.ask(Account, "a", Special("none")) == 0

    def test_sender_can_be_answered_by_others(self, driver: EntityDriver) -> None:
        """By another entity and by an ordinary actor."""
        ref = EntityRef("account", "b")
        oracle = driver.create(Oracle)
        if not driver.has_address:
            for what in ("tell_sender_of", "hand_on_then"):
                assert driver.ask(Account, "a", Do(what, ref)) == "answered by b"
        if not driver.is_client:
            assert driver.ask(Account, "a", Do("hand_on_to", oracle)) == "answered by an actor"

    def test_sender_is_what_can_be_answered(self, driver: EntityDriver) -> None:
        """A ReplyAddress for clients, a real address for everybody else."""
        kind = driver.ask(Account, "a", Do("sender_kind"))
        assert kind == ("ReplyAddress" if driver.is_client else "ActorAddress")

    def test_own_address(self, driver: EntityDriver) -> None:
        """A hosted entity has none; the error names what it has."""
        text = driver.ask(Account, "a", Do("my_address"))
        assert driver.has_address == ("self.ref" not in text)

    # --- stash, stop, timers, then ---
    def test_stashed_commands_come_first_and_in_order(self, driver: EntityDriver) -> None:
        """And are answered by their own run."""
        begun = [
            driver.begin_ask(Account, "a", Do("stash_until_closed", n)) for n in range(3)
        ]
        driver.ask(Account, "a", Deposit(9))
        assert driver.ask(Account, "a", Do("close")) == "closed"
        answers = [driver.finish(one) for one in begun]
        assert answers == [f"{n} at 9, number {n + 1}" for n in range(3)]

    def test_stashing_and_persisting_is_refused(self, driver: EntityDriver) -> None:
        """A stashed command runs again; what it persists would be persisted twice."""
        with pytest.raises(CommandFailedError, match="stash"):
            driver.ask(Account, "a", Do("stash_and_persist"))
        assert driver.ask(Account, "a", Do("facts"))[1] == 0

    def test_stopped_entity_comes_back(self, driver: EntityDriver) -> None:
        """With its state, by the next command."""
        assert driver.ask(Account, "a", Do("stop")) == 1
        assert driver.ask(Account, "a", Do("stop")) == 2
        assert driver.ask(Account, "a", Do("facts"))[1] == 2

    def test_wakeup_arrives(self, driver: EntityDriver) -> None:
        """As a WakeupMessage with its payload."""
        assert driver.ask(Account, "a", Do("wake", 0.05)) == "set"
        eventually(lambda: driver.ask(Account, "a", Do("facts"))[2] == 1)

    def test_then_runs_once_it_is_durable(self, driver: EntityDriver) -> None:
        """With the state as the command left it."""
        oracle = driver.create(Oracle)
        assert driver.ask(Account, "a", Do("then_send", oracle)) == "done"
        eventually(lambda: driver.ask_actor(oracle, "notes?") == ["1 at 5"])

    # --- asks ---
    def test_entity_asks_an_actor(self, driver: EntityDriver) -> None:
        """And goes on with the same command when the answer comes."""
        oracle = driver.create(Oracle)
        asked = driver.ask(Account, "a", Do("ask", (oracle, Question("abc"), 5.0)))
        assert asked == ("cba", 3)

    def test_silent_actor_times_out(self, driver: EntityDriver) -> None:
        """on_timeout answers instead."""
        oracle = driver.create(Oracle)
        never = Do("ask", (oracle, Question("abc", "never"), 0.2))
        assert driver.ask(Account, "a", never) == "no answer"

    def test_second_answer_reaches_nobody(self, driver: EntityDriver) -> None:
        """A doubled answer must not be taken for the answer to the next question."""
        oracle = driver.create(Oracle)
        twice = Do("ask", (oracle, Question("abc", "twice"), 5.0))
        assert driver.ask(Account, "a", twice) == ("cba", 3)
        once = Do("ask", (oracle, Question("xyzw"), 5.0))
        assert driver.ask(Account, "a", once) == ("wzyx", 7)

    def test_entity_asks_an_entity(self, driver: EntityDriver) -> None:
        """The error of the other is the failure of the command; silence is answered too."""
        if driver.has_address:
            pytest.skip("a stand-alone entity knows no others")
        other = EntityRef("account", "b")
        driver.ask(Account, "b", Deposit(41))
        assert driver.ask(Account, "a", Do("ask_entity", other)) == 42
        if driver.is_client:
            with pytest.raises(UnansweredError):
                driver.ask(Account, "a", Do("ask_and_forget", other))
        with pytest.raises(CommandFailedError, match="UnansweredError"):
            driver.ask(Account, "a", Do("ask_failing", other))

    # --- command ids ---
    def test_known_command_is_answered_and_not_done_again(self, driver: EntityDriver) -> None:
        """Also after everything in memory is gone; a reply that has no stored form is named."""
        if not driver.is_client:
            pytest.skip("raw senders give no command id")
        for _ in range(2):
            assert driver.ask(Account, "a", Deposit(5), command_id="one") == Balance(5)
        receipt = Deposit(2, receipt=True)
        assert driver.ask(Account, "a", receipt, command_id="two") == Receipt(7)
        driver.restart()
        assert driver.ask(Account, "a", Deposit(5), command_id="one") == Balance(5)
        with pytest.raises(AlreadyHandledError) as known:
            driver.ask(Account, "a", receipt, command_id="two")
        assert known.value.seq_nr == 2
        assert driver.ask(Account, "a", GetBalance()) == Balance(7)

    # --- durable state ---
    def test_durable_state_counts_revisions(self, driver: EntityDriver) -> None:
        """Each change is a revision, the deletion too."""
        assert driver.ask(Profile, "p", Put("ann")) == ("ann", 1)
        assert driver.ask(Profile, "p", Put("bea", revision=1)) == ("bea", 2)
        driver.restart()
        assert driver.ask(Profile, "p", "?") == ("bea", 2)
        assert driver.ask(Profile, "p", "delete") == ("", 3)
        driver.restart()
        assert driver.ask(Profile, "p", "?") == ("", 3)

    def test_outdated_revision_is_refused(self, driver: EntityDriver) -> None:
        """Nothing is persisted, and the asker learns the present revision."""
        driver.ask(Profile, "p", Put("ann"))
        with pytest.raises(RevisionConflictError) as conflict:
            driver.ask(Profile, "p", Put("bea", revision=0))
        assert (conflict.value.expected, conflict.value.found) == (0, 1)
        assert driver.ask(Profile, "p", "?") == ("ann", 1)
