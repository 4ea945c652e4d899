"""Everything that listens to a search while it runs."""
