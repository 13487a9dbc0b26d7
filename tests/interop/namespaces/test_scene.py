"""What the clients of a run need of their machine; no namespaces here."""

import socket
import struct

import pytest
import trio

from tests.interop.namespaces.scene import shut_down

pytestmark = pytest.mark.interop


async def test_a_connection_that_the_other_end_has_reset_is_shut_down_without_complaint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.getsockname()[1]) as stream:
            accepted, _ = server.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            shut_down(stream)
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"1")
        shut_down(stream)
