from __future__ import annotations

import pytest

from features.errors import DataError
from pipeline.evaluation.rows import MISSING, collect, read_split
from tests.pipeline.evaluation import toy
from tests.pipeline.evaluation.test_measure import Known


def test_examples_come_back_as_they_were_written(tmp_path):
    [batch] = read_split(toy.write_split(tmp_path / "split", toy.rows()), toy.dataset())
    assert batch.to_pydict() == toy.rows().to_pydict()


def test_columns_of_all_batches_in_order():
    batch = toy.rows()
    found = collect([batch.slice(0, 2), batch.slice(2, 0), batch.slice(2)], toy.dataset(), Known(), ["tab"])
    assert found.count == 6
    assert found.labels["click"].tolist() == [1, 0, 0, 0, 1, 1]
    assert found.masks["like"].tolist() == [True, True, True, False, True, True]
    assert found.groups.tolist() == [0, 0, 0, 1, 1, -1]
    assert [found.slices["tab"].values[code] for code in found.slices["tab"].codes] == [
        "x",
        "x",
        "x",
        "y",
        MISSING,
        "x",
    ]
    assert found.predictions["click"].tolist() == pytest.approx(toy.SCORES)


def test_no_row_is_an_error():
    with pytest.raises(DataError, match="no row to evaluate"):
        collect([toy.rows().slice(0, 0)], toy.dataset(), Known())


def test_an_absent_column_is_named():
    batch = toy.rows()
    with pytest.raises(DataError, match="lack column nowhere; they have: user, item"):
        collect([batch], toy.dataset(), Known(), ["nowhere"])


def test_an_empty_split_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no file"):
        list(read_split(tmp_path, toy.dataset()))
