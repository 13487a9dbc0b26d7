"""From request to reply: per-session order, the write path of each role, and what a commit answers."""
