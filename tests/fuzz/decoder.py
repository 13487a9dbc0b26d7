"""``python -m tests.fuzz.decoder --inputs 10000000``: what a client may send, against the decoders alone.

Each input is a recorded payload with a few bytes changed, given to the decoder of its opcode and to that of the
handshake, and now and then to the splitter of frames, cut anywhere. Whatever comes, a decoder returns or raises what
those who call it catch.
"""

from collections.abc import Callable
from random import Random
from struct import error as struct_error
from typing import Annotated, Final

import typer

from tests.fuzz import recorded
from trioquorum.errors import FrameRefused, PeerProtocolError, RequestFailed
from trioquorum.wire.client import (
    REQUEST_HEADER,
    decode_connect,
    decode_multi,
    decode_multi_read,
    decode_path_watch,
)
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import WRITES, Op
from trioquorum.wire.records import (
    AuthRequest,
    CreateRequest,
    CreateTtlRequest,
    PathRequest,
    PathTypeRequest,
    PathVersionRequest,
    ReconfigRequest,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
)

REPORT_EVERY: Final = 1_000_000
FRAMES_EVERY: Final = 16
LIMIT: Final = 0xFFFFF
_LENGTH_BYTES: Final = 4
_NUMBERS: Final = [number.to_bytes(4, signed=True) for number in (0, 1, -1, -2, 127, 2**15, 2**31 - 1, -(2**31))]

DECODERS: Final[dict[int, Callable[[bytes], object]]] = {
    Op.CREATE: CreateRequest.decode_from,
    Op.CREATE2: CreateRequest.decode_from,
    Op.CREATE_CONTAINER: CreateRequest.decode_from,
    Op.CREATE_TTL: CreateTtlRequest.decode_from,
    Op.DELETE: PathVersionRequest.decode_from,
    Op.CHECK: PathVersionRequest.decode_from,
    Op.SET_DATA: SetDataRequest.decode_from,
    Op.SET_ACL: SetAclRequest.decode_from,
    Op.EXISTS: decode_path_watch,
    Op.GET_DATA: decode_path_watch,
    Op.GET_CHILDREN: decode_path_watch,
    Op.GET_CHILDREN2: decode_path_watch,
    Op.GET_ACL: PathRequest.decode_from,
    Op.SYNC: PathRequest.decode_from,
    Op.GET_EPHEMERALS: PathRequest.decode_from,
    Op.GET_ALL_CHILDREN_NUMBER: PathRequest.decode_from,
    Op.CHECK_WATCHES: PathTypeRequest.decode_from,
    Op.REMOVE_WATCHES: PathTypeRequest.decode_from,
    Op.ADD_WATCH: PathTypeRequest.decode_from,
    Op.SET_WATCHES: SetWatches.decode_from,
    Op.SET_WATCHES2: SetWatches2.decode_from,
    Op.RECONFIG: ReconfigRequest.decode_from,
    Op.AUTH: AuthRequest.decode_from,
    Op.MULTI: decode_multi,
    Op.MULTI_READ: decode_multi_read,
}
_OPS: Final = [op.to_bytes(4) for op in DECODERS]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def examine(payload: bytes) -> None:
    """Decode ``payload`` as a handshake, and as a request."""
    try:
        decode_connect(payload)
    except PeerProtocolError:
        pass
    if len(payload) >= REQUEST_HEADER.size:
        op = REQUEST_HEADER.unpack_from(payload)[1]
        decode = DECODERS.get(op)
        if decode is not None:
            try:
                decode(payload[REQUEST_HEADER.size :])
            except (PeerProtocolError, RequestFailed):
                pass
            except struct_error:
                if op not in WRITES:
                    raise


def examine_frames(stream: bytes, cut: int) -> None:
    """The frames of ``stream`` are the same however it is cut."""
    whole, halves = FrameSplitter(LIMIT), FrameSplitter(LIMIT)
    found: list[list[bytes]] = []
    for splitter, pieces in ((whole, [stream]), (halves, [stream[:cut], stream[cut:]])):
        frames: list[bytes] = []
        try:
            for piece in pieces:
                frames += splitter.feed(piece)
        except FrameRefused as refused:
            frames += refused.frames
        found.append(frames)
    assert found[0] == found[1], stream.hex()


def changed(payload: bytes, chance: Random) -> bytes:
    """A few bytes or whole numbers of it changed, cut off or doubled; often under another opcode."""
    data = bytearray(payload)
    pick = chance.random
    for _ in range(1 + int(pick() * 3)):
        at = int(pick() * (len(data) + 1))
        kind = pick()
        if kind < 0.4:
            data[at : at + 1] = (int(pick() * 256),)
        elif kind < 0.8:
            data[at : at + 4] = _NUMBERS[int(pick() * len(_NUMBERS))]
        elif kind < 0.9:
            del data[at:]
        else:
            data[at:at] = data[at // 2 : at]
    if pick() < 0.3 and len(data) >= 8:
        data[4:8] = _OPS[int(pick() * len(_OPS))]
    return bytes(data)


def run(inputs: int, seed: int) -> None:
    """Examine so many inputs.

    Raises:
        Exception: what a decoder must not raise.
    """
    chance = Random(seed)
    payloads = [frame[_LENGTH_BYTES:] for frames in recorded.conversations() for frame in frames]
    for number in range(1, inputs + 1):
        payload = changed(payloads[number % len(payloads)], chance)
        try:
            examine(payload)
        except Exception:
            print(f"seed {seed}, input {number}: {payload.hex()}", flush=True)
            raise
        if number % FRAMES_EVERY == 0:
            examine_frames(len(payload).to_bytes(4) + payload + payload, int(chance.random() * len(payload)))
        if number % REPORT_EVERY == 0 or number == inputs:
            print(f"{number} inputs", flush=True)


@app.command()
def main(
    inputs: Annotated[int, typer.Option(min=1, help="How many.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="What they are drawn from.")] = 1,
) -> None:
    """Feed the decoders until one raises what it must not."""
    run(inputs, seed)


if __name__ == "__main__":
    app()
