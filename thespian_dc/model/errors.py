"""Every error a user can meet, split by room and by who must act.

Law: all constructor arguments stand in `args` (`with_fields` sees to it), because errors cross
processes; `str()` says what happened, where, and what to do next. `retryable` tells a caller
whether the same call may succeed later; `grpc_status` names the status it travels under.

Long because a reader looks for an error in one place, and each is a class with its own text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar, dataclass_transform


class ThespianDcError(Exception):
    """The root: catch this to catch all that this package raises on purpose."""

    retryable: ClassVar[bool] = False
    grpc_status: ClassVar[str] = "INTERNAL"

    def __post_init__(self) -> None:
        """The last step of the constructor that `with_fields` makes."""
        self.args = tuple(vars(self).values())


_Error = TypeVar("_Error", bound=ThespianDcError)


@dataclass_transform(eq_default=False)
def with_fields(kind: type[_Error]) -> type[_Error]:
    """Decorates an error class: the fields it annotates become, in order, the constructor's
    arguments, attributes, and `args` (also when they are given by name)."""
    return dataclass(eq=False, repr=False)(kind)


# --- settings: the operator must act; raised before any actor exists ---


class SettingsError(ThespianDcError):
    """A setting is wrong. The message names the field and what it should be."""

    grpc_status = "FAILED_PRECONDITION"


# --- codec ---


class CodecError(ThespianDcError):
    """A payload could not be turned into bytes or back."""

    grpc_status = "DATA_LOSS"


@with_fields
class RegistrationError(CodecError):
    """A payload type or upcaster cannot be registered as it is declared. Raised while a node is
    built."""

    grpc_status = "FAILED_PRECONDITION"

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where} cannot be registered: {self.reason}"


@with_fields
class UnregisteredTypeError(CodecError):
    """An object of a type that the registry does not list was to be stored. Nothing was written."""

    grpc_status = "INVALID_ARGUMENT"

    type_name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return (
            f"{self.type_name} is not a registered payload type; nothing was written. "
            f"List the class itself (a subclass counts as another type). Registered: {known}"
        )


@with_fields
class UnencodableError(CodecError):
    """A value has no exact stored form. `path` leads to it from the payload. Nothing was
    written."""

    grpc_status = "INVALID_ARGUMENT"

    path: str
    type_name: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.type_name} cannot be stored ({self.reason}); nothing was written"
        )


@with_fields
class UnknownManifestError(CodecError):
    """Stored bytes name a type or version that this process does not know. The bytes are not at
    fault."""

    grpc_status = "FAILED_PRECONDITION"

    manifest: str
    known: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        known = ", ".join(self.known) or "none"
        return f"manifest {self.manifest!r} is not known here: {self.remedy}. Known: {known}"


@with_fields
class CorruptPayloadError(CodecError):
    """Stored bytes, or the fields in them, do not make an object of the type their manifest
    names."""

    manifest: str
    reason: str

    def __str__(self) -> str:
        return (
            f"a stored {self.manifest!r} cannot be read: {self.reason}; if the class has changed "
            "since, "
            "give new fields a default or add an Upcaster, else restore the journal from a copy"
        )


# --- journal ---


class JournalError(ThespianDcError):
    """The journal refused or failed."""


@with_fields
class JournalUrlError(JournalError):
    """The URL that names the journal cannot be understood."""

    grpc_status = "FAILED_PRECONDITION"

    url: str
    reason: str

    def __str__(self) -> str:
        return (
            f"journal URL {self.url!r}: {self.reason}; use sqlite:///path, "
            "cassandra://host[,host]:port/keyspace or memory:"
        )


@with_fields
class JournalUnavailableError(JournalError):
    """The journal did not answer, or answered that it cannot serve now. The same call may succeed
    later."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    where: str
    reason: str

    def __str__(self) -> str:
        return f"journal {self.where} is not available: {self.reason}; the same may work later"


@with_fields
class JournalAccessError(JournalError):
    """The journal's server refuses this client, or is not the one it should be: a password, a
    certificate or a permission is wrong. Trying again does not help."""

    grpc_status = "FAILED_PRECONDITION"

    where: str
    reason: str

    def __str__(self) -> str:
        return f"journal {self.where} refuses this client: {self.reason}"


