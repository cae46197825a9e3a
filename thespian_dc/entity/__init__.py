"""Commands to events to state: the user's base classes, effects, and the core of a host."""
