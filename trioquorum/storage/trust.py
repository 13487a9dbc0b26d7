"""Whether data that is not there was never there (quorum-protocol §21; ZOOKEEPER-2325, -3056, -3644).

A voter that lost its data must not vote as if it knew of nothing: what it helped to commit could then be outvoted.
"""

from pathlib import Path
from typing import Final

import msgspec

MARKER: Final = "initialize"


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator vouches for: that an empty directory is a new one, that a log needs no snapshot before it."""

    empty: bool = True
    no_snapshot: bool = False


def hand_in_marker(data_log_dir: Path, folder: Path) -> None:
    """Move the operator's marker from beside the folder of logs into it, where ``Database.load`` takes it.

    Raises:
        OSError: it is there and cannot be moved.
    """
    marker = data_log_dir / MARKER
    if marker.exists():
        marker.rename(folder / MARKER)
