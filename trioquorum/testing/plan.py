"""What a seed stands for: an ensemble, its settings, its workloads, and every fault with its moment.

Swarm: each seed draws which kinds of faults exist at all and how strong they are, so that over many seeds every mix is
tried, those without a fault too. A plan is drawn before the run and never looks at it: the same seed is the same plan,
and any part of its strikes or workloads is again a plan, which is what shrinking needs.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from trioquorum.errors import ConfigError

T = TypeVar("T")

NETWORK: Final = (
    ("cut", "one_way", "partition", "slow_link", "slow_way", "narrow_link")
    + ("break_links", "torn_link", "silence", "slow_reader")
)  # fmt: skip
DISK: Final = ("slow_disk", "failed_flush", "full_disk", "flipped_bit", "lost_file")
PROCESS: Final = ("crash", "crash_all", "crash_at", "stop", "pause", "clock_jump")
RARELY: Final = ("dead_links", "overtaken")
"""Drawn beside the others, and in few plans."""
KINDS: Final = (*NETWORK, *RARELY, *DISK, *PROCESS)
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "all": KINDS,
    "none": (),
    "network": (*NETWORK, "dead_links"),
    "disk": DISK,
    "process": (*PROCESS, "overtaken"),
}

READ_ONLY: Final = "read_only_enabled"

RARE: Final = 0.08
"""How many plans have each of what most do without."""

STORM: Final = "storm"
STORM_SHARE: Final = 0.06
"""How many plans change the membership beside what else their clients do."""

SAFETY_S: Final = (5.0, 25.0)
"""How long a run is under faults, unless it is said: drawn between these."""


Setting = bool | int | float | str
"""A value of ``config.Settings``."""


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. ``a`` and ``b`` are draws from 0 to 1 that choose whom it hits; ``size`` from 0 to 1 how hard."""

    at_s: float
    kind: str
    lasts_s: float
    a: float
    b: float
    size: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run. ``settings`` and ``limits`` are what peers are configured with beyond the defaults,
    ``disk_rates`` those of ``DiskFaults`` that power loss brings.

    ``groups`` gives each voter a group of a hierarchical quorum; empty for majorities. ``masters`` are the voters that
    feed observers while they follow. ``joiners`` more peers exist where the membership changes.
    """

    seed: int
    peers: int
    observers: int
    groups: tuple[int, ...]
    masters: tuple[int, ...]
    joiners: int = 0
    safety_s: float
    pause_s: float
    delay_s: float
    flush_s: float
    disk_rates: dict[str, float]
    settings: dict[str, Setting]
    limits: dict[str, int]
    workloads: tuple[str, ...]
    strikes: tuple[Strike, ...]

    @property
    def stormy(self) -> bool:
        """Whether the membership changes."""
        return STORM in self.workloads

    def keeping(self, strikes: Collection[int], workloads: Sequence[str]) -> "Plan":
        """The same run with only these strikes (by number) and workloads."""
        kept = tuple(strike for number, strike in enumerate(self.strikes) if number in strikes)
        return msgspec.structs.replace(self, strikes=kept, workloads=tuple(workloads))


def kinds_of(faults: str) -> tuple[str, ...]:
    """Kinds of faults from names of kinds and of groups, separated by commas.

    Raises:
        ConfigError: there is no such kind.
    """
    found: list[str] = []
    for name in faults.split(","):
        group = GROUPS.get(name.strip(), (name.strip(),))
        unknown = [kind for kind in group if kind not in KINDS]
        if unknown:
            raise ConfigError(f"no fault is called {unknown[0]!r}; choose from {', '.join((*GROUPS, *KINDS))}")
        found += group
    return tuple(kind for kind in KINDS if kind in found)


def draw(
    seed: int,
    workloads: Sequence[str],
    *,
    peers: int | None = None,
    safety_s: float | None = None,
    kinds: Sequence[str] = KINDS,
) -> Plan:
    """The plan of ``seed``. What is given is not drawn; ``workloads`` are to choose from, a storm comes on top."""
    rng = random.Random(f"plan/{seed}")
    rare = random.Random(f"rare/{seed}")
    storm = random.Random(f"storm/{seed}")
    drawn_peers = rng.choices((1, 2, 3, 4, 5), (1, 1, 12, 2, 6))[0]
    drawn_safety_s = rng.uniform(*SAFETY_S)
    voters = peers or drawn_peers
    length_s = safety_s or drawn_safety_s
    observers = rng.choices((0, 1, 2), (6, 2, 1))[0]
    grouped = rng.random() < 0.15 and voters >= 3
    count = rng.choices((1, 2, 3, len(workloads)), (6, 6, 3, 1))[0]
    drawn = set(rng.sample(range(len(workloads)), min(count, len(workloads))))
    chosen = [name for number, name in enumerate(workloads) if number in drawn]
    settings = _settings(rng) | _rare_settings(rare) | _oracle(rare, voters) | _read_only(rare, chosen)
    if voters + observers == 1:
        settings.pop("leader_serves", None)  # Then nobody would.
    if storm.random() < STORM_SHARE:
        chosen.append(STORM)
    return Plan(
        seed=seed,
        peers=voters,
        observers=observers,
        groups=_groups(rng, voters) if grouped else (),
        masters=_masters(rare, voters) if observers else (),
        joiners=storm.choice((1, 2, 3)),
        safety_s=round(length_s, 3),
        pause_s=rng.choices((0.1, 0.3, 1.0, 3.0), (1, 3, 4, 4))[0],
        delay_s=rng.choice((0.0, 0.0005, 0.005, 0.03)),
        flush_s=rng.choice((0.0, 0.0005, 0.005, 0.02)),
        disk_rates=_disk_rates(rng),
        settings=settings,
        limits=_limits(rng) | _rare_limits(rare),
        workloads=tuple(chosen),
        strikes=_strikes(rng, length_s, kinds)
        + (_apart(rare, length_s, kinds) if settings.get(READ_ONLY) else ())
        + tuple(strike for kind in RARELY for strike in _rarely(kind, seed, length_s, kinds)),
    )


def _groups(rng: random.Random, voters: int) -> tuple[int, ...]:
    """Each voter's group: two or three groups of voters next to each other."""
    count = rng.choice((2, 3)) if voters >= 5 else 3
    return tuple(1 + number * count // voters for number in range(voters))


def _disk_rates(rng: random.Random) -> dict[str, float]:
    """How likely what power loss may do to a disk is done."""
    names = ("torn_rate", "garbage_rate", "done_rate", "unfinished_rate", "zeros_rate")
    return {name: rng.choice((0.0, 0.5, 0.9)) for name in names}


def _masters(rng: random.Random, voters: int) -> tuple[int, ...]:
    """Mostly nobody; else some voters, one of which may lead and feed nobody."""
    if rng.random() >= 0.4:
        return ()
    return tuple(peer for peer in range(1, voters + 1) if rng.random() < 0.7)


def _rare_settings(rng: random.Random) -> dict[str, Setting]:
    """What few ensembles are told."""
    choices: dict[str, tuple[Setting, ...]] = {
        "leader_serves": (False,),
        "force_snapshot_sync": (True,),
        "leader_max_wait_for_epoch_ms": (1000, 5000),
        "snapshot_syncs_max": (1,),
        "diff_syncs_max": (1,),
        "learner_connect_limit_ticks": (1, 3),
        "observer_reconnect_delay_ms": (500, 3000),
        "observer_election_delay_ms": (0, 2000),
    }
    return _some_of(rng, choices)


def _oracle(rng: random.Random, voters: int) -> dict[str, Setting]:
    """Most pairs of voters have an oracle; nobody else would ask it."""
    asked = rng.random() < 0.7
    return {"oracle_path": "oracle"} if asked and voters == 2 else {}


def _read_only(rng: random.Random, workloads: Sequence[str]) -> dict[str, Setting]:
    """Where there are readers without a leader they are mostly served."""
    enabled = rng.random() < (0.8 if "readers" in workloads else RARE)
    return {READ_ONLY: True} if enabled else {}


def _apart(rng: random.Random, length_s: float, kinds: Sequence[str]) -> tuple[Strike, ...]:
    """Every peer alone, long enough for all of them to notice: else hardly anybody would do without a leader."""
    at_s, lasts_s = rng.uniform(0.1, 0.6) * length_s, rng.uniform(6.0, 15.0)
    apart = Strike(at_s=round(at_s, 3), kind="partition", lasts_s=round(lasts_s, 3), a=1.0, b=0.0, size=1.0)
    return (apart,) if apart.kind in kinds else ()


def _rarely(kind: str, seed: int, length_s: float, kinds: Sequence[str]) -> tuple[Strike, ...]:
    """Strikes of a kind that most plans do without."""
    rng = random.Random(f"{kind.replace('_', ' ')}/{seed}")
    count = rng.choice((1, 2, 4)) if rng.random() < RARE else 0
    times = sorted(rng.uniform(0.0, length_s) for _ in range(count))
    strikes = [
        Strike(at_s=round(at_s, 3), kind=kind, lasts_s=0.0, a=rng.random(), b=rng.random(), size=0.0) for at_s in times
    ]
    return tuple(strikes) if kind in kinds else ()


def _rare_limits(rng: random.Random) -> dict[str, int]:
    """Bounds that are hardly ever met: epochs that run out, observers that are left behind."""
    return _some_of(rng, {"epoch_txns_max": (20, 60, 200), "observer_master_bytes_max": (1000,)})


def _some_of(rng: random.Random, choices: Mapping[str, Sequence[T]]) -> dict[str, T]:
    """One of the choices for few of the names."""
    drawn = [(name, rng.choice(values), rng.random() < RARE) for name, values in choices.items()]
    return {name: value for name, value, wanted in drawn if wanted}


def _settings(rng: random.Random) -> dict[str, Setting]:
    return {
        "tick_time_ms": rng.choice((200, 500, 2000)),
        "init_limit_ticks": rng.choice((5, 10)),
        "sync_limit_ticks": rng.choice((2, 5)),
        "election_resend_ms_max": rng.choice((1000, 5000)),
        "snapshot_size_factor": rng.choice((-1.0, 0.33, 1.0)),
    }


def _limits(rng: random.Random) -> dict[str, int]:
    """Small ones, so that logs roll, snapshots are due and learners fall behind within seconds."""
    return {
        "snap_count": rng.choice((20, 100, 1000)),
        "committed_log_txns_max": rng.choice((2, 20, 500)),
        "snapshots_kept": rng.choice((1, 3)),
        "snapshot_chunk_bytes": rng.choice((256, 4096)),
    }


def _strikes(rng: random.Random, length_s: float, kinds: Sequence[str]) -> tuple[Strike, ...]:
    usual = [kind for kind in KINDS if kind not in RARELY]
    # Drawn for every kind, wanted or not: leaving some out leaves the others as they were.
    present = {kind: rng.random() < 0.35 for kind in usual}
    quiet = rng.random() < 0.05
    pace_s = rng.choice((2.0, 5.0, 15.0))
    weights = {kind: rng.random() for kind in usual}
    strikes = []
    at_s = rng.uniform(0.0, pace_s)
    while at_s < length_s:
        kind = rng.choices(usual, [weights[kind] if present[kind] else 1e-9 for kind in usual])[0]
        strike = Strike(
            at_s=round(at_s, 3),
            kind=kind,
            lasts_s=round(rng.choice((0.1, 1.0, 5.0, 20.0)) * rng.uniform(0.5, 1.5), 3),
            a=round(rng.random(), 4),
            b=round(rng.random(), 4),
            size=round(rng.random(), 4),
        )
        if present[kind] and kind in kinds and not quiet:
            strikes.append(strike)
        at_s += rng.expovariate(1 / pace_s)
    return tuple(strikes)
