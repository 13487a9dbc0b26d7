"""The edge to real time and chance; everything else gets them passed in."""

import random
import secrets
import time


def wall_clock_ms() -> int:
    """Milliseconds since 1970: for znode times and session ids only."""
    return time.time_ns() // 1_000_000


def fresh_random() -> random.Random:
    """A generator seeded by the operating system, for production peers."""
    return random.Random()  # noqa: S311  (jitter, not secrets)


def fresh_nonce() -> str:
    """Text that nobody can guess and that never comes again."""
    return secrets.token_hex(16)
