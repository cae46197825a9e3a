"""What can go wrong with an entity; the asker gets it. The rules of errors.py hold here too."""

from __future__ import annotations

from thespian_dc.model.errors import EntityError, SettingsError, with_fields


@with_fields
class EffectError(EntityError):
    """An effect was called where it cannot happen. Nothing of it was recorded."""

    grpc_status = "FAILED_PRECONDITION"

    effect: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.effect} has no effect in {self.where}: {self.remedy}"


@with_fields
class ApplyEventReturnedNoneError(EntityError):
    """`apply_event` returned None: was the new state forgotten? Nothing of the command was
    persisted."""

    class_name: str
    event_type: str

    def __str__(self) -> str:
        return (
            f"{self.class_name}.apply_event returned None for {self.event_type}: return the new "
            "state, or set in_place_states = True on the class if it changes the state in place"
        )


@with_fields
class CommandFailedError(EntityError):
    """The command's handler raised (or a reply function, or apply_event). It ran once; nothing was
    persisted or sent. `where` is file:line of the user's code. went_on: it was no handler but a
    function that went on with the command, for `then` or `ask`; what was done before it stands."""

    error_type: str
    entity: str
    where: str
    reason: str
    went_on: bool = False

    def __str__(self) -> str:
        done = "nothing was persisted or sent"
        if self.went_on:
            done = "what the command had persisted or sent before, if anything, stands"
        return f"{self.entity}: {self.error_type} at {self.where}: {self.reason}; {done}"


class CommandRejectedError(EntityError):
    """Raised by a handler, this reaches the asker as it is, not as CommandFailedError. Derive your
    own refusals from it, with all arguments in `args`."""

    grpc_status = "FAILED_PRECONDITION"


@with_fields
class RevisionConflictError(CommandRejectedError):
    """The durable state was not at the revision the command expected. Nothing was persisted."""

    grpc_status = "ABORTED"

    entity: str
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"{self.entity} is at revision {self.found}, the command expected {self.expected}; "
            "nothing was persisted; read it again and decide anew"
        )


@with_fields
class UnansweredError(EntityError):
    """The command was handled and its handler ended without an answer. What it persisted stands."""

    entity: str
    command_type: str

    def __str__(self) -> str:
        return (
            f"{self.entity}: the handler of {self.command_type} ended without an answer; call "
            "reply, then_reply or no_reply; what it persisted, if anything, stands"
        )


@with_fields
class UnknownCommandError(EntityError):
    """The entity has no handler for this type."""

    grpc_status = "UNIMPLEMENTED"

    entity: str
    command_type: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return f"{self.entity} has no receiveMsg_{self.command_type}; it handles: {known}"


@with_fields
class AlreadyHandledError(EntityError):
    """A command with this id was persisted before; its reply could not be stored, so it cannot be
    given again. `seq_nr` is of its last event."""

    grpc_status = "ALREADY_EXISTS"

    entity: str
    command_id: str
    seq_nr: int

    def __str__(self) -> str:
        return (
            f"{self.entity}: command {self.command_id} was persisted before, up to seq_nr "
            f"{self.seq_nr}; its reply was not stored: list its type in the entity's `replies`"
        )


@with_fields
class CommandUnstableError(EntityError):
    """The slice was lost each time this command was about to be written. It was not persisted."""

    retryable = True
    grpc_status = "ABORTED"

    entity: str
    tries: int

    def __str__(self) -> str:
        return (
            f"{self.entity}: the command ran {self.tries} times and its slice was lost each time; "
            "nothing was persisted; do two hosts keep taking the slice from each other?"
        )


@with_fields
class CommandNotWrittenError(EntityError):
    """The journal refused this command's records for certain. Nothing was persisted or sent."""

    entity: str
    reason: str

    def __str__(self) -> str:
        return f"{self.entity}: the journal refused the command's records: {self.reason}"


@with_fields
class OutcomeUnknownError(EntityError):
    """Nobody can say any more whether this command was persisted. Ask the entity, or send the
    command again with the same id: then it is persisted once at most."""

    grpc_status = "UNKNOWN"

    entity: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.entity}: it is not known whether the command was persisted ({self.reason}); "
            "send it again with the same command id, or look"
        )


@with_fields
class StashOverflowError(EntityError):
    """The entity has stashed as many commands as it may."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"

    entity: str
    limit: int

    def __str__(self) -> str:
        return f"{self.entity} has {self.limit} stashed commands (limits.stash_max); try later"


@with_fields
class HostBusyError(EntityError):
    """The host has accepted as many commands as it may and answered none of them yet."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"

    host: str
    limit: int

    def __str__(self) -> str:
        return (
            f"host {self.host} has {self.limit} unanswered commands (limits.waiting_max); "
            "nothing was done; try again later"
        )


@with_fields
class RecoveryError(EntityError):
    """The entity cannot be brought back from the journal; others are not affected."""

    entity: str
    seq_nr: int
    reason: str

    def __str__(self) -> str:
        return f"{self.entity} cannot be recovered, at seq_nr {self.seq_nr}: {self.reason}"


@with_fields
class EntityClassError(SettingsError):
    """An entity class cannot be served as it is written. Raised before any actor exists."""

    class_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.class_name} cannot be an entity: {self.reason}"
