"""Looking at the files of a server that need not run: logs and snapshots as text, checked, compared and cut."""
