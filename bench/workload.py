"""Workloads: what is measured, as data. Files of ``workloads/`` are suites; each table in one is a workload."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

FOLDER: Final = Path(__file__).parent / "workloads"

Measure = Literal["load", "half", "start", "failover", "filled", "join", "watches", "data"]


class Goal(msgspec.Struct, frozen=True, array_like=True):
    """A bound on the ratio ours ÷ Java of a figure, and what is aimed at. Which way is better is the figure's own."""

    bound: float
    aim: float


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is measured, on an ensemble of ``peers`` whose links use ``transport``.

    ``load``: ``clients`` keep ``depth`` requests under way each for ``seconds``; ``mix`` are the weights of set, get
    and create. ``half``: the same at first, then at half the rate that was reached. ``start``: cold start until the
    first write, then idle memory. ``failover``: the leader is killed ``times`` times. ``filled``: ``znodes`` are
    created, then memory. ``join``: an empty follower joins ``znodes``. ``watches``: ``clients`` watch one znode that
    changes ``times`` times. ``data``: one server that has ``znodes`` on disk restarts, takes a snapshot, replays.

    A load reads and writes one znode for each client, or ``znodes`` at random that were created before; meanwhile
    ``idle_sessions`` do nothing but ping. ``rounds`` stands against the command's, ``scales`` names the field that a
    plot of several workloads runs along.
    """

    measure: Measure = "load"
    mix: dict[str, int] = msgspec.field(default_factory=lambda: {"set": 1})
    value_bytes: int = 100
    clients: int = 16
    depth: int = 64
    peers: int = 3
    transport: str = "tcp"
    seconds: float = 3.0
    znodes: int = 0
    idle_sessions: int = 0
    times: int = 1
    rounds: int | None = None
    scales: Literal["", "clients", "peers", "znodes", "idle_sessions", "value_bytes"] = ""
    goals: dict[str, Goal] = {}

    def __post_init__(self) -> None:
        """Refuse what no server could be asked for.

        Raises:
            ValueError: becomes msgspec's error, which names the workload.
        """
        if not self.mix or set(self.mix) - {"set", "get", "create"} or min(self.mix.values()) < 1:
            raise ValueError("mix: positive weights of set, get and create")
        if min(self.clients, self.depth, self.peers, self.times, self.value_bytes) < 1 or self.seconds <= 0:
            raise ValueError("clients, depth, peers, times, value_bytes and seconds are at least 1, or more than 0")
        if self.znodes % self.clients:
            raise ValueError("znodes: a multiple of clients, so that each has as many")

    @property
    def label(self) -> str:
        """The mix in words."""
        if len(self.mix) == 1:
            return next(iter(self.mix))
        return " ".join(f"{name} {weight}" for name, weight in self.mix.items())


def suites() -> dict[str, dict[str, Workload]]:
    """Every suite by name: its workloads by name, in the order of the file.

    Raises:
        msgspec.ValidationError: a file says what no workload has.
    """
    found = {}
    for file in sorted(FOLDER.glob("*.toml")):
        found[file.stem] = msgspec.toml.decode(file.read_bytes(), type=dict[str, Workload])
    return found


def chosen(names: Sequence[str]) -> dict[str, Workload]:
    """The workloads of these names; a suite's name stands for all of its, a file's path for its tables.

    Raises:
        KeyError: there is no such workload.
    """
    everything = suites()
    flat = {name: workload for suite in everything.values() for name, workload in suite.items()}
    found: dict[str, Workload] = {}
    for name in names:
        if name in everything:
            found |= everything[name]
        elif name in flat:
            found[name] = flat[name]
        elif name.endswith(".toml"):
            found |= msgspec.toml.decode(Path(name).read_bytes(), type=dict[str, Workload])
        else:
            raise KeyError(name)
    return found
