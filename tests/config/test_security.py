"""Who may speak to the server, as ``peers.toml`` and ``zoo.cfg`` say it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trioquorum.config import ServerConfig, load_peers_toml, standalone
from trioquorum.config_security import AuthSettings, TlsSettings
from trioquorum.errors import ConfigError
from trioquorum.transport import Address
from trioquorum.zoo_cfg import load_zoo_cfg
from trioquorum.zoo_inert import reason_without_effect

PEER = '[[peer]]\nid = 1\nquorum = "tcp://a:1"\nelection = "tcp://a:2"\nclient = "tcp://a:3"\n'

JAAS = """
/* users of
   this ensemble */
Other { some.Module optional a=b; another.Module sufficient; };
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required   // by digest
    user_super="adminsecret"
    user_bob="bob\\"secret"
    debug=true;
};
"""

Zoo = Callable[[str], tuple[ServerConfig, list[str]]]


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    """Read a zoo.cfg of a standalone server with these lines more; ``{dir}`` is its folder."""

    def load(lines: str) -> tuple[ServerConfig, list[str]]:
        path = tmp_path / "zoo.cfg"
        path.write_text(f"dataDir={tmp_path}\nclientPort=2181\n{lines.replace('{dir}', str(tmp_path))}\n")
        return load_zoo_cfg(path)

    return load


def toml(tmp_path: Path, text: str) -> ServerConfig:
    path = tmp_path / "peers.toml"
    path.write_text(PEER + text)
    return load_peers_toml(path, 1, tmp_path)


def refusal(load: Callable[[], object], tmp_path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        load()
    return str(refused.value).replace(f"{tmp_path}/", "")


def test_peers_toml(tmp_path: Path) -> None:
    config = toml(
        tmp_path,
        """
        [auth]
        required_schemes = ["sasl", "digest"]
        digest_algorithm = "SHA-256"
        sasl_super_users = ["al"]
        [auth.sasl_users]
        bob = "secret"
        al = "pw"
        """,
    )
    assert config.auth == AuthSettings(
        required_schemes=frozenset(("sasl", "digest")),
        digest_algorithm="SHA-256",
        sasl_super_users=frozenset(("al",)),
        sasl_users={"bob": "secret", "al": "pw"},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'required_schemes = ["sasl"]',
            "clients must prove an identity of the scheme 'sasl', which is not offered here",
        ),
        ('required_schemes = ["dijest"]', "clients must prove an identity of the scheme 'dijest'"),
        (
            'required_schemes = ["digest"]\ndigest_enabled = false',
            "clients must prove an identity of the scheme 'digest'",
        ),
        ('digest_algorithm = "CRC"', "auth.digest_algorithm is 'CRC'; use one of MD5, SHA1"),
        ("skip_acls = true", "unknown key auth.skip_acls; remove it or correct its spelling"),
    ],
)
def test_peers_toml_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(lambda: toml(tmp_path, f"[auth]\n{text}"), tmp_path).startswith(f"peers.toml: {message}")


def test_zoo_cfg(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "jaas.conf").write_text(JAAS)
    config, warnings = zoo(
        """
        java.security.auth.login.config={dir}/jaas.conf
        authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider
        authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider
        authProvider.2=com.example.Own
        skipACL=yes
        DigestAuthenticationProvider.digestAlg=SHA3-256
        X509AuthenticationProvider.superUser=CN=admin
        zookeeper.superUser=super
        superUser.2=bob
        ensembleAuthName=blue, green
        letAnySaslUserDoX=all
        allowSaslFailedClients=true
        enforce.auth.enabled=true
        enforce.auth.schemes=sasl,ip
        """
    )
    assert warnings == [
        f"{tmp_path}/zoo.cfg:7: authProvider.2 has no effect here: {reason_without_effect('authProvider.2')}"
    ]
    assert config.auth == AuthSettings(
        required_schemes=frozenset(("sasl", "ip")),
        skip_acl=True,
        digest_algorithm="SHA3-256",
        ensemble_names=frozenset(("blue", "green")),
        x509_super_user="CN=admin",
        sasl_users={"super": "adminsecret", "bob": 'bob"secret'},
        sasl_super_users=frozenset(("super", "bob")),
        sasl_any_user="all",
        sasl_failures_allowed=True,
    )


def test_sasl_is_demanded(zoo: Zoo, tmp_path: Path) -> None:
    """It wins over what else is demanded."""
    (tmp_path / "jaas.conf").write_text(JAAS.replace("Server", "Zk"))
    config, _ = zoo(
        "sessionRequireClientSASLAuth=true\nenforce.auth.enabled=true\nenforce.auth.schemes=digest\n"
        "sasl.serverconfig=Zk\njava.security.auth.login.config={dir}/jaas.conf"
    )
    assert config.auth.required_schemes == {"sasl"}
    config, _ = zoo("sessionRequireClientSASLAuth=false\nenforce.auth.enabled=false\nenforce.auth.schemes=sasl")
    assert config.auth == AuthSettings()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("enforce.auth.enabled=true", "zoo.cfg:3: enforce.auth.enabled needs enforce.auth.schemes; add"),
        ("enforce.auth.enabled=maybe", "zoo.cfg:3: enforce.auth.enabled is 'maybe'; write true or false"),
        ("sessionRequireClientSASLAuth=true", "zoo.cfg: clients must prove an identity of the scheme 'sasl'"),
        ("java.security.auth.login.config={dir}/none", "none: there is no such file"),
        ("java.security.auth.login.config={dir}/jaas", "jaas: there is no section Server; add it, or name another"),
        ("java.security.auth.login.config={dir}/krb", "krb: section Server logs in by com.sun.Krb5LoginModule; only"),
        ("java.security.auth.login.config={dir}/cut", "cut: = was expected, not the end"),
        ("java.security.auth.login.config={dir}/odd", "odd:2: cannot be read here: '?"),
        ("java.security.auth.login.config={dir}/none;", "none;: there is no such file"),
    ],
)
def test_zoo_cfg_refused(zoo: Zoo, tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "jaas").write_text("Client { m required; };")
    (tmp_path / "krb").write_text("Server { com.sun.Krb5LoginModule required useKeyTab=true; };")
    (tmp_path / "cut").write_text("Server { a.DigestLoginModule required user_bob")
    (tmp_path / "odd").write_text("Server {\n?")
    assert refusal(lambda: zoo(lines), tmp_path).startswith(message)


# TLS


TLS = '[tls]\nkey_file = "/key.pem"\ntrust_file = "/ca.pem"\n'


def test_a_port_for_tls(tmp_path: Path) -> None:
    config = toml(tmp_path, f'secure_client = "tls://a:4"\n{TLS}cipher_suites = ["X", "Y"]\nprotocols = ["TLSv1.3"]\n')
    assert list(map(str, config.client_addresses)) == ["tcp://a:3", "tls://a:4"]
    assert config.tls == TlsSettings(
        key_file="/key.pem", trust_file="/ca.pem", cipher_suites=("X", "Y"), protocols=frozenset(("TLSv1.3",))
    )
    assert config.quorum_config().text() == "server.1=a:1:2:participant;a:3;a:4\nversion=0"
    assert config.asks_for_certificates


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('secure_client = "tls://a:4"', "a client port for TLS needs a key; name its file in tls.key_file"),
        (
            f'secure_client = "tcp://a:4"\n{TLS}',
            "peer[0].secure_client: 'tcp://a:4'; only secure_client is like tls://",
        ),
        (f"{TLS}client_auth = 'maybe'", "tls.client_auth: Invalid enum value 'maybe'"),
        (f"{TLS}protocols = ['TLSv1.1']", "tls.protocols[0]: Invalid enum value 'TLSv1.1'"),
        (f"{TLS}protocols = []", "tls.protocols must name one, and tls.detection_timeout_ms be at least 1"),
        (f"{TLS}detection_timeout_ms = 0", "tls.protocols must name one, and tls.detection_timeout_ms be at least 1"),
        ('[tls]\nkey_file = "/k"', "certificates of clients need somebody who vouches for them; name the authorities'"),
        ('[tls]\ntrust_file = "/k"', "tls.key_file is missing; add it"),
        (
            f'{TLS}client_auth = "none"\n[auth]\nrequired_schemes = ["x509"]',
            "clients must prove an identity of the scheme",
        ),
    ],
)
def test_tls_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(lambda: toml(tmp_path, text), tmp_path).startswith(f"peers.toml: {message}")


def test_plain_clients_at_an_address_for_tls(tmp_path: Path) -> None:
    (tmp_path / "peers.toml").write_text(PEER.replace("tcp://a:3", "tls://a:3") + TLS)
    message = refusal(lambda: load_peers_toml(tmp_path / "peers.toml", 1, tmp_path), tmp_path)
    assert message == "peers.toml: peer[0].client: 'tls://a:3'; only secure_client is like tls://127.0.0.1:2281"


ZOO_TLS = "ssl.keyStore.location=/key.pem\nssl.trustStore.location=/ca.pem\n"


def test_zoo_cfg_with_tls(zoo: Zoo) -> None:
    config, warnings = zoo(
        f"""
        {ZOO_TLS}
        secureClientPort=2281
        secureClientPortAddress=10.0.0.1
        ssl.keyStore.password=pw
        ssl.keyStore.passwordPath=/password
        ssl.keyStore.type=PEM
        ssl.trustStore.password=pw
        ssl.clientAuth=WANT
        ssl.enabledProtocols=TLSv1.2, TLSv1.3
        ssl.ciphersuites=A, B
        ssl.crl=true
        ssl.clientHostnameVerification=true
        ssl.handshakeDetectionTimeoutMillis=7
        client.certReload=true
        client.portUnification=true
        netty.server.outstandingHandshake.limit=-1
        """
    )
    assert warnings == []
    assert list(map(str, config.client_addresses)) == ["tcp://0.0.0.0:2181", "tls://10.0.0.1:2281"]
    assert config.limits.tls_handshakes_max == -1
    assert config.tls == TlsSettings(
        key_file="/key.pem",
        key_password="pw",
        key_password_file="/password",
        trust_file="/ca.pem",
        client_auth="want",
        client_hostname_verification=True,
        cipher_suites=("A", "B"),
        crl=True,
        reload=True,
        port_unification=True,
        detection_timeout_ms=7,
    )


def test_zookeepers_defaults_of_tls(zoo: Zoo) -> None:
    config, _ = zoo(ZOO_TLS)
    assert config.tls == TlsSettings(key_file="/key.pem", trust_file="/ca.pem", reload=False)
    config, _ = zoo(f"{ZOO_TLS}ssl.clientHostnameVerification=true\nssl.hostnameVerification=false\n")
    assert config.tls is not None
    assert not config.tls.client_hostname_verification


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("client.portUnification=true", "zoo.cfg:3: client.portUnification needs a key for TLS; name its file in ssl."),
        (f"{ZOO_TLS}ssl.clientAuth=maybe", "zoo.cfg:5: ssl.clientAuth is 'maybe'; write none or want or need"),
        (
            f"{ZOO_TLS}ssl.enabledProtocols=TLSv1",
            "zoo.cfg:5: ssl.enabledProtocols is 'TLSv1'; write TLSv1.2 or TLSv1.3",
        ),
        (f"{ZOO_TLS}ssl.ocsp=true", "zoo.cfg:5: ssl.ocsp asks for a protection that is not offered"),
        (f"{ZOO_TLS}secureClientPort=x", "zoo.cfg:5: secureClientPort is 'x'; write a whole number"),
    ],
)
def test_zoo_cfg_with_tls_refused(zoo: Zoo, tmp_path: Path, lines: str, message: str) -> None:
    assert refusal(lambda: zoo(lines), tmp_path).startswith(message)


@pytest.mark.parametrize(
    ("line", "own", "found"),
    [
        ("a:1:2;3;4", "", ["tcp://0.0.0.0:3", "tls://0.0.0.0:4"]),
        ("a:1:2:participant;;b:4", "", ["tls://b:4"]),
        ("a:1:2 ; b:3 ; [::1]:4", "", ["tcp://b:3", "tls://[::1]:4"]),
        ("a:1:2;3", "secureClientPort=4", ["tcp://0.0.0.0:3", "tls://0.0.0.0:4"]),
        ("a:1:2;3;b:4", "secureClientPort=4", ["tcp://0.0.0.0:3", "tls://b:4"]),
    ],
)
def test_server_lines_with_tls(tmp_path: Path, line: str, own: str, found: list[str]) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir={tmp_path}\nserver.1={line}\n{ZOO_TLS}{own}\n")
    config, warnings = load_zoo_cfg(path)
    assert warnings == []
    assert list(map(str, config.client_addresses)) == found


def test_server_lines_that_contradict(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir={tmp_path}\nserver.1=a:1:2;;4\n{ZOO_TLS}secureClientPort=5\n")
    message = refusal(lambda: load_zoo_cfg(path), tmp_path)
    assert message.startswith("zoo.cfg: secureClientPort says tls://0.0.0.0:5, the server line says tls://0.0.0.0:4;")


def test_a_server_on_its_own_has_no_key() -> None:
    with pytest.raises(ConfigError, match="a client port for TLS needs a key"):
        standalone(client=Address("tls", "127.0.0.1", 1))
