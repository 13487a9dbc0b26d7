"""What a planted bug is: a change of the servers for the worse, and how soon the simulator must find it."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import pytest

from trioquorum.testing.campaign import Choice
from trioquorum.testing.plan import Plan, Strike
from trioquorum.tree import apply
from trioquorum.wire.jute import Record

Plant = Callable[[pytest.MonkeyPatch], None]

DIGESTS: Final = "trees are what their digests say"
"""Of what makes a tree another one the leader's digests tell first."""

PACE_S: Final = 1.2
"""Mean time between two strikes: much less than plans are drawn with, so that a few seconds are enough."""


def patch_apply(patch: pytest.MonkeyPatch, record: type[Record], wrong: Callable[..., apply.Applied]) -> None:
    """Apply transactions with such a record by ``wrong``."""
    by_record: dict[type[Record], Callable[..., apply.Applied]] = {**apply._BY_RECORD, record: wrong}
    patch.setattr(apply, "_BY_RECORD", by_record)


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """A bug, planted by ``plant``; ``source`` is where it was seen, or the rule that it breaks.

    One of the seeds from 0 on, ``seeds`` of them at most, must fail with one of ``found`` in its message. ``choice``
    and ``world``, fields of the plan, make that quick.
    """

    name: str
    source: str
    plant: Plant
    found: tuple[str, ...]
    seeds: int
    choice: Choice
    world: Mapping[str, Any]

    def plan(self, seed: int) -> Plan:
        """What ``seed`` stands for; of limits and settings only those in ``world`` are others."""
        drawn = self.choice.plan(seed)
        drawn = msgspec.structs.replace(drawn, strikes=_strikes(seed, self.choice.kinds, drawn.safety_s))
        changes = {
            field: {**getattr(drawn, field), **value} if isinstance(value, dict) else value
            for field, value in self.world.items()
        }
        return msgspec.structs.replace(drawn, **changes)


def _strikes(seed: int, kinds: tuple[str, ...], length_s: float) -> tuple[Strike, ...]:
    """Strikes of these kinds alone, one after the other."""
    rng = random.Random(f"mutant/{seed}")
    strikes = []
    at_s = 1.0 + rng.expovariate(1 / PACE_S)
    while kinds and at_s < length_s:
        kind = rng.choice(kinds)
        a, b, size = (round(rng.random(), 4) for _ in range(3))
        lasts_s = round(rng.choice((0.1, 1.0, 3.0)) * rng.uniform(0.5, 1.5), 3)
        strikes.append(Strike(at_s=round(at_s, 3), kind=kind, lasts_s=lasts_s, a=a, b=b, size=size))
        at_s += rng.expovariate(1 / PACE_S)
    return tuple(strikes)


MUTANTS: list[Mutant] = []


def mutant(
    source: str,
    *found: str,
    seeds: int = 1,
    peers: int = 3,
    safety_s: float = 10.0,
    kinds: tuple[str, ...] = (),
    workloads: tuple[str, ...] = ("register",),
    **world: object,
) -> Callable[[Plant], Plant]:
    """Enter the function that plants a bug into ``MUTANTS``, under its name."""

    def enter(plant: Plant) -> Plant:
        choice = Choice(peers=peers, safety_s=safety_s, kinds=kinds, workloads=workloads)
        MUTANTS.append(
            Mutant(
                name=plant.__name__,
                source=source,
                plant=plant,
                found=found,
                seeds=seeds,
                choice=choice,
                world={"groups": (), "observers": 0, "pause_s": 0.1, "delay_s": 0.005, "flush_s": 0.005, **world},
            )
        )
        return plant

    return enter
