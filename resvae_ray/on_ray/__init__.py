"""The Ray that work runs on: a running cluster or a local one, and pieces of work as Ray Data jobs."""
