"""The replicated data: nodes, ACLs, watches, sessions, and the two halves of a write. Pure; no I/O, no clock."""
