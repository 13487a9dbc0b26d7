"""What a page may order at ``/ensemble``, which only ``trioquorum ensemble`` serves."""

from typing import Final

import msgspec


class Order(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True):
    """What a page sends to ``/ensemble``, which only ``trioquorum ensemble`` serves: one msgpack map a message."""


class Kill(Order, frozen=True, tag="kill"):
    """``kill -9``."""

    peer: int


class Pause(Order, frozen=True, tag="pause"):
    """Stop the process where it is (SIGSTOP)."""

    peer: int


class Resume(Order, frozen=True, tag="resume"):
    """Let a paused process go on."""

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
