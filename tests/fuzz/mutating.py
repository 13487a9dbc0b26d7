"""Changes to a client's byte stream that leave most of it understandable: whole frames stay frames."""

import struct
from collections.abc import Sequence
from random import Random
from typing import Final

NUMBERS: Final = (0, 1, -1, -2, 2, 3, 5, 127, 128, 255, 256, 2**15, 2**31 - 1, -(2**31), 0xFFFFF, 0x100000)
_LENGTH = struct.Struct(">i")


def frames_of(data: bytes, most: int) -> list[bytes]:
    """``data`` as whole frames of at most ``most`` bytes; what is none comes last, as it is."""
    found = []
    at = 0
    while at + 4 <= len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        if not 0 <= size <= most or at + 4 + size > len(data):
            break
        found.append(data[at : at + 4 + size])
        at += 4 + size
    return [*found, data[at:]] if at < len(data) else found


def mutated(frames: Sequence[bytes], others: Sequence[Sequence[bytes]], chance: Random) -> list[bytes]:
    """Some frames changed, doubled, left out, moved, or taken from another conversation."""
    changed = list(frames)
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        kind = chance.randrange(8)
        at = chance.randrange(len(changed) + 1)
        if kind == 0 or not changed:
            changed.insert(at, chance.choice(chance.choice(others)))
        elif kind == 1:
            changed.insert(at, chance.choice(changed))
        elif kind == 2:
            del changed[at : at + 1]
        else:
            at = chance.randrange(len(changed))
            changed[at] = _changed(changed[at], chance)
    return changed


def _changed(data: bytes, chance: Random) -> bytes:
    """One frame with another content; the length in front is mostly right."""
    payload = bytearray(data[4:])
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(payload) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            payload[at : at + 1] = bytes((chance.randrange(256),))
        elif kind == 1:
            payload[at : at + 4] = _LENGTH.pack(chance.choice(NUMBERS))
        elif kind == 2:
            del payload[at : at + chance.choice((1, 4, 8, 1000))]
        elif kind == 3:
            payload[at:at] = chance.randbytes(chance.choice((1, 4, 8, 30)))
        elif kind == 4:
            piece = payload[at : at + chance.choice((4, 8, 40))]
            payload[at:at] = piece * chance.choice((1, 2, 20))
        elif len(payload) >= 8:
            payload[4:8] = _LENGTH.pack(chance.choice((*range(-12, 24), *range(98, 109))))
    size = chance.choice(NUMBERS) if chance.random() < 0.02 else len(payload)
    return _LENGTH.pack(size) + payload
