from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ConfigError, DataError
from features.raw_inputs import MISSING_INT
from serving.client import RankingClient, RawInput, ServerError, raw_columns
from tests.serving.exports import DATASET, ROWS, Export
from tests.serving.rest_server import ModelServer, serve

ROW_DICTS = [
    {
        name: [v.decode() if isinstance(v, bytes) else v for v in value]
        if isinstance(value, list)
        else (value.decode() if isinstance(value, bytes) else value)
        for name, value in row.items()
        if name in DATASET.feature_columns()
    }
    for row in ROWS.to_pylist()
]


@pytest.fixture(scope="module")
def server(export: Export) -> Iterator[ModelServer]:
    with serve("tiny", export.directory) as running:
        yield running


@pytest.fixture
def client(server: ModelServer) -> RankingClient:
    server.failures.clear()
    server.bodies.clear()
    return RankingClient(server.url, "tiny", backoff_s=0.0)


def test_scores_are_the_rankers_own(client: RankingClient, export: Export) -> None:
    scores = client.score(ROW_DICTS)
    assert len(scores) == ROWS.num_rows
    for name, expected in export.predictions.items():
        np.testing.assert_allclose([score[name] for score in scores], expected, atol=1e-5, rtol=0)


def test_an_absent_column_is_a_missing_value(client: RankingClient, export: Export) -> None:
    sparse = [{name: value for name, value in row.items() if value not in (None, [])} for row in ROW_DICTS]
    assert any(len(row) < len(ROW_DICTS[0]) for row in sparse)
    scores = client.score(sparse)
    np.testing.assert_allclose([score["like"] for score in scores], export.predictions["like"], atol=1e-5, rtol=0)


def test_batches_are_joined_in_order(client: RankingClient, server: ModelServer) -> None:
    together, apart = client.score(ROW_DICTS), client.score(ROW_DICTS, batch_rows=4)
    assert [score["like"] for score in apart] == pytest.approx([score["like"] for score in together], abs=1e-5)
    assert len(server.bodies) == 3


def test_missing_numbers_travel_as_bare_nan(client: RankingClient, server: ModelServer) -> None:
    client.score([{}])
    assert '"age": [NaN]' in server.bodies[0]
    sent = json.loads(server.bodies[0])["inputs"]
    assert sent["user_id"] == [MISSING_INT]
    assert sent["home-town"] == [""]
    assert sent["watched"] == [[MISSING_INT]]


def test_no_rows_ask_nothing(client: RankingClient, server: ModelServer) -> None:
    assert client.score([]) == []
    assert server.bodies == []


def test_inputs_come_from_the_server(client: RankingClient) -> None:
    assert dict(client.inputs()) == {
        "user_id": RawInput("DT_INT64", is_list=False),
        "home-town": RawInput("DT_STRING", is_list=False),
        "tags": RawInput("DT_STRING", is_list=True),
        "watched": RawInput("DT_INT64", is_list=True),
        "age": RawInput("DT_FLOAT", is_list=False),
        "visits": RawInput("DT_INT64", is_list=False),
    }


def test_status_names_each_versions_state(client: RankingClient, server: ModelServer) -> None:
    assert client.status() == {7: "AVAILABLE"}
    assert RankingClient(server.url + "/", "tiny", version=7).status() == {7: "AVAILABLE"}


