"""Start the Admin of an actor system and end: `start_admin.py CAPABILITIES`, as JSON.

Thespian forks all actors from the process that asked for the actor system. Here that is a new
interpreter, in which gRPC was never used: a fork of one where it was has its locks and its threads'
work in hand, and could neither serve nor dial.
"""

from __future__ import annotations

import json
import sys

from thespian.actors import ActorSystem

import tests.processes.replicas  # noqa: F401  what nodes and entities import, once for all actors

if __name__ == "__main__":
    ActorSystem("multiprocTCPBase", json.loads(sys.argv[1]))
