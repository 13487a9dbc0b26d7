"""What clients do in a run: each workload some clients with one aim, which know what must have come of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from trioquorum.testing.workloads.bank import Bank
from trioquorum.testing.workloads.base import Workload
from trioquorum.testing.workloads.ephemerals import Ephemerals
from trioquorum.testing.workloads.lock import Lock
from trioquorum.testing.workloads.readers import Readers
from trioquorum.testing.workloads.register import Register
from trioquorum.testing.workloads.scene import Scene
from trioquorum.testing.workloads.storm import Storm
from trioquorum.testing.workloads.watching import Watching

WORKLOADS: Final[Mapping[str, type[Workload]]] = MappingProxyType(
    {workload.name: workload for workload in (Register, Ephemerals, Lock, Bank, Watching, Readers)}
)
"""By name, those that any ensemble bears."""

ALL_WORKLOADS: Final[Mapping[str, type[Workload]]] = MappingProxyType({**WORKLOADS, Storm.name: Storm})
"""By name; the storm needs an ensemble that lets itself be changed, and a ``StormScene``."""

__all__ = [
    "ALL_WORKLOADS",
    "WORKLOADS",
    "Bank",
    "Ephemerals",
    "Lock",
    "Readers",
    "Register",
    "Scene",
    "Storm",
    "Watching",
    "Workload",
]