def test_a_misspelt_column_is_refused_unless_ignored(client: RankingClient) -> None:
    with pytest.raises(DataError, match="row 1 holds columns that the model does not take: usr_id; columns: age, "):
        client.score([{}, {"usr_id": 3}])
    assert client.score([{"usr_id": 3}], unknown="ignore") == client.score([{}])


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        ("user_id", "7", "an int"),
        ("user_id", 7.0, "an int"),
        ("user_id", True, "an int"),
        ("age", "old", "a float"),
        ("home-town", 3, "a str"),
        ("tags", "a", "a list"),
        ("tags", [b"a"], "a str"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(client: RankingClient, column: str, value: object, allowed: str) -> None:
    received = value[0] if isinstance(value, list) else value
    said = re.escape(f"column '{column}' received {received!r} ({type(received).__name__}); allowed: {allowed}")
    with pytest.raises(DataError, match=said):
        client.score([{column: value}])


def test_a_busy_server_is_asked_again(client: RankingClient, server: ModelServer) -> None:
    client.inputs()
    server.failures += [503, 429]
    assert len(client.score(ROW_DICTS)) == ROWS.num_rows
    assert len(server.bodies) == 3


def test_a_refusal_is_not_repeated(client: RankingClient, server: ModelServer) -> None:
    client.inputs()
    server.failures += [400, 400]
    with pytest.raises(ServerError, match=r":predict failed after 1 attempt\(s\), 10 s each: status 400: for a test"):
        client.score(ROW_DICTS)


def test_an_unknown_model_is_said_to_be_unknown(server: ModelServer) -> None:
    with pytest.raises(ServerError, match="status 404: Could not find any versions of model"):
        RankingClient(server.url, "other").status()


def test_no_server_is_said_after_the_retries() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = RankingClient(f"http://127.0.0.1:{port}", "tiny", retries=2, backoff_s=0.0)
    with pytest.raises(ServerError, match=r"failed after 3 attempt\(s\)"):
        client.status()


def test_a_silent_server_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = RankingClient(f"http://127.0.0.1:{silent.getsockname()[1]}", "tiny", timeout_s=0.2, retries=0)
        with pytest.raises(ServerError, match=r"failed after 1 attempt\(s\), 0.2 s each"):
            client.status()


def test_the_client_loads_no_tensorflow() -> None:
    program = "import sys, serving.client; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


_LISTS = st.lists(st.one_of(st.none(), st.lists(st.integers(-(2**62), 2**62), max_size=4)), max_size=5)


@given(_LISTS)
def test_lists_are_padded_to_one_width_and_lose_nothing(lists: list[list[int] | None]) -> None:
    columns = raw_columns([{"seen": value} for value in lists], {"seen": RawInput("DT_INT64", is_list=True)})
    widths = {len(row) for row in columns["seen"]}
    assert widths == ({max([1, *(len(value or ()) for value in lists)])} if lists else set())
    assert [[v for v in row if v != MISSING_INT] for row in columns["seen"]] == [value or [] for value in lists]


@given(st.lists(st.one_of(st.none(), st.floats(width=32))))
def test_numbers_survive_json(values: list[float | None]) -> None:
    columns = raw_columns([{"age": value} for value in values], {"age": RawInput("DT_FLOAT", is_list=False)})
    for sent, value in zip(json.loads(json.dumps(columns))["age"], values, strict=True):
        assert sent == value or (math.isnan(sent) and (value is None or math.isnan(value)))


def test_numbers_of_numpy_are_numbers_and_its_bool_is_none() -> None:
    inputs = {"id": RawInput("DT_INT64", False), "price": RawInput("DT_FLOAT", False)}
    columns = raw_columns([{"id": np.int32(5), "price": np.float32(0.5)}, {"id": 6, "price": np.int64(2)}], inputs)
    assert columns == {"id": [5, 6], "price": [0.5, 2.0]}
    assert {type(value) for value in columns["id"]} == {int}
    with pytest.raises(DataError, match=r"column 'id' received True \(numpy.bool_\); allowed: an int"):
        raw_columns([{"id": np.bool_(True)}], inputs)


def test_what_the_model_takes_is_asked_again_after_a_refusal(client: RankingClient, server: ModelServer) -> None:
    before = client.inputs()
    assert client.inputs() is before
    server.failures.append(400)
    with pytest.raises(ServerError):
        client.score(ROW_DICTS)
    assert client.inputs() is not before


@pytest.mark.parametrize(
    "row", [{"newly_pushed": 3}, {"user_id": "u7"}], ids=["a column that is new", "a column of a new type"]
)
def test_what_the_model_takes_is_asked_again_before_rows_are_refused(
    client: RankingClient, server: ModelServer, monkeypatch: pytest.MonkeyPatch, row: dict[str, object]
) -> None:
    now = dict(client.inputs())
    with pytest.raises(DataError):
        client.score([row])
    monkeypatch.setattr(client, "_predict", lambda columns: iter([columns]))
    pushed = now | {name: RawInput("DT_STRING" if isinstance(v, str) else "DT_INT64", False) for name, v in row.items()}
    answers = [now, pushed]

    def metadata() -> dict[str, object]:
        inputs = {
            name: {"dtype": part.dtype, "tensor_shape": {"dim": [{}] * (1 + part.is_list)}}
            for name, part in answers.pop(0).items()
        }
        return {"metadata": {"signature_def": {"signature_def": {"raw": {"inputs": inputs}}}}}

    monkeypatch.setattr(client, "metadata", metadata)
    with pytest.raises(DataError):  # known from the refusal before; asked again
        client.score([row])
    ((name, value),) = row.items()
    assert client.score([{}, row])[0][name][1] == value
    assert answers == []


def test_rows_are_refused_after_one_question_where_nothing_was_known(
    client: RankingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, metadata = [], client.metadata
    monkeypatch.setattr(client, "metadata", lambda: asked.append(1) or metadata())
    with pytest.raises(DataError):
        client.score([{"usr_id": 3}])
    assert len(asked) == 1


def test_a_bad_row_is_refused_before_any_is_sent(client: RankingClient, server: ModelServer) -> None:
    with pytest.raises(DataError, match="column 'age' received 'old'"):
        client.score([{}, {}, {"age": "old"}], batch_rows=1)
    assert server.bodies == []


def test_a_connection_that_ends_within_an_answer_is_tried_again() -> None:
    answers = [
        b"Transfer-Encoding: chunked\r\n\r\n40\r\n{",
        b'Content-Length: 28\r\n\r\n{"model_version_status": []}\n',
    ]

    def answer(listening: socket.socket, texts: list[bytes]) -> None:
        for text in texts:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + text)

    for texts in (answers, answers[:1]):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            thread = threading.Thread(target=answer, args=(listening, texts))
            thread.start()
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            client = RankingClient(url, "tiny", retries=len(texts) - 1, backoff_s=0.0)
            if len(texts) == 2:
                assert client.status() == {}
            else:
                with pytest.raises(ServerError, match=r"failed after 1 attempt\(s\), 10 s each: .*Connection broken"):
                    client.status()
            thread.join()


def test_any_other_error_of_a_request_is_the_clients_own_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(*_: object, **__: object) -> None:
        raise requests.TooManyRedirects("Exceeded 30 redirects.")

    monkeypatch.setattr(requests.Session, "request", request)
    with pytest.raises(ServerError, match=r"failed after 1 attempt\(s\), 10 s each: Exceeded 30 redirects"):
        RankingClient("http://localhost:8501", "tiny", backoff_s=0.0).status()


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8501",
        "http://",
        "http://:8501",
        "http://a:65536",
        "http://a:0",
        "http://a:port",
        "http://[::1",
        "http://*",
        "http://a..b",
        f"http://{'a' * 64}.com",
        "http://a:8501?x=1",
        "http://a:8501/#x",
    ],
)
def test_a_url_of_no_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=f"^url received '{re.escape(url)}'; allowed: http://HOST:PORT or https://"):
        RankingClient(url, "tiny")


