"""Pure values that every other room speaks in. Imports nothing of this package but itself."""
