"""A consumer's SQLite database: the handler's transaction and what a projection keeps there."""
