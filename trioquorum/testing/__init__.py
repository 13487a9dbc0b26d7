"""Ensembles for tests: whole servers in one process, over memory links and disks, in virtual time."""

from trioquorum.testing.ensemble import Happening, MemoryEnsemble, open_ensemble, server_line
from trioquorum.testing.network import LinkStream, Network, dial_over
from trioquorum.testing.peer import MemoryPeer
from trioquorum.testing.safety import Safety

__all__ = [
    "Happening",
    "LinkStream",
    "MemoryEnsemble",
    "MemoryPeer",
    "Network",
    "Safety",
    "dial_over",
    "open_ensemble",
    "server_line",
]