@with_fields
class SchemaError(JournalError):
    """The journal's schema is missing, older or newer than this version needs."""

    grpc_status = "FAILED_PRECONDITION"

    where: str
    found: int
    wanted: int

    def __str__(self) -> str:
        state = "has no schema" if self.found == 0 else f"has schema {self.found}"
        if self.found > self.wanted:
            remedy = "upgrade thespian-dc"
        elif self.where.startswith("sqlite:"):
            remedy = (
                "stop nodes of older versions; the first one of this makes or migrates it, a large "
                f"one is migrated before: thespian-dc schema apply --journal {self.where}"
            )
        else:
            remedy = f"run: thespian-dc schema apply --journal {self.where}"
        return f"journal {self.where} {state}, this version needs {self.wanted}; {remedy}"


@with_fields
class SliceCountDiffersError(JournalError):
    """The slice count of an entity type is fixed when the journal first sees the type."""

    grpc_status = "FAILED_PRECONDITION"

    entity_type: str
    recorded: int
    wanted: int

    def __str__(self) -> str:
        return (
            f"entity type {self.entity_type!r} has {self.recorded} slices in this journal, "
            "settings ask for "
            f"{self.wanted}; set slices={self.recorded}: a slice count cannot change once events "
            "exist"
        )


@with_fields
class CorruptRecordError(JournalError):
    """Stored bytes do not match their checksum. Names the entity (where still readable), slice and
    offset."""

    grpc_status = "DATA_LOSS"

    entity_type: str
    slice: int
    offset: int
    entity_id: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.entity_type}|{self.entity_id or '?'}: record at slice {self.slice} offset "
            f"{self.offset} is "
            f"damaged ({self.reason}); other entities are not affected; restore this journal or "
            "run thespian-dc verify"
        )


@with_fields
class CorruptJournalError(JournalError):
    """Something stored beside the slice logs (a registry cell, the file itself) is damaged."""

    grpc_status = "DATA_LOSS"

    where: str
    what: str
    reason: str

    def __str__(self) -> str:
        return (
            f"journal {self.where}: {self.what} is damaged ({self.reason}); restore it or run "
            "thespian-dc verify"
        )


@with_fields
class GapError(JournalError):
    """Records that must be contiguous are not: the journal lost something."""

    grpc_status = "DATA_LOSS"

    where: str
    expected: int
    found: int

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}; run thespian-dc verify"


@with_fields
class TrimmedError(JournalError):
    """Records below `trimmed_to` were deleted behind snapshots."""

    grpc_status = "OUT_OF_RANGE"

    where: str
    wanted: int
    trimmed_to: int

    def __str__(self) -> str:
        return (
            f"{self.where}: offset {self.wanted} was asked for, records below "
            f"{self.trimmed_to} are trimmed"
        )


@with_fields
class JournalDivergedError(JournalError):
    """A consumer's position does not belong to this journal as it is now: restored, rolled back, or
    another one."""

    grpc_status = "FAILED_PRECONDITION"

    where: str
    offset: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.where}: the stored position {self.offset} does not match the producer's "
            "journal "
            f"({self.reason}); was it restored from a copy, or has the projection another source "
            "now? Nothing was handled; to go on, set the position on purpose, then stop and start "
            "the projection"
        )


@with_fields
class TooLargeError(JournalError):
    """An event, command or commit is larger than the journal's limit; nothing was written."""

    grpc_status = "RESOURCE_EXHAUSTED"

    what: str
    size_bytes: int
    limit_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.what} is {self.size_bytes} bytes, the limit is {self.limit_bytes}; "
            "nothing was written"
        )


@with_fields
class NotSupportedError(JournalError):
    """This backend or base cannot do what was asked."""

    grpc_status = "UNIMPLEMENTED"

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} is not supported: {self.reason}"


@with_fields
class HomeDataCentreError(JournalError):
    """A Cassandra journal lives in the data centre it was made in, and its clients work there."""

    grpc_status = "FAILED_PRECONDITION"

    where: str
    home_dc: str
    found_dc: str

    def __str__(self) -> str:
        return (
            f"journal {self.where} lives in data centre {self.home_dc!r}, this client would use "
            f"{self.found_dc!r}; name hosts of {self.home_dc!r} and local_dc={self.home_dc}"
        )


@with_fields
class UnsafeServerError(JournalError):
    """A server, or a client's setting against it, would break what the journal promises."""

    grpc_status = "FAILED_PRECONDITION"

    where: str
    setting: str
    value: str

    def __str__(self) -> str:
        return f"journal {self.where}: {self.setting} is {self.value}; see docs/cassandra.md"


