"""Errors of replicated data types. Pure; see the laws of `errors`."""

from __future__ import annotations

from thespian_dc.model.errors import EntityError, with_fields


class CrdtError(EntityError):
    """An operation was not applied; the value is as it was."""


@with_fields
class WrongOperationError(CrdtError):
    """The operation is not one of this type: an event handler hands it to the wrong value, or a
    replica runs other code."""

    value: str
    operation: str
    known: str

    def __str__(self) -> str:
        return (
            f"{self.value} has no operation {self.operation}, only {self.known}; look at which "
            "value the event handler gives it to, and whether all replicas run the same code"
        )


@with_fields
class RepeatedOperationError(CrdtError):
    """Two operations bear one number. The second would be lost in silence at every replica."""

    value: str
    operation: str
    replica: str
    number: int

    def __str__(self) -> str:
        return (
            f"{self.value}: {self.operation} has number {self.number} of replica {self.replica}, "
            "which is taken: two operations were prepared from one value, or one was delivered "
            "twice; prepare the second from value.apply(first), or make it one operation"
        )


@with_fields
class NotWholeError(CrdtError):
    """A number is no whole one. Sums of others depend on their order, and times are compared."""

    name: str
    given: str
    instead: str

    def __str__(self) -> str:
        return f"{self.name} must be a whole number, not {self.given}; {self.instead}"
