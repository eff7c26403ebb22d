"""Asks TF Serving for scores over its REST API. Loads no TensorFlow.

The ``raw`` signature takes one input per raw column. Their names and types come from the server, so a client needs
nothing but the address::

    client = RankingClient("http://localhost:8501", "ranker")
    client.score([{"user_id": 7, "video_id": 12, "tag": ["3", "8"]}])  # [{"click": 0.41, "like": 0.02, ...}]
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import requests

from features.errors import ConfigError, DataError, FeedrankError
from features.raw_inputs import MISSING_INT

_SENTINELS: Mapping[str, Any] = {"DT_INT64": MISSING_INT, "DT_FLOAT": math.nan, "DT_STRING": ""}
_RETRIED = frozenset({429, 502, 503, 504})
"""HTTP statuses of a server that is busy or not there yet."""

Row = Mapping[str, Any]


class ServerError(FeedrankError):
    """The server cannot be reached, or refuses."""


@dataclasses.dataclass(frozen=True)
class RawInput:
    """One input of the ``raw`` signature.

    Attributes:
        dtype: ``DT_INT64``, ``DT_FLOAT`` or ``DT_STRING``.
        is_list: whether a row holds any number of values.
    """

    dtype: str
    is_list: bool


class RankingClient:
    """Scores raw rows with a model that TF Serving serves.

    Args:
        url: of the server, such as ``http://localhost:8501``.
        model: name under which it serves the model.
        version: of the model; the newest one by default.
        timeout_s: seconds to wait for each answer.
        retries: how often a request is repeated when the server is busy or cannot be reached.
        backoff_s: seconds to wait before the first repetition; doubled each time.

    Raises:
        ConfigError: if `url` is none of a server, `timeout_s` not above 0, or `retries` or `backoff_s` negative.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        timeout_s: float = 10.0,
        retries: int = 3,
        backoff_s: float = 0.2,
    ) -> None:
        if not _is_server(url):
            raise ConfigError(f"url received '{url}'; allowed: http://HOST:PORT or https://HOST:PORT")
        if retries < 0:
            raise ConfigError(f"retries received {retries}; allowed: 0 or more")
        if not 0 < timeout_s < math.inf:
            raise ConfigError(f"timeout_s received {timeout_s}; allowed: more than 0 seconds, finite")
        if not 0 <= backoff_s < math.inf:
            raise ConfigError(f"backoff_s received {backoff_s}; allowed: 0 seconds or more, finite")
        self._models = f"{url.rstrip('/')}/v1/models/{model}"
        self._model = self._models if version is None else f"{self._models}/versions/{version}"
        self._timeout_s = timeout_s
        self._retries = retries
        self._backoff_s = backoff_s
        self._session = requests.Session()
        self._inputs: Mapping[str, RawInput] | None = None

    def status(self) -> dict[int, str]:
        """State of each version that the server knows: ``{3: "AVAILABLE", 2: "END"}``.

        Raises:
            ServerError: if the server cannot be reached or does not know the model.
        """
        answer = self._request("GET", self._model)
        return {int(entry["version"]): str(entry["state"]) for entry in answer["model_version_status"]}

    def metadata(self) -> dict[str, Any]:
        """TF Serving's metadata of the model, signatures included.

        Raises:
            ServerError: if the server cannot be reached or does not know the model.
        """
        return self._request("GET", f"{self._model}/metadata")

    def inputs(self) -> Mapping[str, RawInput]:
        """The raw columns that the model takes, asked once, and again where `score` or the server refuses rows.

        Raises:
            ServerError: if the server cannot be reached, or the model has no ``raw`` signature.
        """
        if self._inputs is None:
            signatures = self.metadata()["metadata"]["signature_def"]["signature_def"]
            if "raw" not in signatures:
                raise ServerError(
                    f"{self._model} has no signature 'raw'; it has: {', '.join(sorted(signatures)) or '(none)'}; "
                    "allowed: a model exported by feedrank"
                )
            self._inputs = {
                name: RawInput(tensor["dtype"], len(tensor["tensor_shape"].get("dim", ())) > 1)
                for name, tensor in signatures["raw"]["inputs"].items()
            }
        return self._inputs

    def score(
        self, rows: Sequence[Row], *, batch_rows: int = 512, unknown: Literal["refuse", "ignore"] = "refuse"
    ) -> list[dict[str, float]]:
        """Scores rows.

        Before rows are refused here the server is asked once more what the model takes: a version pushed since may take them.

        Args:
            rows: raw values by column. A column that is absent or None is missing; a list column takes a list, None or an
                empty list.
            batch_rows: rows sent at once.
            unknown: what to do with a column that the model does not take; refused by default, for a misspelt column
                would silently be missing.

        Returns:
            For each row its predictions by task.

        Raises:
            DataError: if a row holds a column that the model does not take, or a value of the wrong type: then none is sent; if
                `batch_rows` is below 1, or `unknown` neither word.
            ServerError: if the server cannot be reached or refuses.
        """
        if batch_rows < 1:
            raise DataError(f"batch_rows received {batch_rows}; allowed: 1 or more")
        if unknown not in ("refuse", "ignore"):
            raise DataError(f"unknown received {unknown!r}; allowed: 'refuse', 'ignore'")
        batches = self._columns(rows, batch_rows, unknown == "refuse")
        try:
            return [scored for columns in batches for scored in self._predict(columns)]
        except ServerError:
            self._inputs = None  # another version may be served by now: the next call asks what it takes
            raise

    def _columns(self, rows: Sequence[Row], batch_rows: int, refuse: bool) -> list[dict[str, list[Any]]]:
        """Those of each batch; `refuse`: columns that the model does not take, too."""
        known = self._inputs is not None
        try:
            inputs = self.inputs()
            if refuse:
                _refuse_unknown(rows, inputs)
            return [raw_columns(rows[start : start + batch_rows], inputs) for start in range(0, len(rows), batch_rows)]
        except DataError:
            if not known:
                raise
        self._inputs = None
        return self._columns(rows, batch_rows, refuse)

    def _predict(self, columns: Mapping[str, list[Any]]) -> Iterator[dict[str, float]]:
        # TF Serving reads the bare NaN that Python writes, and writes it so, too.
        outputs = self._request("POST", f"{self._model}:predict", {"signature_name": "raw", "inputs": columns})[
            "outputs"
        ]
        if not isinstance(outputs, dict):  # of a model with a single output it leaves the name out
            (name,) = self._output_names()
            outputs = {name: outputs}
        for values in zip(*outputs.values(), strict=True):
            yield dict(zip(outputs, values, strict=True))

    def _output_names(self) -> list[str]:
        return sorted(self.metadata()["metadata"]["signature_def"]["signature_def"]["raw"]["outputs"])

    def _request(self, method: str, url: str, body: object = None) -> dict[str, Any]:
        problem = ""
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(self._backoff_s * 2 ** (attempt - 1))
            try:
                answer = self._session.request(
                    method, url, data=None if body is None else json.dumps(body), timeout=self._timeout_s
                )
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                problem = str(error)
                continue
            except requests.RequestException as error:
                problem = str(error)
                break
            if answer.ok:
                return _json(answer)
            problem = f"status {answer.status_code}: {_reason(answer)}"
            if answer.status_code not in _RETRIED:
                break
        raise ServerError(
            f"{method} {url} failed after {attempt + 1} attempt(s), {self._timeout_s:g} s each: {problem}"
        )


