"""Planted bugs, by subject: what a rewrite of ZooKeeper would get wrong, and what its order rules forbid."""

from tests.sim.mutants import (
    agreement,
    broadcast,
    clients,
    disks,
    elections,
    logs,
    memberships,
    sessions,
    synchronisation,
    trees,
)
from tests.sim.mutants.mutant import MUTANTS, Mutant

__all__ = [
    "MUTANTS",
    "Mutant",
    "agreement",
    "broadcast",
    "clients",
    "disks",
    "elections",
    "logs",
    "memberships",
    "sessions",
    "synchronisation",
    "trees",
]
