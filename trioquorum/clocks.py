"""The edge to real time and chance; everything else gets them passed in."""

import random
import time


def wall_clock_ms() -> int:
    """Milliseconds since 1970: for znode times and session ids only."""
    return time.time_ns() // 1_000_000


def fresh_random() -> random.Random:
    """A generator seeded by the operating system, for production peers."""
    return random.Random()  # noqa: S311  (jitter, not secrets)
