"""Elements, numbers, charts and statistics, each by hand."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.report import html, svg
from pipeline.report.data import OTHERS, Bar
from pipeline.report.log import log
from pipeline.report.statistics import column_statistics
from tests.pipeline.evaluation import toy
from tests.pipeline.report.sample import manifest, sample


def test_text_is_escaped_and_markup_is_not():
    inner = html.el("b", "<1>")
    assert html.el("p", "a & b ", inner, None, [1, "x"]) == "<p>a &amp; b <b>&lt;1&gt;</b>1x</p>"
    assert html.el("a", class_="x", data_at='"', hidden=None) == '<a class="x" data-at="&quot;"></a>'


@given(st.text())
def test_no_text_leaves_its_element(text):
    assert "<" not in html.join(text)
    assert ">" not in html.join(text)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (html.count(94784), "94,784"),
        (html.counted(1, "epoch"), "1 epoch"),
        (html.counted(0, "epoch"), "0 epochs"),
        (html.compact(94784), "94.8k"),
        (html.compact(1_284_311), "1.3M"),
        (html.compact(999), "999"),
        (html.percent(0.438), "43.8 %"),
        (html.percent(0.0171), "1.71 %"),
        (html.percent(0.0008), "0.080 %"),
        (html.percent(0.0), "0 %"),
        (html.duration(0.44), "0.4 s"),
        (html.duration(59.7), "1 min 0 s"),
        (html.duration(3900), "1 h 5 min"),
        (html.general(27284.0), "27,284"),
        (html.general(0.12345678), "0.1235"),
        (html.number(None), "–"),
    ],
)
def test_numbers_as_people_read_them(found, expected):
    assert found == expected


def test_ticks_are_round():
    assert svg.ticks(0.563, 0.846) == pytest.approx([0.6, 0.7, 0.8])  # the finest round step above a fifth of 0.283
    assert svg.ticks(0, 18_580, 3) == [0, 10_000]
    assert svg.ticks(1, 1) == [1]


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_ticks_lie_between_their_ends(low, span):
    found = svg.ticks(low, low + span)
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)
    assert len(found) <= 12


def test_a_share_of_zero_lies_on_the_floor_of_a_logarithmic_plot():
    bins = [{"prediction": p, "label": y, "rows": 5} for p, y in ((0.001, 0.0), (0.01, 0.01), (0.1, 0.1))]
    drawn = svg.reliability("t", bins, 0)
    assert "nan" not in drawn
    assert drawn.count("<circle") == 3


def test_bars_of_another_split_are_drawn_only_where_they_match():
    bars = [Bar(label="a", share=0.5), Bar(label="b", share=0.5)]
    assert 'class="over"' in svg.histogram("t", bars, bars)
    assert 'class="over"' not in svg.histogram("t", bars, bars[:1])


def statistics(numbers, texts):
    """One split: quantile buckets [(low, high, count)] of `score`, counts of `tab`."""
    read = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = read.datasets.add()
    score = dataset.features.add()
    score.path.step.append("score")
    score.num_stats.common_stats.num_non_missing = 75
    score.num_stats.common_stats.num_missing = 25
    score.num_stats.mean, score.num_stats.max = 2.0, 16.0
    histogram = score.num_stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
    for low, high, count in numbers:
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    tab = dataset.features.add()
    tab.path.step.append("tab")
    tab.string_stats.common_stats.num_non_missing = sum(texts.values())
    tab.string_stats.common_stats.tot_num_values = sum(texts.values())
    tab.string_stats.unique = len(texts)
    for label, count in texts.items():
        tab.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
    dataset.features.add().path.step.append("label_click")
    return read


def test_statistics_by_hand():
    train = statistics([(0, 8, 50), (8, 16, 25), (16, 32, 25)], {"x": 30, "y": 10})
    test = statistics([(0, 16, 10), (100, 100, 10)], {"y": 5, "new": 5})
    found = column_statistics({"train": train, "test": test}, toy.dataset(), "train")
    score, tab = found["train"]
    assert (score.name, score.type, score.rows, score.missing, score.mean) == ("score", "float32", 100, 0.25, 2.0)
    assert [bar.share for bar in score.bars[:15]] == pytest.approx([0.125] * 4 + [0.0625] * 4 + [0.03125] * 7)
    assert math.isclose(sum(bar.share for bar in score.bars), 1)
    assert [(bar.label, bar.share) for bar in tab.bars] == [("x", 0.75), ("y", 0.25), ("others", 0.0)]
    assert tab.distinct == 2
    later, others = found["test"]
    assert [bar.label for bar in later.bars] == [bar.label for bar in score.bars]
    assert [bar.share for bar in later.bars] == pytest.approx([0.0625] * 8 + [0.0] * 7 + [0.5])  # the outlier is last
    assert [(bar.label, bar.share) for bar in others.bars] == [("x", 0.0), ("y", 0.5), ("others", 0.5)]


def test_a_long_tail_is_one_bar():
    [score, _] = column_statistics(
        {"train": statistics([(0, 8, 50), (8, 16, 25), (16, 320, 25)], {"x": 1})}, toy.dataset(), "train"
    )["train"]
    body, tail = 16 * 1.25, score.bars[-1]
    assert [bar.share for bar in score.bars[:6]] == pytest.approx([0.5 * body / 16 / 8] * 6)
    assert tail.label == "18.75 to 320"
    assert tail.share == pytest.approx(0.25 * (320 - 18.75) / (320 - 16))


def test_all_others_together_are_no_bar_where_there_are_none():
    bars = [Bar(label="a", share=1.0), Bar(label=OTHERS, share=0.0)]
    assert svg.histogram("t", bars, bars).count("<rect") == 1
    assert svg.histogram("t", bars, [bars[0], Bar(label=OTHERS, share=0.1)]).count("<rect") == 2


ACTED = {
    "rows_read": 1000,
    "attributed": 600,
    "others": {"duplicate": 50, "without_impression": 340},
    "of_rows_out": 580,
    "quarantined": {"rows": 10, "reasons": [{"reason": "bad_number", "column": "ms", "rows": 10}]},
    "files": [{"path": "a.csv", "rows": 1000}],
    "absent_days": ["2024-01-05"],
}


def test_what_became_of_actions():
    shown = log(sample().model_copy(update={"manifest": manifest() | {"actions": ACTED}}))
    for part in (
        "1,000 actions read from 1 files; 580 belong",
        "60.0 %",
        "34.0 %",
        "no impression has its key",
        "No files of 2024-01-05",
    ):
        assert part in shown
    assert "<h3>Actions" not in log(sample())
    counting = ACTED | {"of_earlier_rows": 13}
    told = log(sample().model_copy(update={"manifest": manifest() | {"actions": counting}}))
    others = (
        ", 7 to rows of days behind the split’s, or that are quarantined, dropped or sampled out."  # 600 - 580 - 13
    )
    assert (
        "measured on, 13 to rows of earlier days, which counters alone look at" + others.replace("’", "&#x27;") in told
    )
    told = log(sample().model_copy(update={"manifest": manifest() | {"actions": ACTED | {"of_rows_out": 600}}}))
    assert "measured on." in told
    told = log(sample().model_copy(update={"manifest": manifest() | {"duplicates": 94_784 // 2}}))
    assert "47,392 rows (50.0 %) have the values of an earlier row" in told
    assert "of an earlier row" not in log(sample())


def test_long_numbers_beside_a_curve_have_room():
    drawing = svg.lines("t", [svg.Series("loss", [(epoch, 0.9975 + epoch / 2000) for epoch in range(4)], 0)])
    labels = re.findall(r'<text x="([\d.]+)"[^>]*class="tick end">([\d.]+)<', drawing)
    assert max(len(text) for _, text in labels) >= 6
    assert min(float(x) - 6.2 * len(text) for x, text in labels) >= 0  # they end at x


@pytest.mark.parametrize(("last", "shown"), [(0.9571, "0.957"), (723.047, "723"), (1_234_567.0, "1,234,567")])
def test_the_last_value_of_a_curve_has_room(last, shown):
    drawing = svg.lines("t", [svg.Series("dwell", [(1, last * 1.2), (2, last)], 0)])
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawing)[1])
    [(x, name, value)] = re.findall(r'<text x="([\d.]+)"[^>]*class="name"[^>]*>(\w+)<tspan[^>]*>([^<]+)<', drawing)
    assert value.strip() == shown
    assert float(x) + 6.2 * len(name + value) <= width
