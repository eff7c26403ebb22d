"""Avro schemas by Confluent's Schema Registry, over its REST interface.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from features.errors import ConfigError, DataError

_ANSWER_S = 20.0
_ACCEPTED = "application/vnd.schemaregistry.v1+json, application/json"
_UNKNOWN_SCHEMA = 40403
_PASSING = Retry(total=3, status_forcelist=(502, 503, 504), backoff_factor=0.2, raise_on_status=False)
"""A registry that begins anew is asked again, over some two seconds."""


class Registered(NamedTuple):
    """A schema as the registry has it.

    Attributes:
        schema: as JSON gives it.
        named: schemas whose types it names, each before those that name its own.
    """

    schema: Any
    named: list[Any]


class SchemaRegistry:
    """A registry that is asked.

    Args:
        address: such as ``http://HOST:8081``.
        user: ``NAME:PASSWORD``, where it asks for one.
    """

    def __init__(self, address: str, user: str | None = None) -> None:
        self._address = address.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Accept"] = _ACCEPTED
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=_PASSING))
        if user is not None:
            name, _, password = user.partition(":")
            self._session.auth = (name, password)

    def schema(self, number: int) -> Registered | None:
        """The schema with this id; None if there is none.

        Raises:
            DataError: if the registry does not answer, or refuses; if it is no schema of Avro.
            ConfigError: if it wants another name or password.
        """
        found = self._asked(f"/schemas/ids/{number}")
        return None if found is None else Registered(self._read(found), self._named(found, set()))

    def _named(self, found: Any, known: set[str]) -> list[Any]:
        """What a schema refers to, and what that refers to before it, each once."""
        schemas: list[Any] = []
        for reference in found.get("references", ()):
            path = f"/subjects/{quote(reference['subject'], safe='')}/versions/{int(reference['version'])}"
            if path in known:
                continue
            known.add(path)
            if (named := self._asked(path)) is None:
                raise DataError(f"Schema Registry {self._address} has no {path}, to which another schema refers")
            schemas += [*self._named(named, known), self._read(named)]
        return schemas

    def _read(self, found: Any) -> Any:
        if (kind := found.get("schemaType", "AVRO")) != "AVRO":
            raise DataError(f"Schema Registry {self._address}: a message has a schema of {kind}; allowed: AVRO")
        try:
            return json.loads(found["schema"])
        except ValueError as error:
            raise DataError(f"Schema Registry {self._address}: a schema is no JSON: {error}") from error

    def _asked(self, path: str) -> Any:
        try:
            answer = self._session.get(self._address + path, timeout=_ANSWER_S)
        except requests.RequestException as error:
            raise DataError(f"no answer of Schema Registry {self._address}: {error}") from error
        if answer.status_code in (401, 403):
            raise ConfigError(
                f"Schema Registry {self._address} refuses ({answer.status_code}); allowed: schema.registry.basic.auth.user.info="
                "NAME:PASSWORD in kafka.settings_file"
            )
        try:
            found = answer.json()
        except ValueError:
            found = None
        if isinstance(found, dict) and answer.status_code == 404 and found.get("error_code") == _UNKNOWN_SCHEMA:
            return None
        if not isinstance(found, dict) or answer.status_code != 200:
            raise DataError(
                f"Schema Registry {self._address} answers {answer.status_code} to {path}: {answer.text[:200]}"
            )
        return found
