"""Payload codecs: registered types to bytes and back, exactly. Enter through `api`."""
