"""A voter that elects and never follows: it holds election after election and takes no role."""

import random

import trio

from trioquorum.events import Events
from trioquorum.limits import Limits
from trioquorum.peer.electing import Elections
from trioquorum.peer.links import ElectionMesh
from trioquorum.testing import MemoryEnsemble, MemoryPeer
from trioquorum.transport import Transports
from trioquorum.zab.election import Election

PAUSE_S = 0.3


async def run_disloyal_voter(ensemble: MemoryEnsemble, peer: MemoryPeer) -> None:
    """Be ``peer``, which must not run, until cancelled."""
    config = peer.config
    transports = Transports(memory=ensemble.network.transport(peer.node))
    addresses = {spec.id: spec.election for spec in config.peers}
    own = addresses.pop(peer.id)
    silent = Events()
    mesh = ElectionMesh(peer.id, addresses, own, transports, Limits(), silent, 5000, random.Random(peer.id))
    elections = Elections(Election(peer.id, config.quorum_config()), mesh, silent)
    async with trio.open_nursery() as nursery:
        await nursery.start(mesh.run)
        await nursery.start(elections.run)
        while True:
            await elections.look(zxid=0, peer_epoch=0)
            await trio.sleep(PAUSE_S)
