"""Events to handler to position: sources, handlers, position stores, and the core that decides
what is handled."""
