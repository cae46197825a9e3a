"""Every backend under the journal's conformance suite, and what is special to each."""
