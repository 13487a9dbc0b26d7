"""Certificates that live as long as a test: authorities, keys, revocation lists, and TLS contexts of clients."""

import datetime as dt
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SERVER_NAME = "server.test"


class Authority:
    """One that vouches for servers and clients; its files are in ``folder``."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._ca = trustme.CA(organization_name=name)
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, file: str, *names: str, common_name: str | None = None) -> Path:
        """A file with a key and its certificate, for these host names and addresses."""
        path = self._folder / file
        issued = self._ca.issue_cert(*(names or (SERVER_NAME, "127.0.0.1")), common_name=common_name)
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def revocations(self, *certificates: Path) -> bytes:
        """A revocation list in PEM with these certificates on it."""
        ca = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        key = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        now = dt.datetime.now(dt.UTC)  # noqa: TID251  (certificates are of the real time)
        made = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now)
        made = made.next_update(now + dt.timedelta(days=1))
        for path in certificates:
            serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            made = made.add_revoked_certificate(revoked)
        return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]

    def client(self, certificate: Path | None = None) -> ssl.SSLContext:
        """What a client needs that trusts this authority, and shows ``certificate``."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context


def subject(path: Path) -> str:
    """Whose certificate it is, read by another library; Java escapes number signs wherever they stand."""
    return x509.load_pem_x509_certificate(path.read_bytes()).subject.rfc4514_string().replace("#", "\\#")


def encrypted(path: Path, password: str) -> Path:
    """The same file with its key under a password."""
    key = load_pem_private_key(path.read_bytes(), None)
    protection = serialization.BestAvailableEncryption(password.encode())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    chain = path.read_bytes()[path.read_bytes().index(b"-----BEGIN CERTIFICATE") :]
    made = path.with_suffix(".secret.pem")
    made.write_bytes(key.private_bytes(encoding, form, protection) + chain)
    return made
