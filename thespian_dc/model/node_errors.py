"""Errors of starting, finding and stopping nodes. See model/errors.py for their common law."""

from __future__ import annotations

from thespian_dc.model.errors import ThespianDcError, with_fields


class NodeError(ThespianDcError):
    """A node could not be started, found or stopped."""

    grpc_status = "FAILED_PRECONDITION"


@with_fields
class ServiceNotFoundError(NodeError):
    """No node of this service runs in the actor system."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    service: str
    admin: str

    def __str__(self) -> str:
        return (
            f"no node of service {self.service!r} runs in the actor system at {self.admin}; start "
            "one with Node.start(system, Settings(service=...)), or connect to another Admin Port"
        )


@with_fields
class NodeSettingsDifferError(NodeError):
    """The service's node runs already, with other settings."""

    service: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"service {self.service!r} runs in this actor system with other settings for "
            f"{', '.join(self.fields)}; stop that node first (node.stop()), or start with the same"
        )


@with_fields
class NotImportableError(NodeError):
    """The actor system cannot import what it shall run, or has other code under its name."""

    name: str
    path: str
    remedy: str

    def __str__(self) -> str:
        return f"the actor system cannot run {self.name} (here: {self.path}): {self.remedy}"


@with_fields
class WrongActorSystemError(NodeError):
    """The ActorSystem object stands for another system than the one asked for."""

    what: str
    asked: str
    running: str

    def __str__(self) -> str:
        return (
            f"this ActorSystem was asked for with {self.what} = {self.asked}, but the one that "
            f"runs has {self.running}: a second ActorSystem(...) in a process returns the first, "
            "and an Admin that is up keeps what it was started with; use that one, or another "
            "process or Admin Port"
        )


@with_fields
class NodeStartError(NodeError):
    """A process of the node did not come up."""

    service: str
    reason: str

    def __str__(self) -> str:
        return f"the node of service {self.service!r} did not come up: {self.reason}"