@with_fields
class MissingExtraError(SettingsError):
    """An optional dependency is needed and not installed."""

    what: str
    extra: str

    def __str__(self) -> str:
        return (
            f"{self.what} needs an optional package; install it with: pip install "
            f"'thespian-dc[{self.extra}]'"
        )


# --- entities ---


class EntityError(ThespianDcError):
    """An entity could not do what a command asked. Sent to the asker."""


# --- clients and nodes ---


@with_fields
class MessageUnsendableError(EntityError):
    """A message or a reply cannot be pickled; it was not sent."""

    grpc_status = "INVALID_ARGUMENT"

    type_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.type_name} cannot be sent between processes: {self.reason}"


@with_fields
class MessageUnreadableError(EntityError):
    """A message arrived whose class this process cannot build; other messages are not affected."""

    grpc_status = "INVALID_ARGUMENT"

    reason: str

    def __str__(self) -> str:
        return (
            f"a message cannot be read in this process: {self.reason}; "
            "make its class importable under the same name on both sides"
        )


@with_fields
class AskTimeoutError(EntityError):
    """No answer came in time. The command may have been handled, or may be handled later."""

    retryable = True
    grpc_status = "DEADLINE_EXCEEDED"

    entity: str
    timeout_s: float
    where: str

    def __str__(self) -> str:
        return (
            f"{self.entity} did not answer within {self.timeout_s:g} s ({self.where}); whether it "
            "handled the command is not known: ask again with the same command_id"
        )


@with_fields
class ClientBusyError(EntityError):
    """More commands are under way than the client may hold; this one was not sent."""

    retryable = True
    grpc_status = "RESOURCE_EXHAUSTED"

    limit: int

    def __str__(self) -> str:
        return f"{self.limit} commands are under way already; wait for answers, this was not sent"


@with_fields
class ClientClosedError(EntityError):
    """The client was closed, or its process forked in the middle of a call."""

    grpc_status = "CANCELLED"

    service: str

    def __str__(self) -> str:
        return f"the client of {self.service!r} is closed; connect a new one"


@with_fields
class UnknownEntityTypeError(EntityError):
    """No node of the service serves this entity type."""

    grpc_status = "NOT_FOUND"

    entity_type: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        served = ", ".join(self.known) or "none"
        return f"entity type {self.entity_type!r} is not served here; served: {served}"


@with_fields
class UnexpectedMessageError(EntityError):
    """A type address got something that is not for an entity."""

    grpc_status = "INVALID_ARGUMENT"

    entity_type: str
    type_name: str

    def __str__(self) -> str:
        return (
            f"the address of entity type {self.entity_type!r} takes ToEntity(entity_id, message), "
            f"not {self.type_name}"
        )


# --- projections and streams ---


class ProjectionError(ThespianDcError):
    """A projection stopped or refused."""


@with_fields
class PositionConflictError(ProjectionError):
    """Somebody else claimed this slice or set its position: nothing of the run's transaction is
    kept."""

    grpc_status = "ABORTED"

    projection: str
    slice: int
    expected: int
    found: str

    def __str__(self) -> str:
        return (
            f"projection {self.projection} slice {self.slice}: position was expected at "
            f"{self.expected}, found "
            f"{self.found}; another worker took it over or somebody set it: this run ends, and "
            "what is stored now counts"
        )


class StreamError(ThespianDcError):
    """A gRPC stream was refused or broke."""


# --- testkit: servers that tests and the demo start ---


class TestkitError(ThespianDcError):
    """Something that only tests and the demo need is missing or failed."""

    __test__ = False  # not a test case, whatever pytest makes of the name


@with_fields
class MissingToolError(TestkitError):
    """A program that cannot come along with a Python package is not on this machine."""

    grpc_status = "FAILED_PRECONDITION"

    tool: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.tool} is missing: {self.why}; {self.remedy}"


@with_fields
class EmbeddedServerError(TestkitError):
    """The embedded server did not come up; `last_lines` is the end of its log."""

    grpc_status = "UNAVAILABLE"

    version: str
    what: str
    last_lines: str

    def __str__(self) -> str:
        return (
            f"embedded Cassandra {self.version}: {self.what}; its log ends with:\n{self.last_lines}"
        )
