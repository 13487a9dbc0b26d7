"""Transports by scheme."""

import pytest

from trioquorum.transport import Address, Transports
from trioquorum_transports.memory import MemoryNetwork


@pytest.mark.parametrize(("given", "bound"), [("p1", "0.0.0.0"), ("::1", "::")])
async def test_who_listens_everywhere_is_reached_at_the_port_it_was_given(given: str, bound: str) -> None:
    inner = Transports(memory=MemoryNetwork().transport("p1"))
    transport = inner.on_all_addresses()["memory"]
    listener = await transport.listen(Address("memory", given, 7), frame_bytes_max=100)
    assert listener.address == Address("memory", bound, 7)
    link = await transport.connect(listener.address, frame_bytes_max=100)
    await link.send(b"hello")
    accepted = await listener.accept()
    assert await accepted.receive() == b"hello"
    for end in (link, accepted, listener):
        await end.aclose()
