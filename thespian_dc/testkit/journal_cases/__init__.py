"""The journal's conformance suite in parts; a backend inherits them through
`thespian_dc.testkit.journal_kit`."""
