"""The slice log and everything durable beside it. Enter through `thespian_dc.journal.api`."""
