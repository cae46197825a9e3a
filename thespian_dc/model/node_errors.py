"""Errors of starting, finding and stopping nodes. See model/errors.py for their common law."""

from __future__ import annotations

from thespian_dc.model.errors import ThespianDcError


class NodeError(ThespianDcError):
    """A node could not be started, found or stopped."""

    grpc_status = "FAILED_PRECONDITION"


class ServiceNotFoundError(NodeError):
    """No node of this service runs in the actor system."""

    retryable = True
    grpc_status = "UNAVAILABLE"

    def __init__(self, service: str, admin: str) -> None:
        super().__init__(service, admin)
        self.service, self.admin = service, admin

    def __str__(self) -> str:
        return (
            f"no node of service {self.service!r} runs in the actor system at {self.admin}; start "
            "one with Node.start(system, Settings(service=...)), or connect to another Admin Port"
        )


class NodeSettingsDifferError(NodeError):
    """The service's node runs already, with other settings."""

    def __init__(self, service: str, fields: tuple[str, ...]) -> None:
        super().__init__(service, fields)
        self.service, self.fields = service, fields

    def __str__(self) -> str:
        return (
            f"service {self.service!r} runs in this actor system with other settings for "
            f"{', '.join(self.fields)}; stop that node first (node.stop()), or start with the same"
        )


class NotImportableError(NodeError):
    """The actor system cannot import what it shall run, or has other code under its name."""

    def __init__(self, name: str, path: str, remedy: str) -> None:
        super().__init__(name, path, remedy)
        self.name, self.path, self.remedy = name, path, remedy

    def __str__(self) -> str:
        return f"the actor system cannot run {self.name} (here: {self.path}): {self.remedy}"


class WrongActorSystemError(NodeError):
    """The ActorSystem object stands for another system than the one asked for."""

    def __init__(self, what: str, asked: str, running: str) -> None:
        super().__init__(what, asked, running)
        self.what, self.asked, self.running = what, asked, running

    def __str__(self) -> str:
        return (
            f"this ActorSystem was asked for with {self.what} = {self.asked}, but the one that "
            f"runs has {self.running}: a second ActorSystem(...) in a process returns the first, "
            "and an Admin that is up keeps what it was started with; use that one, or another "
            "process or Admin Port"
        )


class NodeStartError(NodeError):
    """A process of the node did not come up."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(service, reason)
        self.service, self.reason = service, reason

    def __str__(self) -> str:
        return f"the node of service {self.service!r} did not come up: {self.reason}"
