"""Keys, certificates and the kubeconfig of a cluster, made with the openssl program (3.0 or later)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.integration.servers.process import program

_DAYS = "30"
_EXTENSIONS = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = {names}
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """`server` is the API server's; `admin` may do everything, and every component uses it; `tokens` signs
    the service accounts' tokens (its certificate is of no use but that it holds the public key)."""

    authority: Pair
    server: Pair
    admin: Pair
    tokens: Pair


def make(folder: Path, names: Sequence[str]) -> Certificates:
    """New ones below `folder`; `names` are all names and addresses the API server is called by."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = _certificate(folder, "authority", "/CN=test cluster", None)
    return Certificates(
        authority,
        _certificate(folder, "server", "/CN=kube-apiserver", authority, names),
        _certificate(folder, "admin", "/O=system:masters/CN=admin", authority),
        _certificate(folder, "tokens", "/CN=service accounts", authority),
    )


def made_before(folder: Path) -> Certificates:
    """Those that `make` put there."""
    names = ("authority", "server", "admin", "tokens")
    return Certificates(*(Pair(folder / f"{each}.crt", folder / f"{each}.key") for each in names))


def kubeconfig(path: Path, url: str, certificates: Certificates) -> Path:
    """A kubeconfig of the administrator with absolute paths (JSON, which is YAML)."""
    cluster = {"server": url, "certificate-authority": str(certificates.authority.certificate)}
    user = {"client-certificate": str(certificates.admin.certificate), "client-key": str(certificates.admin.key)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
        "current-context": "tests",
    }
    path.write_text(json.dumps(content, indent=1))
    path.chmod(0o600)
    return path


def _certificate(folder: Path, name: str, subject: str, authority: Pair | None, names: Sequence[str] = ()) -> Pair:
    made = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    extensions = folder / f"{name}.cnf"
    extensions.write_text(_EXTENSIONS.format(names=_alternative(names or ("unused.invalid",))))
    argv = [program("openssl", "apt-get install openssl"), "req", "-x509", "-newkey", "ec", "-nodes"]
    argv += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", _DAYS, "-subj", subject, "-config", str(extensions)]
    argv += [
        "-extensions",
        "leaf" if authority else "authority",
        "-keyout",
        str(made.key),
        "-out",
        str(made.certificate),
    ]
    if authority:
        argv += ["-CA", str(authority.certificate), "-CAkey", str(authority.key)]
    subprocess.run(argv, check=True, capture_output=True)
    return made


def _alternative(names: Sequence[str]) -> str:
    return ", ".join(f"{'IP' if _is_address(each) else 'DNS'}:{each}" for each in names)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
