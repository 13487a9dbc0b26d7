"""A peer of ``trioquorum ensemble``: as ``trioquorum serve`` runs it, but its links can be cut by who started it.

``python -m trioquorum.ensemble_peer --id 1 --peers peers.toml ...``. Each line of standard input is a JSON list: the
peers to part from, from now on. The first one comes before the peer starts. At the end of the input it stops: nobody
watches over it any more.
"""

import argparse
import sys
from collections.abc import AsyncIterable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from trioquorum.admin.beside import serve
from trioquorum.admin.settings import AdminSettings, settings_of
from trioquorum.config import ServerConfig, load_peers_toml
from trioquorum.cuts import Cuts, CutTransports
from trioquorum.events import Events
from trioquorum.log import configure, log_events
from trioquorum.peer.run import Surroundings
from trioquorum.running import tell_why, until_signalled
from trioquorum.transport import Address, Transports

LINE_BYTES_MAX: Final = 4096
"""An order names peers, of which there are 255."""

STDIN: Final = 0


def main() -> None:
    """Run the peer until SIGINT, SIGTERM or the end of the input."""
    parser = argparse.ArgumentParser(prog="trioquorum.ensemble_peer")
    parser.add_argument("--id", type=int, required=True)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--admin-origin", action="append", default=[])
    options = parser.parse_args()
    try:
        config = load_peers_toml(options.peers, options.id, options.data_dir)
        configure(options.log_level, json=False)
        events = Events(log_events(config.my_id, options.log_level))
        admin = settings_of(config, origins=tuple(options.admin_origin))
        trio.run(until_signalled, partial(run, config, events, admin))
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  (the process ends here, and says why)
        sys.exit(tell_why(error))


async def run(config: ServerConfig, events: Events, admin: AdminSettings | None) -> None:
    """Run the peer until its input ends.

    Raises:
        Everything that ``admin.beside.serve`` raises.
    """
    cuts = Cuts()
    around = Surroundings(transports=CutTransports(Transports(), addresses_of(config), cuts))
    async with trio.lowlevel.FdStream(STDIN) as orders:
        lines = Lines(orders)
        if not await _obey_next(lines, cuts):
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, lines, cuts, nursery.cancel_scope, name="orders")
            await serve(config, events, admin, around)
            nursery.cancel_scope.cancel(reason="the peer ended")


def addresses_of(config: ServerConfig) -> dict[Address, int]:
    """Whose addresses the other peers' are."""
    others = [spec for spec in config.peers if spec.id != config.my_id]
    found = {address: spec.id for spec in others for address in (spec.quorum, spec.election)}
    return found | {spec.observer_master: spec.id for spec in others if spec.observer_master is not None}


class Lines:
    """Lines of a stream, one after the other."""

    def __init__(self, stream: AsyncIterable[bytes | bytearray]) -> None:
        self._stream = stream.__aiter__()
        self._read = b""

    async def next(self) -> bytes | None:
        """The next line; ``None`` at the end, which a line over ``LINE_BYTES_MAX`` is too."""
        await trio.lowlevel.checkpoint()
        while b"\n" not in self._read:
            if len(self._read) > LINE_BYTES_MAX:
                return None
            try:
                self._read += await anext(self._stream)
            except (StopAsyncIteration, trio.BrokenResourceError):
                return None
        line, _, self._read = self._read.partition(b"\n")
        return line


async def _obey_next(lines: Lines, cuts: Cuts) -> bool:
    """Carry the next order out; false when there is none."""
    line = await lines.next()
    if line is None:
        return False
    cuts.part_from(msgspec.json.decode(line, type=list[int]))
    return True


async def _obey(lines: Lines, cuts: Cuts, scope: trio.CancelScope) -> None:
    while await _obey_next(lines, cuts):
        pass
    scope.cancel(reason="nobody watches over this peer any more")


if __name__ == "__main__":
    main()
