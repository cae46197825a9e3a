"""What one check of the doctor found, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

OK, WARN, FAIL = "OK", "WARN", "FAIL"


class Finding(NamedTuple):
    """status: OK, WARN (works, but not as it should) or FAIL (must be mended).

    check: its name, stable. found: what was seen. remedy: what to do; also a hint beside an OK.
    """

    check: str
    status: str
    found: str
    remedy: str = ""
