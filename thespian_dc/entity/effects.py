"""What one run of a handler recorded. Pure; knows nothing of journals and actors.

Laws:
- An effect is recorded by the call, in order, and takes place when the commit the run saw is
  durable; never before, and not at all where that commit is lost.
- What leaves the entity is packed by the call: a later change of the object changes nothing.
- Events are applied after the handler has returned, so a handler that raises leaves the state as
  it was. Reply functions run right after that, on the state as this command left it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from thespian_dc.entity.actions import Answer, Forward, Send
from thespian_dc.entity.protocol import EntityRef, ReplyAddress, Status
from thespian_dc.model.entity_errors import EffectError
from thespian_dc.shell.frames import pack, pack_reply

if TYPE_CHECKING:
    from thespian_dc.entity.instance import Instance
    from thespian_dc.entity.recording import Recorded
    from thespian_dc.entity.rows import Kept
    from thespian_dc.entity.turn import Turn

class Stage(enum.Enum):
    """In what a run of user code is: this decides which effects are open to it."""

    HANDLER = "a command handler"
    ANSWERED = "on_reply or on_timeout of an ask"
    THEN = "a `then` function"
    RECOVERED = "recovery_completed"
    CLOSED = "code that runs after its handler has ended"



# --- recorded effects that are the host's to perform, beside Answer, Send and Forward ---
class ReplyWith(NamedTuple):
    """A reply function, until it is called; then an Answer stands in its place."""

    function: Callable[[Any], Any]


class Then(NamedTuple):
    """function(state); state as the command left it (in-place states may have moved on)."""

    function: Callable[[Any], Any]
    state: Any


class Wakeup(NamedTuple):
    period_us: int
    payload: Any


class OpenAsk(NamedTuple):
    """A question to an actor or entity; its answer goes to on_reply."""

    target: Any
    body: bytes
    on_reply: Callable[[Any], Any]
    on_timeout: Callable[[], Any] | None
    timeout_us: int


class Keep(enum.Enum):
    """Effects without arguments."""

    STASH = "stash"
    UNSTASH_ALL = "unstash_all"
    STOP = "stop"


Held = Answer | Send | Forward | ReplyWith | Then | Wakeup | OpenAsk | Keep


class Chain:
    """What `persist`, `delete` and `none` return: what is to follow once it is durable."""

    __slots__ = ()

    def then_reply(self, function: Callable[[Any], Any]) -> Chain:
        """Answer the command with function(state), called on the state as this command leaves
        it."""
        raise NotImplementedError

    def then(self, function: Callable[[Any], Any]) -> Chain:
        """Call function(state) once the command is durable: at most once, lost in a crash."""
        raise NotImplementedError

    def then_stop(self) -> Chain:
        """Leave memory once the command is durable."""
        raise NotImplementedError


class Effects(Chain):
    """One run of user code and all it asked for; a slice writer's ticket once it has records."""

    __slots__ = (
        "answered", "asks", "events", "followers", "instance", "items", "ran_us", "row", "sent",
        "silent", "stage", "stashed", "turn",
    )  # fmt: skip

    def __init__(self, instance: Instance, turn: Turn, stage: Stage) -> None:
        self.instance, self.turn, self.stage = instance, turn, stage
        self.events: list[Recorded] | None = None
        self.items: list[Held] = []
        self.followers: list[Effects] | None = None
        """Runs that saw this one's uncommitted state, in order: released after it."""
        self.row: Kept | None = None
        """The state this run led to, if it is to be kept: written once it is durable."""
        self.sent: list[Any] | None = None
        """The messages it sends, as they are: an asker named in one may be answered from there."""
        self.answered = self.stashed = self.silent = False
        self.asks = 0
        self.ran_us: int
        """When it ended; set where it is held though it persisted nothing."""

    def open(self, effect: str) -> None:
        """Raise EffectError where user code of this run has ended."""
        if self.stage is Stage.CLOSED:
            raise EffectError(effect, self.stage.value, "call it before the handler returns")

    def open_to_handlers(self, effect: str) -> None:
        """Raise EffectError where the code that runs now does not handle a command."""
        stage = self.stage
        if stage is not Stage.HANDLER and stage is not Stage.ANSWERED:
            raise EffectError(effect, stage.value, "call it while a command is handled")

    # --- recording ---
    def answer(self, status: Status, value: Any) -> None:
        """Record the one answer of this command."""
        self.claim_answer("reply")
        to = self.turn.reply_to
        if to is not None:
            body = pack_reply(value) if status is Status.OK else value
            self.items.append(Answer(to, status, body))

    def claim_answer(self, effect: str) -> None:
        self.open_to_handlers(effect)
        if self.answered or self.turn.answered:
            raise EffectError(effect, "a command that is answered already", "answer it once")
        self.answered = True

    def no_reply(self) -> None:
        """From now on a message to the sender is a message like any other."""
        self.claim_answer("no_reply")
        self.silent = True

    def then_reply(self, function: Callable[[Any], Any]) -> Chain:
        self.claim_answer("then_reply")
        self.items.append(ReplyWith(function))
        return self

    def then(self, function: Callable[[Any], Any]) -> Chain:
        self.open_to_handlers("then")
        self.items.append(Then(function, None))
        return self

    def then_stop(self) -> Chain:
        self.open_to_handlers("then_stop")
        self.items.append(Keep.STOP)
        return self

    def keep(self, effect: Keep) -> None:
        if effect is Keep.STASH:
            self.open_to_handlers(effect.value)
            if self.stashed:
                return
            self.stashed = True
        elif self.stage is Stage.RECOVERED:
            raise EffectError(effect.value, self.stage.value, "nothing is stashed or runs yet")
        else:
            self.open(effect.value)
        self.items.append(effect)

    def send(self, target: Any, message: Any) -> None:
        """To an entity, an open answer, or an actor."""
        self.open("send")
        self._goes_out(message)
        if isinstance(target, EntityRef):
            self.items.append(Forward(target, pack(message), None, ""))
        elif not isinstance(target, ReplyAddress):
            self.items.append(Send(target, pack(message)))
        elif target.client_id:  # else nobody waits
            if target == self.turn.reply_to and not (self.silent or self.turn.silent):
                self.answer(Status.OK, message)
            else:
                self.items.append(Answer(target, Status.OK, pack(message)))

    def _goes_out(self, message: Any) -> None:
        if self.sent is None:
            self.sent = []
        self.sent.append(message)

    def ask(self, question: OpenAsk, message: Any) -> None:
        """message: what the question's body was packed from."""
        self.open("ask")
        self._goes_out(message)
        self.asks += 1
        self.items.append(question)

    def persist(self, recorded: list[Recorded]) -> Chain:
        """Add to what this command persists."""
        if self.events is not None:
            self.events += recorded
        elif recorded:
            self.events = recorded
        return self

    def wake_up_after(self, period_us: int, payload: Any) -> None:
        self.open("wakeupAfter")
        self._goes_out(payload)
        self.items.append(Wakeup(period_us, payload))
