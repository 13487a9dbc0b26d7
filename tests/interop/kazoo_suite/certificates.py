"""Keys and certificates that both sides of a TLS test trust."""

from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class Pair(NamedTuple):
    """A private key (PKCS 8) and its certificate, both PEM."""

    key: bytes
    certificate: bytes


class Certificates:
    """An authority, a server's and a client's pair."""

    def __init__(self) -> None:
        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        self.authority: bytes = authority.cert_pem.bytes()
        self.server = _pair(authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.RSA))
        self.client = _pair(authority.issue_cert("client", common_name="client", key_type=trustme.KeyType.RSA))

    def write(self, folder: Path) -> list[str]:
        """Put the server's stores into ``folder``; the lines of its ``zoo.cfg``, without the port."""
        key, trust = folder / "server.pem", folder / "trust.pem"
        key.write_bytes(self.server.key + self.server.certificate)
        trust.write_bytes(self.authority)
        return [f"ssl.keyStore.location={key}", f"ssl.trustStore.location={trust}"]


def _pair(cert: trustme.LeafCert) -> Pair:
    key = load_pem_private_key(cert.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(pem, b"".join(blob.bytes() for blob in cert.cert_chain_pems))
