"""What YAML says, as configurations read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.errors import ConfigError
from features.spec import Categorical, SideTable
from pipeline.config import dump
from pipeline.loading import load

CONFIGS = Path(__file__).parents[2] / "pipeline" / "configs"

OWN_LOG = """
name: own
dataset:
  name: own
  source: log.csv
  columns: {user: int64, answer: string, flag: string}
  tables:
    users: {source: users.csv, on: user, columns: {user: int64, age: {type: int64, required: TRUE}}}
  features:
    flag: {kind: categorical, values: [yes, no, On, off, y, trueish]}
    age: {kind: numeric, missing_indicator: true}
  tasks:
    agrees: {label: answer, positive: [yes]}
  split: random
train: {xla: off}
"""


@pytest.fixture
def own_log(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(OWN_LOG)
    return path


def test_only_true_and_false_are_booleans(own_log: Path, tmp_path: Path) -> None:
    config = load(own_log)
    users, flag = config.dataset.tables["users"], config.dataset.features["flag"]
    assert isinstance(users, SideTable)
    assert isinstance(flag, Categorical)
    assert users.keys == ("user",)
    assert users.columns["age"].required is True
    assert flag.values == ("yes", "no", "On", "off", "y", "trueish")
    assert config.dataset.tasks["agrees"].positive == ("yes",)
    assert config.train.xla == "off"

    saved = tmp_path / "saved.yaml"
    saved.write_text(dump(config))
    assert load(saved) == config


def test_set_reads_values_as_files_do(own_log: Path) -> None:
    overrides = ["dataset.tasks.agrees.positive=[yes, on, No]", "train.xla=on", "validate.required_days=False"]
    config = load(own_log, overrides)
    assert config.dataset.tasks["agrees"].positive == ("yes", "on", "No")
    assert config.train.xla == "on"
    assert config.validate_.required_days is False


def test_a_truthy_word_where_a_number_belongs_is_refused(own_log: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs: .*got 'on'"):
        load(own_log, ["train.epochs=on"])


def test_a_split_s_part_that_names_one_day_is_refused_in_words(own_log: Path) -> None:
    split = "{by: time, train: [2026-01-01, 2026-01-02], validation: [2026-01-03], test: [2026-01-04, 2026-01-04]}"
    with pytest.raises(ConfigError, match=r"dataset\.split.*validation\.1: Field required"):
        load(own_log, [f"dataset.split={split}"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("validation=1", "dataset.split.validation: Input should be less than 1; got 1"),
        (
            "validation=valid",
            "dataset.split.validation: allowed: a share between 0 and 1, or a list of values; got 'valid'",
        ),
        ("train=data", "dataset.split.train: Input should be a valid tuple; got 'data'"),
        ("column=[part]", "dataset.split.column: Input should be a valid string; got ['part']"),
    ],
)
def test_a_mistake_in_a_split_by_a_column_is_told_where_it_is(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(CONFIGS / "census_income_halved.yaml", [f"dataset.split.{setting}"])
    assert str(error.value).split("\n  ")[1:] == [said]


def test_one_entry_over_a_list_is_refused_in_words() -> None:
    with pytest.raises(
        ConfigError, match=r"dataset.expected holds .*, which is a list and has no keys; give the whole list$"
    ):
        load(CONFIGS / "census_income.yaml", ["dataset={extends: census_income, expected: {rows: {mine.csv: 3}}}"])


def test_a_day_that_no_calendar_has_is_named(own_log: Path) -> None:
    split = "{by: time, train: [2026-01-01, 2026-01-02], validation: 2026-02-29, test: 2026-03-04}"
    with pytest.raises(ConfigError, match=r"--set dataset.split=.*'2026-02-29' is no date: day is out of range"):
        load(own_log, [f"dataset.split={split}"])
    own_log.write_text(
        own_log.read_text().replace("  split: random", "  split: {by: window, train: 2, until: 2026-02-30}")
    )
    with pytest.raises(ConfigError, match=r"(?s)own.yaml.*'2026-02-30' is no date.*line 14"):
        load(own_log)


@pytest.mark.parametrize("dataset", ["ali_ccp", "criteo_attribution", "movielens_1m"])
def test_a_known_log_in_another_format_leaves_its_keys_of_csv_behind(dataset: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"name: own\ndataset: {{extends: {dataset}, source: {{files: log.parquet, format: parquet}}}}\n")
    source = load(path).dataset.source
    assert (source.format, source.header, source.delimiter, source.encoding) == ("parquet", True, ",", "utf-8")
