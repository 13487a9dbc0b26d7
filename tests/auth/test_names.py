"""Subjects of certificates as Java writes them, and which names Java takes for one; both asked of OpenJDK 17."""

import pytest
from hypothesis import given, strategies as st

from trioquorum.errors import PeerProtocolError
from trioquorum.tree.names import is_distinguished_name, is_principal
from trioquorum.wire.certificate import subject_of

SUBJECTS = [
    (
        "305c310b3009060355040613024445310b300906035504080c024245310f300d06035504070c064265726c696e31133011060355040a0c0a41636d652c20496e632e310c300a060355040b0c03522644310c300a06035504030c03626f62",
        "CN=bob,OU=R&D,O=Acme\\, Inc.,L=Berlin,ST=BE,C=DE",
    ),
    (
        "307031133011060a0992268993f22c64011916036f726731173015060a0992268993f22c64011916076578616d706c6531123010060a0992268993f22c6401010c027531311e301c06092a864886f70d010901160f626f62406578616d706c652e6f7267310c300a06035504030c03626f62",
        "CN=bob,1.2.840.113549.1.9.1=#160f626f62406578616d706c652e6f7267,UID=u1,DC=example,DC=org",
    ),
    (
        "305a3116300806035504030c0162300a060355040b0c03782b79310e300c06035504090c055765672031310b3009060355040513023737310b3009060355040c0c024472310a3008060355042a0c0142310a3008060355042e130171",
        "2.5.4.46=#130171,2.5.4.42=#0c0142,2.5.4.12=#0c024472,2.5.4.5=#13023737,STREET=Weg 1,CN=b+OU=x\\+y",
    ),
    ("301b3119301706035504030c10206c65616420616e6420747261696c20", "CN=\\ lead and trail\\ "),
    (
        "30233121301f06035504030c1823686173683b3c3e225c3dc3bce282acf09f988020656e64",
        'CN=\\#hash\\;\\<\\>\\"\\\\\\=ü€😀 end',
    ),
    ("30153113301106035504031e0a0062006d0070002000fc", "CN=\\00b\\00m\\00p\\00 \\00�"),
    (
        "3027310e300c06035504031405743631207831153013060355040a1c0c000000750000006e00000069",
        "O=#1c0c000000750000006e00000069,CN=t61 x",
    ),
    ("3000", ""),
    ("30153113301106035504030c0a610d620a6300640d657f", "CN=a\rb\nc\\00d\re\x7f"),
    ("30203110300e06035504031a0776697369626c65310c300a060355040a1603696135", "O=ia5,CN=#1a0776697369626c65"),
]
"""A subject in DER, and what ``X500Principal.getName`` says."""

SEQUENCE = 0x30


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    return bytes((tag, size) if size < 128 else (tag, 0x82, size >> 8, size & 0xFF)) + content


def certificate(subject: bytes, *, version: bool = True) -> bytes:
    """All that stands in front of the subject and one field behind it; nothing is signed."""
    fields = [der(0xA0, der(2, b"\x02"))] if version else []
    fields += [der(2, b"\x05"), der(SEQUENCE, der(6, b"\x2a")), der(SEQUENCE), der(SEQUENCE), subject, der(SEQUENCE)]
    return der(SEQUENCE, der(SEQUENCE, *fields), der(SEQUENCE), der(3, b"\0"))


@pytest.mark.parametrize(("subject", "java"), SUBJECTS)
@pytest.mark.parametrize("version", [True, False])
def test_subjects_are_written_as_java_writes_them(subject: str, java: str, version: bool) -> None:
    assert subject_of(certificate(bytes.fromhex(subject), version=version)) == java


@pytest.mark.parametrize(("_", "java"), SUBJECTS)
def test_what_is_written_can_be_named_in_an_acl(_: str, java: str) -> None:
    assert is_distinguished_name(java)


def test_damaged_certificates() -> None:
    whole = certificate(bytes.fromhex(SUBJECTS[0][0]))
    for size in range(len(whole)):
        with pytest.raises(PeerProtocolError):
            subject_of(whole[:size])


@given(st.binary(max_size=100))
def test_any_subject_is_a_name_or_refused(content: bytes) -> None:
    try:
        assert isinstance(subject_of(certificate(der(SEQUENCE, content))), str)
    except PeerProtocolError:
        pass


@pytest.mark.parametrize(
    "name",
    [
        *("CN=bob", "cn=bob,o=x", "", "1.2.3=x", "OID.1.2.3=x", "oid.2.5.4.3=x", "CN=a+OU=b", "CN=a;O=b", 'CN="a,b"'),
        *("CN=a\\,b", "CN=", " CN = a , O = b ", "EMAIL=x", "S=x", "SERIALNUMBER=3", "CN=a=b", "DNQ=1", "CN=a#b"),
        *("CN=#0c0161", "CN=\\ a\\ ", "CN=ü€", "CN=\\#a", "CN=\\00", 'CN="a" ,O=b', "CN=a\nb", "UID=u,DC=x,DC=org"),
    ],
)
def test_names(name: str) -> None:
    assert is_distinguished_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("bob", "CN=bob,", "FOO=x", "CN=a,b", "CN=#zz", "=x", "CN=a\\zb", "CN", 'CN="a', "1=x", "3.1.2=x", 'CN=a"b'),
        *("CN=a\\", ",CN=a", "CN=a,,O=b", "CN=a<b", "CN=a,", "CN=a+", "C N=a", "CN=a;", "O.ID.1.2=3", "1.40.1=x"),
        *("1.2.=x", 'CN="a"b', "CN=a\\0,O=b", "TITLE=x", "E=x"),
    ],
)
def test_no_names(name: str) -> None:
    assert not is_distinguished_name(name)


@pytest.mark.parametrize("name", ["CN=" + "a " * 100_000 + '"', "CN= " * 50_000 + "<", "\\" * 200_000, '"' * 200_001])
def test_long_names_are_read_at_once(name: str) -> None:
    assert not is_distinguished_name(name)


def test_principals() -> None:
    assert all(map(is_principal, ["bob", "bob@REALM", "zk/host@REALM", "a/b/c", "", "@", "bob/@R"]))
    assert not any(map(is_principal, ["a@b@c", "a/b/c@R", "a@b/c"]))
