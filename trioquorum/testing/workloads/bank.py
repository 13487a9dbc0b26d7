"""Multi: money that moves between accounts in transactions of two writes is never made or lost."""

from typing import ClassVar, Final

import trio

from trioquorum.client import Client
from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads.base import Workload, unless

CLIENTS: Final = 3
ACCOUNTS: Final = ("/bank/a", "/bank/b", "/bank/c", "/bank/d")


class Bank(Workload):
    """All accounts begin with nothing, may owe, and come to nothing at every zxid."""

    name = "bank"
    paths: ClassVar[tuple[str, ...]] = ("/bank", *ACCOUNTS)

    async def run(self) -> None:
        """Several that transfer at once, often on old versions."""
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(self.work, f"bank-{number}", self._transfer)

    async def _transfer(self, client: Client) -> None:
        source, target = self.rng.sample(ACCOUNTS, 2)
        (had, first), (has, second) = await client.get(source), await client.get(target)
        amount = self.rng.randrange(1, 100)
        await self.pause()
        transaction = client.transaction()
        transaction.set(source, str(_balance(had) - amount).encode(), first.version)
        if not self.rng.randrange(3):
            transaction.create("/bank/receipt", ephemeral=True)  # mostly there already: then nothing may have moved
        transaction.set(target, str(_balance(has) + amount).encode(), second.version)
        if not await unless(transaction.commit(), Code.NODEEXISTS):
            await client.delete("/bank/receipt")

    def check(self, truth: Truth) -> None:
        """Nothing was made or lost, at any zxid."""
        balances = dict.fromkeys(ACCOUNTS, 0)
        for txn, model in truth.replay():
            moved = {path for _, path in model.apply(txn)} & balances.keys()
            balances.update((path, _balance(model.nodes[path].data)) for path in moved)
            total = sum(balances.values())
            invariant(total == 0, "money is not made", zxid=txn.header.zxid, total=total, moved=sorted(moved))


def _balance(data: bytes | None) -> int:
    return int(data or b"0")
