"""Where a server spends its CPU time."""
