"""How a Kafka cluster and those who read it are sure of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from features.frozen import Frozen, SpecError


class Secret(Frozen):
    """Where a secret is, which itself stands in no configuration: every worker looks there when it needs it."""

    env: str | None = None
    """The environment variable that holds it, of every worker."""
    file: str | None = None
    """A file that holds it and nothing else, which every worker reaches; a line feed at its end is none of it."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_is_place(cls, value: Any) -> Any:
        """Repeats nothing of what it got, nor of keys, which may be the secret."""
        if not isinstance(value, Secret) and not (isinstance(value, Mapping) and set(value) <= {"env", "file"}):
            raise SpecError(
                "no secret stands in a configuration, which is saved with the run; allowed: {env: VARIABLE} or {file: FILE}, where it is"
            )
        return value

    @pydantic.model_validator(mode="after")
    def _check(self) -> Secret:
        if bool(self.env) == bool(self.file):
            raise SpecError(
                "a secret is in an environment variable or in a file; allowed: `env` or `file`, one of them"
            )
        return self


class KafkaSecurity(Frozen):
    """TLS and passwords of the connection to the brokers."""

    protocol: Literal["SSL", "SASL_SSL", "SASL_PLAINTEXT"]
    """As the brokers' listener has it. ``SSL``: TLS. ``SASL_SSL``: a name and a password, through TLS. ``SASL_PLAINTEXT``: the same without
    TLS, where anyone on the way reads them."""
    ca: str | None = None
    """Certificates in PEM of those who sign the brokers'; null: those that the system trusts."""
    certificate: str | None = None
    """Of TLS, one's own certificate in PEM, with those between it and its signer, where the brokers ask for one."""
    key: str | None = None
    """Its private key in PEM."""
    key_password: Secret | None = None
    """Of a key that is encrypted."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How name and password are told; null: ``PLAIN``."""
    username: str | None = None
    """The name; it is saved with the run."""
    password: Secret | None = None
    """Where the password is."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> KafkaSecurity:
        has_sasl = self.protocol.startswith("SASL")
        asks = {"username": self.username is not None, "password": self.password is not None}
        if has_sasl and not all(asks.values()):
            raise SpecError(
                f"kafka.security: {self.protocol} lacks {' and '.join(n for n, has in asks.items() if not has)}; allowed: both"
            )
        if not has_sasl and (any(asks.values()) or self.mechanism is not None):
            raise SpecError(
                "kafka.security: username, password and mechanism are told by SASL; allowed of SSL: without them, or protocol SASL_SSL"
            )
        tls = {name: getattr(self, name) for name in ("ca", "certificate", "key", "key_password")}
        if self.protocol == "SASL_PLAINTEXT" and (named := [name for name, value in tls.items() if value is not None]):
            raise SpecError(
                f"kafka.security: SASL_PLAINTEXT is without TLS, and {', '.join(named)} of it; allowed: SASL_SSL, or without"
            )
        if (self.certificate is None) != (self.key is None) or (self.key_password is not None and self.key is None):
            raise SpecError(
                "kafka.security: a certificate, its key and the key's password go together; allowed: `certificate` and `key`, or neither"
            )
        return self
