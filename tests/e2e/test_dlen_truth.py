"""DLEN's latent preference against the preference that the synthetic log was made from."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import run_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_up_recovers_the_true_preference(tmp_path):
    """`up` never sees the truth, only the six labels; yet it must order unseen rows by true preference.

    Bound: a third of the way from chance (AUC 0.5) to the ceiling, the AUC of the true probability itself against the
    preferences drawn from it (about 0.85; no model can pass it). The test day has about 14,000 rows, a third of them
    preferred, so an AUC's standard error is about sqrt(1 / (12 * 4,700)) + ... < 0.006 and the bound, about 0.62, lies some
    twenty of them above chance: luck cannot reach it, a head whose `up` means its opposite or nothing does not either.
    """
    folder, record = run_pipeline(
        "demo.yaml",
        [
            f"output={tmp_path / 'runs'}",
            f"data.path={tmp_path / 'log'}",
            "data.synthesize={rows: 100000, users: 1500, items: 750, seed: 11}",
            "train={batch_size: 512, epochs: 4}",
        ],
    )
    evaluation = json.loads((record.output("evaluate", "evaluation") / "evaluation.json").read_text())
    truth = evaluation["truth"]
    assert truth["rows"] == evaluation["rows"]
    assert truth["ceiling"] > 0.8
    assert truth["auc"]["up"] >= 0.5 + (truth["ceiling"] - 0.5) / 3, truth
    assert truth["auc"]["up"] <= truth["ceiling"]
    # Beside each single task's score and their sum, in numbers and on the page.
    assert set(truth["auc"]) == {"up", "sum", "click", "like", "follow", "comment", "share", "conversion"}
    page = folder.report.read_text()
    for value in truth["auc"].values():
        assert f"{value:.4f}" in page
