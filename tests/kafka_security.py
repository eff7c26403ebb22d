"""What a broker with TLS and passwords needs: certificates, made by openssl, and listeners."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

USER, PASSWORD = "feed", "fr-plain-4711"
SCRAM_PASSWORD = "fr-scram-4712"
KEY_PASSWORD = "fr-key-4713"
SECRETS = (PASSWORD, SCRAM_PASSWORD, KEY_PASSWORD)
LISTENERS = {
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "SASLTLS": "SASL_SSL",
    "SASLBARE": "SASL_PLAINTEXT",
}
"""Protocols by listener; MUTUAL asks clients for a certificate."""


def make_certificates(folder: Path) -> None:
    """``ca.pem`` and what it signed: the broker's (``server.pem``, with its key), and ``client.pem`` with ``client.key``, which is
    encrypted; ``other-ca.pem`` signed nothing.
    """
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes certificates")
    for name in ("ca", "other-ca"):
        new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        _openssl(folder, *new, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, locked in (("server", ["-nodes"]), ("client", ["-passout", f"pass:{KEY_PASSWORD}"])):
        _openssl(
            folder, "req", "-newkey", "rsa:2048", *locked, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"
        )  # fmt: skip
        signed = [
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
        ]
        _openssl(folder, *signed, "-extfile", "names", "-out", f"{name}.pem")
    (folder / "keystore.pem").write_text((folder / "server.key").read_text() + (folder / "server.pem").read_text())


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def properties(folder: Path) -> dict[str, str]:
    """A broker's, of all `LISTENERS`."""
    found = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": f"{folder}/keystore.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": f"{folder}/ca.pem",
        "listener.name.mutual.ssl.client.auth": "required",
    }
    module = "org.apache.kafka.common.security"
    for listener in ("sasltls", "saslbare"):
        name = f"listener.name.{listener}"
        found[f"{name}.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256"
        found[f"{name}.plain.sasl.jaas.config"] = f'{module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        found[f"{name}.scram-sha-256.sasl.jaas.config"] = f"{module}.scram.ScramLoginModule required;"
    return found
