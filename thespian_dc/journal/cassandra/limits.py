"""What the servers say about themselves, and what follows for a client. Pure.

The settings are system_views.settings of one node, as text; absent where a role may not read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from thespian_dc.model.errors import UnsafeServerError

TIMEOUT_S_DEFAULT = 6.0
_MARGIN_S = 1.0
_FRAME_BYTES = 16 << 20
_ROW_OVERHEAD_BYTES = 64 << 10
_BATCH_WARN_BYTES, _BATCH_FAIL_BYTES, _BATCH_PARTITIONS = 5 << 10, 50 << 10, 10
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 0.001}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, None: 1}


class ServerLimits(NamedTuple):
    """timeout_s: of a request. mutation_bytes_max: of a commit. batch_…: of index rows."""

    timeout_s: float
    mutation_bytes_max: int
    batch_bytes_max: int
    batch_partitions_max: int


def limits_of(url: str, settings: Mapping[str, str | None], timeout_s: float = 0.0) -> ServerLimits:
    """The limits; UnsafeServerError where conditional writes would not be linearizable.

    timeout_s: what the URL asks for, 0 for none. It must be above what the server may take for a
    conditional write: a client that stops waiting earlier makes unknown outcomes by itself.
    """
    variant = settings.get("paxos_variant") or ""
    if "without_linearizable_reads" in variant:
        raise UnsafeServerError(url, "paxos_variant", variant)
    server_s = sum(
        _read(settings, f"{n}_timeout", _SECONDS) for n in ("write_request", "cas_contention")
    )
    if timeout_s and timeout_s <= server_s:
        value = f"{timeout_s:g} s, not above the server's {server_s:g} s"
        raise UnsafeServerError(url, "timeout_s", value)
    mutation = _read(settings, "max_mutation_size", _BYTES)
    mutation = mutation or _read(settings, "commitlog_segment_size", _BYTES) / 2 or _FRAME_BYTES
    # Bytes and partitions of a batch stay below where the server warns of it in its log.
    warn = _read(settings, "batch_size_warn_threshold", _BYTES) or _BATCH_WARN_BYTES
    fail = _read(settings, "batch_size_fail_threshold", _BYTES) or _BATCH_FAIL_BYTES
    partitions = settings.get("unlogged_batch_across_partitions_warn_threshold") or ""
    return ServerLimits(
        timeout_s or max(TIMEOUT_S_DEFAULT, server_s + _MARGIN_S),
        min(int(mutation), _FRAME_BYTES) - _ROW_OVERHEAD_BYTES,
        int(min(warn, fail / 2)),
        int(partitions) if partitions.isdigit() else _BATCH_PARTITIONS,
    )


def _read(
    settings: Mapping[str, str | None], name: str, units: Mapping[str | None, float]
) -> float:
    """A size such as 32MiB or a duration such as 2000ms, in bytes or seconds; 0 where absent."""
    match = re.fullmatch(r"(\d+)([A-Za-z]+)?", settings.get(name) or "")
    return int(match.group(1)) * units.get(match.group(2), 0) if match else 0.0
