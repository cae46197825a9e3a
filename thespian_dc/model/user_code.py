"""What user code may raise where it fails. Pure."""

from __future__ import annotations

RAISED = (Exception, SystemExit)
"""sys.exit() in one entity, or in the function of one stream, must end neither the host of
thousands nor the loop of all streams."""