def raw_columns(rows: Sequence[Row], inputs: Mapping[str, RawInput]) -> dict[str, list[Any]]:
    """The columns of a request: dense, with a sentinel where a value is missing.

    Args:
        rows: raw values by column.
        inputs: what the model takes.

    Returns:
        For each input a list of ``rows`` values, or for a list column of equally long lists, padded.

    Raises:
        DataError: if a value has the wrong type.
    """
    return {
        name: _padded(name, [row.get(name) for row in rows], part)
        if part.is_list
        else [_value(name, row.get(name), part) for row in rows]
        for name, part in inputs.items()
    }


def _padded(name: str, lists: Sequence[Any], part: RawInput) -> list[list[Any]]:
    for value in lists:
        if not (value is None or isinstance(value, list | tuple)):
            raise DataError(f"column '{name}' received {_told(value)}; allowed: a list, or None where it is missing")
    # At least one wide: JSON cannot tell the shape of an empty list of lists.
    longest = max([1, *(len(value) for value in lists if value)])
    return [
        [_value(name, v, part) for v in value or ()] + [_SENTINELS[part.dtype]] * (longest - len(value or ()))
        for value in lists
    ]


def _value(name: str, value: Any, part: RawInput) -> Any:
    if value is None:
        return _SENTINELS[part.dtype]
    # NumPy's numbers, as pandas' rows hold them, are Integral and Real; its bool is neither.
    if part.dtype == "DT_INT64" and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if part.dtype == "DT_FLOAT" and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    if part.dtype == "DT_STRING" and isinstance(value, str):
        return value
    allowed = {"DT_INT64": "an int", "DT_FLOAT": "a float", "DT_STRING": "a str"}[part.dtype]
    raise DataError(f"column '{name}' received {_told(value)}; allowed: {allowed}, or None where it is missing")


def _told(value: Any) -> str:
    """With its type: NumPy's values may look like Python's."""
    kind = type(value)
    return f"{value!r} ({kind.__qualname__ if kind.__module__ == 'builtins' else f'{kind.__module__}.{kind.__qualname__}'})"


def _refuse_unknown(rows: Sequence[Row], inputs: Mapping[str, RawInput]) -> None:
    for number, row in enumerate(rows):
        if strange := sorted(set(row) - set(inputs)):
            raise DataError(
                f"row {number} holds columns that the model does not take: {', '.join(strange)}; columns: "
                f"{', '.join(sorted(inputs))}; or say unknown='ignore'"
            )


def _is_server(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        # What requests would find out with the first request, partly by errors that are not its own.
        requests.Request("GET", url).prepare()
        labels = (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(labels) and port != 0 and not (parts.query or parts.fragment)


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        decoded: dict[str, Any] = answer.json()
    except ValueError as error:
        raise ServerError(f"{answer.url} answered no JSON: {answer.text[:200]!r}") from error
    return decoded


def _reason(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500]