@pytest.mark.parametrize("url", ["http://localhost", "https://a.b:8501/behind/a/proxy/", "http://[::1]:8501"])
def test_a_url_of_a_server_is_taken(url: str) -> None:
    RankingClient(url, "tiny")


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("retries", -1, "0 or more"),
        ("timeout_s", 0.0, "more than 0 seconds, finite"),
        ("timeout_s", -1.0, "more than 0 seconds, finite"),
        ("timeout_s", math.nan, "more than 0 seconds, finite"),
        ("timeout_s", math.inf, "more than 0 seconds, finite"),
        ("backoff_s", -0.1, "0 seconds or more, finite"),
        ("backoff_s", math.nan, "0 seconds or more, finite"),
        ("backoff_s", math.inf, "0 seconds or more, finite"),
    ],
)
def test_a_client_that_could_never_ask_is_refused(argument: str, value: float, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument} received {value}; allowed: {allowed}$"):
        RankingClient("http://localhost:8501", "tiny", **{argument: value})  # type: ignore[arg-type]


def test_unknown_is_one_of_two_words(client: RankingClient) -> None:
    with pytest.raises(DataError, match="unknown received 'refse'; allowed: 'refuse', 'ignore'"):
        client.score([{"usr_id": 3}], unknown="refse")  # type: ignore[arg-type]


def test_batches_without_rows_are_refused(client: RankingClient) -> None:
    with pytest.raises(DataError, match="batch_rows received 0; allowed: 1 or more"):
        client.score(ROW_DICTS, batch_rows=0)
