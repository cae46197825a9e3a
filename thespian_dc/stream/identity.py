"""Who is at the other end of a call: the names in its certificate, as the TLS session proved them.

A name of our authority's certificate is proved; what a message says of its sender is not.
"""

from __future__ import annotations

from typing import Any

SUBJECT_ALTERNATIVE_NAME = "x509_subject_alternative_name"
COMMON_NAME = "x509_common_name"


def identities(context: Any) -> frozenset[str]:
    """The peer's names: subject alternative names, the common name only where there are none.
    Empty without TLS, and where its certificate was not asked for."""
    proved = context.auth_context()
    names = proved.get(SUBJECT_ALTERNATIVE_NAME) or proved.get(COMMON_NAME) or ()
    return frozenset(name.decode("utf-8", "replace") for name in names)
