"""Event-sourced entities, projections over gRPC and replication for Thespian actors.

Importing this package starts nothing and imports no driver, no grpc and no thespian.
"""

from __future__ import annotations

__version__ = "0.1.0"
