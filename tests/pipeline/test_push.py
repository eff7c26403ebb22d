"""The push stage: blessed models into folders of a disk and of a store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from pyarrow import fs
from tfx import v1 as tfx
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from features import stores
from features.errors import ConfigError, DataError
from features.logs.files import open_bytes
from features.paths import Remote
from features.stores import check_bucket
from pipeline import graph
from pipeline.components.push import PushExecutor
from pipeline.loading import CONFIGS, load
from pipeline.lookups import Lookups
from tests.gcs_server import GcsServer
from tests.s3_server import S3Server

FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": bytes(range(256)) * 40_000,
    "assets/vocabulary.gz": b"not compressed again",
    "assets.extra/feedrank/empty": b"",
}


def _push(folder: Path, directory: str, blessed: bool = True) -> Any:
    """Runs the executor; returns the artifact of what was pushed."""
    model, blessing, pushed = (
        standard_artifacts.Model(),
        standard_artifacts.ModelBlessing(),
        standard_artifacts.PushedModel(),
    )
    model.uri, blessing.uri, pushed.uri = (str(folder / name) for name in ("model", "blessing", "pushed"))
    for name, content in FILES.items():
        file = folder / "model" / "Format-Serving" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    blessing.set_int_custom_property("blessed", int(blessed))
    destination = tfx.proto.PushDestination(filesystem=tfx.proto.PushDestination.Filesystem(base_directory=directory))
    PushExecutor().Do(
        {"model": [model], "model_blessing": [blessing]},
        {"pushed_model": [pushed]},
        {"push_destination": proto_utils.proto_to_json(destination)},
    )
    return pushed


def _stored(s3: S3Server, folder: str) -> dict[str, tuple[bytes, Any]]:
    """Names below a folder, with content and time."""
    system = fs.S3FileSystem(endpoint_override=s3.address, scheme="http", region="us-east-1")
    found = system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    files = [info for info in found if info.is_file]
    contents = [system.open_input_stream(info.path, compression=None).read() for info in files]
    return {
        info.path.removeprefix(f"{folder}/"): (content, info.mtime_ns)
        for info, content in zip(files, contents, strict=True)
    }


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> str:
    """The name of an empty one."""
    name = f"push-{abs(hash(request.node.name))}"
    fs.S3FileSystem(
        endpoint_override=s3.address, scheme="http", region="us-east-1", allow_bucket_creation=True
    ).create_dir(name)
    return name


def test_a_blessed_model_goes_into_a_store(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    before = int(time.time())
    pushed = _push(tmp_path, s3.uri(f"{bucket}/models/feed/"))
    version = pushed.get_string_custom_property("pushed_version")
    assert before <= int(version) <= time.time()
    assert pushed.get_string_custom_property("pushed_destination") == s3.uri(f"{bucket}/models/feed/{version}")
    assert pushed.get_int_custom_property("pushed") == 1
    stored = _stored(s3, f"{bucket}/models/feed/{version}")
    assert {name: content for name, (content, _) in stored.items()} == FILES
    assert stored["saved_model.pb"][1] == max(moment for _, moment in stored.values())
    archive = {name: (tmp_path / "pushed" / name).read_bytes() for name in FILES}
    assert archive == FILES


def test_a_blessed_model_goes_into_google_s_store(gcs: GcsServer, tmp_path: Path) -> None:
    gcs.make("pushed-models")
    directory = gcs.uri("pushed-models/feed/")
    check_bucket("push.directory", directory)
    version = _push(tmp_path, directory).get_string_custom_property("pushed_version")
    assert gcs.keys("pushed-models") == sorted(f"feed/{version}/{name}" for name in FILES)
    stored = {name: open_bytes(gcs.uri(f"pushed-models/feed/{version}/{name}")).read() for name in FILES}
    assert stored == FILES
    with pytest.raises(DataError, match=r"^cannot write gs://anonymous@not-there/feed/\d+/.*: there is no such bucket"):
        _push(tmp_path / "again", gcs.uri("not-there/feed"))
    with pytest.raises(ConfigError, match=r"^push.directory: there is no gs://anonymous@not-there; allowed: a bucket"):
        check_bucket("push.directory", gcs.uri("not-there/feed"))


def test_two_pushes_of_one_second_are_two_versions(
    s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.components.push.time.time", lambda: 1_700_000_000.5)
    versions = [
        _push(tmp_path / name, s3.uri(f"{bucket}/feed")).get_string_custom_property("pushed_version") for name in "ab"
    ]
    assert versions == ["1700000000", "1700000001"]


def test_a_model_that_is_not_blessed_goes_nowhere(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    pushed = _push(tmp_path, s3.uri(f"{bucket}/feed"), blessed=False)
    assert pushed.get_int_custom_property("pushed") == 0
    assert _stored(s3, bucket) == {}


def test_folders_of_a_disk_are_tfx_own_affair(tmp_path: Path) -> None:
    pushed = _push(tmp_path, str(tmp_path / "serving"))
    (version,) = (tmp_path / "serving").iterdir()
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert {name: (version / name).read_bytes() for name in FILES} == FILES


def test_a_store_that_refuses_stops_the_stage(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^cannot write s3://not-there/feed/\d+/.*: .*there is no such bucket"):
        _push(tmp_path, s3.uri("not-there/feed"))


def test_the_bucket_is_asked_for_beforehand(s3: S3Server, bucket: str) -> None:
    check_bucket("push.directory", "runs/demo/serving")
    check_bucket("push.directory", s3.uri(f"{bucket}/not/there/yet"))
    with pytest.raises(ConfigError, match=r"^push.directory: there is no s3://not-there; allowed: a bucket"):
        check_bucket("push.directory", s3.uri("not-there/feed"))


def test_a_bucket_may_be_the_directory(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    pushed = _push(tmp_path, s3.uri(bucket))
    version = pushed.get_string_custom_property("pushed_version")
    assert {name.removeprefix(f"{version}/") for name in _stored(s3, bucket)} == FILES.keys()


def test_a_model_without_its_last_file_is_not_copied(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    to = Remote("s3", bucket, "feed/1", s3.options)
    for folder in (tmp_path, tmp_path / "not-there"):
        with pytest.raises(DataError, match=r"^cannot write s3://push-\d+/feed/1: .* holds no saved_model.pb"):
            stores.upload(folder, to, last="saved_model.pb")


def test_of_a_copy_that_breaks_off_no_part_of_a_file_stays(
    s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "saved_model.pb"):
        (tmp_path / name).write_bytes(b"12345678")
    copied = []

    def break_off(source: BinaryIO, target: BinaryIO, length: int) -> None:
        copied.append(source.name)
        target.write(source.read(4 if len(copied) == 2 else -1))
        if len(copied) == 2:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(stores.shutil, "copyfileobj", break_off)
    with pytest.raises(OSError, match="Input/output error"):
        stores.upload(tmp_path, Remote("s3", bucket, "feed/1", s3.options), last="saved_model.pb")
    assert copied == [str(tmp_path / name) for name in ("a", "saved_model.pb")]
    assert {name: content for name, (content, _) in _stored(s3, bucket).items()} == {"feed/1/a": b"12345678"}


def test_the_pipelines_pusher_is_this_one(tmp_path: Path) -> None:
    config = load(CONFIGS / "demo.yaml", [f"data.path={tmp_path}", "push.directory=s3://bucket/feed"])
    pipeline = graph.build_pipeline(config, "root", Lookups(fingerprint=lambda dataset, data: "abc"))
    (push,) = (node for node in pipeline.components if node.id == "push")
    assert push.executor_spec.executor_class is PushExecutor
    assert "s3://bucket/feed" in push.exec_properties["push_destination"]
