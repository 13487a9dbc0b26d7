"""What a page may order at ``/ensemble``, which ``trioquorum ensemble`` and the simulator serve, and nobody else."""

from collections.abc import Collection
from typing import Final

import msgspec

from trioquorum.errors import ConfigError


class Order(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True):
    """What a page sends to ``/ensemble``: one msgpack map a message."""


class Kill(Order, frozen=True, tag="kill"):
    """``kill -9``; a peer in memory loses its power."""

    peer: int


class Pause(Order, frozen=True, tag="pause"):
    """Stop the peer where it is (SIGSTOP)."""

    peer: int


class Resume(Order, frozen=True, tag="resume"):
    """Let a paused peer go on."""

    peer: int


class Restart(Order, frozen=True, tag="restart"):
    """Start a peer that has ended; one that runs is killed before."""

    peer: int


class Partition(Order, frozen=True, tag="partition"):
    """Let nothing pass between peers of different groups; who is in no group is with everybody. Replaces the last."""

    groups: list[list[int]]


class Heal(Order, frozen=True, tag="heal"):
    """End the partition."""


AnyOrder = Kill | Pause | Resume | Restart | Partition | Heal

_orders: Final[msgspec.msgpack.Decoder[AnyOrder]] = msgspec.msgpack.Decoder(AnyOrder)


def decode_order(data: bytes) -> AnyOrder:
    """What a page wants done to the ensemble.

    Raises:
        msgspec.DecodeError: it is nothing of that.
    """
    return _orders.decode(data)


def check_groups(groups: list[list[int]], known: Collection[int]) -> None:
    """Whether the peers that are ``known`` can be parted so.

    Raises:
        ConfigError: they cannot.
    """
    members = [peer for group in groups for peer in group]
    for peer in members:
        if peer not in known:
            raise ConfigError(f"there is no peer {peer}")
    if len(set(members)) < len(members):
        raise ConfigError("a peer is on one side of a partition only")


def parted_from(peer: int, groups: list[list[int]]) -> list[int]:
    """Everybody in another group than ``peer``, if it is in one."""
    if not any(peer in group for group in groups):
        return []
    return sorted(other for group in groups if peer not in group for other in group)
