from __future__ import annotations

import pytest

from pipeline.config import Bound, EvaluateConfig
from pipeline.evaluation.gate import verdict


def evaluation(auc=0.7, mse=2.0, before=None, error=0.0, dwell_error=0.0):
    def tasks(area, squared):
        click = {"kind": "binary", "rows": 100, "positives": 10, "auc": area, "log_loss": 0.3}
        return {"click": click, "dwell": {"kind": "regression", "rows": 100, "mean_prediction": 1.0, "mse": squared}}

    baseline = {"tasks": tasks(*before), "change_errors": {"click": error, "dwell": dwell_error}} if before else None
    return {"tasks": tasks(auc, mse), "baseline": baseline}


def test_a_sane_model_without_limits_is_blessed():
    found = verdict(evaluation(), EvaluateConfig())
    assert (found["blessed"], found["reasons"]) == (True, [])


def test_a_task_that_cannot_be_judged_is_refused_without_any_configuration():
    found = verdict(evaluation(auc=None), EvaluateConfig())
    assert found["reasons"] == ["task 'click' cannot be judged: its auc is undefined on 100 rows, 10 of them positive"]
    assert not found["blessed"]


@pytest.mark.parametrize(
    ("bound", "reason"),
    [
        (Bound(minimum=0.75), "task 'click': auc is 0.7; allowed: at least 0.75"),
        (Bound(maximum=0.65), "task 'click': auc is 0.7; allowed: at most 0.65"),
        (Bound(minimum=0.7, maximum=0.7), None),
    ],
)
def test_bounds(bound, reason):
    found = verdict(evaluation(), EvaluateConfig(thresholds={"click": {"auc": bound}}))
    assert found["reasons"] == ([reason] if reason else [])


def test_a_bound_on_an_undefined_metric_refuses():
    config = EvaluateConfig(thresholds={"click": {"gauc": Bound(minimum=0.5)}})
    assert verdict(evaluation(), config)["reasons"] == ["task 'click': gauc is undefined, and a bound is set for it"]


def test_a_worse_model_is_refused_and_told_by_how_much():
    found = verdict(evaluation(auc=0.69, before=(0.7, 2.0)), EvaluateConfig(max_regression=0.005))
    assert found["reasons"] == [
        "task 'click': auc 0.69 is 0.01 below the last blessed model's 0.7 on the same rows; allowed: 0.005 "
        "(0.005 + 1.645 standard errors of 0)"
    ]


def test_a_fall_within_the_standard_error_is_no_reason():
    config = EvaluateConfig(max_regression=0.005, regression_z=2)
    found = verdict(evaluation(auc=0.66, before=(0.7, 2.0), error=0.02), config)
    assert found["blessed"]
    limits = [check["limit"] for check in found["checks"] if check["metric"] == "auc"]
    assert limits[-1] == "at least 0.7 - 0.045 (0.005 + 2 standard errors of 0.02; last blessed model)"
    found = verdict(evaluation(auc=0.65, before=(0.7, 2.0), error=0.02), config)
    assert found["reasons"][0].endswith("allowed: 0.045 (0.005 + 2 standard errors of 0.02)")


def test_a_fall_whose_chance_cannot_be_told_is_no_reason():
    assert verdict(evaluation(auc=0.1, before=(0.7, 2.0), error=None), EvaluateConfig())["blessed"]


def test_a_slightly_worse_model_is_blessed():
    assert verdict(evaluation(auc=0.697, before=(0.7, 2.0)), EvaluateConfig(max_regression=0.005))["blessed"]


def test_a_regressions_error_may_rise_by_a_share():
    config = EvaluateConfig(max_regression=0.05)
    assert verdict(evaluation(mse=2.09, before=(0.7, 2.0)), config)["blessed"]
    [reason] = verdict(evaluation(mse=2.11, before=(0.7, 2.0)), config)["reasons"]
    assert reason == (
        "task 'dwell': mse 2.11 is 0.11 above the last blessed model's 2 on the same rows; allowed: 0.1 "
        "(5.00% of it + 1.645 standard errors of 0)"
    )


def test_a_regressions_error_may_rise_by_what_chance_explains():
    config = EvaluateConfig(max_regression=0.05, regression_z=2)
    assert verdict(evaluation(mse=2.49, before=(0.7, 2.0), dwell_error=0.2), config)["blessed"]
    [reason] = verdict(evaluation(mse=2.51, before=(0.7, 2.0), dwell_error=0.2), config)["reasons"]
    assert reason.endswith("allowed: 0.5 (5.00% of it + 2 standard errors of 0.2)")
    assert verdict(evaluation(mse=9.0, before=(0.7, 2.0), dwell_error=None), config)["blessed"]


def test_each_task_may_have_its_own_limit():
    def refused(max_regression):
        found = verdict(evaluation(auc=0.69, mse=2.1, before=(0.7, 2.0)), EvaluateConfig(max_regression=max_regression))
        return [reason.split(":")[0] for reason in found["reasons"]]

    # The AUC fell by 0.01, the error rose by a twentieth.
    assert refused({"click": 0.02, "dwell": 0.06}) == []
    assert refused({"click": 0.02, "dwell": 0.04}) == ["task 'dwell'"]
    assert refused({"click": 0.02}) == ["task 'dwell'"]  # not named: 0.005
    assert refused({"dwell": 0.06}) == ["task 'click'"]


def test_a_last_model_that_cannot_be_asked_is_no_matter_of_one_task():
    found = verdict(evaluation(), EvaluateConfig(max_regression={"click": 1.0}), "the rows lack column age")
    assert not found["blessed"]


def test_a_task_that_only_the_last_model_knew_is_no_reason():
    both = evaluation(before=(0.7, 2.0))
    both["baseline"]["tasks"]["gone"] = {"kind": "binary", "rows": 100, "positives": 10, "auc": 0.9}
    assert verdict(both, EvaluateConfig())["blessed"]


def test_a_last_model_that_cannot_be_asked_is_never_skipped_silently():
    found = verdict(evaluation(), EvaluateConfig(), "the rows lack column age")
    assert not found["blessed"]
    assert "cannot be compared: the rows lack column age" in found["reasons"][0]
    assert "evaluate.max_regression" in found["reasons"][0]


def test_the_comparison_can_be_given_up():
    config = EvaluateConfig(max_regression=None)
    assert verdict(evaluation(auc=0.5, before=(0.9, 1.0)), config)["blessed"]
    assert verdict(evaluation(), config, "the rows lack column age")["blessed"]
