"""Who may speak to the server, as ``peers.toml`` and ``zoo.cfg`` say it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trioquorum.config import ServerConfig, load_peers_toml
from trioquorum.config_security import AuthSettings
from trioquorum.errors import ConfigError
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
