"""The one clock of a process: microseconds since 1970 that never go back.

Wall time as it was when the process first asked, carried forward by the monotonic clock: cores take
one `now_us` for time-outs and for the time of a commit, and a step of the wall clock moves neither.
"""

from __future__ import annotations

import time

_OFFSET_US = (time.time_ns() - time.monotonic_ns()) // 1000


def now_us() -> int:
    return time.monotonic_ns() // 1000 + _OFFSET_US
