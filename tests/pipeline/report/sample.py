"""A run made by hand, with the shapes of a run on a feed log and with values that would break a careless page."""

from __future__ import annotations

import math

from pipeline.report.data import Artifact, Bar, ColumnStatistics, Execution, ReportData, Stage

EVIL = "<script>alert('x')</script>&\"quoted\""
RATES = {
    "click": 0.438,
    "long_view": 0.307,
    "like": 0.0171,
    "profile_enter": 0.0194,
    "comment": 0.0023,
    "follow": 0.00135,
    "forward": 0.0008,
}
AUCS = {
    "click": 0.7361,
    "long_view": 0.7402,
    "like": 0.8467,
    "profile_enter": 0.6904,
    "comment": 0.6815,
    "follow": 0.7712,
    "forward": 0.6236,
}
ROWS = {"train": 61_840, "validation": 16_021, "test": 16_891}
REASONS = [
    {
        "reason": "bad number",
        "column": "video_id",
        "rows": 19,
        "example": {"file": "log/part-0.csv", "row": 812, "value": "12x4"},
    },
    {
        "reason": "wrong width",
        "column": None,
        "rows": 9,
        "example": {"file": "log/part-1.csv", "row": 77, "value": EVIL},
    },
    {
        "reason": "missing label",
        "column": "is_like",
        "rows": 4,
        "example": {"file": "log/part-1.csv", "row": 4, "value": None},
    },
]


def bins(rate: float, rows: int, wobble: float = 0.12) -> list[dict[str, float]]:
    spread = [rate * (0.08 + 0.12 * i + 0.012 * i**2.2) for i in range(10)]
    return [
        {"prediction": min(p, 0.96), "label": min(p * (1 + wobble * math.sin(3 * i)), 0.97), "rows": rows // 10}
        for i, p in enumerate(spread)
    ]


def tasks(shift: float = 0.0, with_bins: bool = True) -> dict[str, dict[str, object]]:
    made: dict[str, dict[str, object]] = {}
    for name, rate in RATES.items():
        made[name] = {
            "kind": "binary",
            "rows": ROWS["test"],
            "positives": round(rate * ROWS["test"]),
            "rate": rate,
            "mean_prediction": rate * 1.03,
            "auc": AUCS[name] + shift,
            "gauc": None if name == "forward" else AUCS[name] + shift - 0.06,
            "gauc_groups": 812,
            "log_loss": -rate * math.log(rate) * 0.96 - (1 - rate) * math.log(1 - rate),
            "normalized_entropy": 0.93,
            "calibration": 1.03,
        }
        if with_bins:
            made[name]["calibration_bins"] = bins(rate, ROWS["test"])
    return made


def evaluation(blessed: bool = True) -> dict[str, object]:
    slices = {
        value: {"rows": rows, "tasks": tasks(shift, with_bins=False)}
        for value, rows, shift in (("1", 12_904, 0.004), ("0", 1_371, -0.037), ("4", 904, 0.061), (EVIL, 211, -0.09))
    }
    slices["12"] = {
        "rows": 18,
        "tasks": {name: {"kind": "binary", "rows": 18, "positives": 0, "auc": None} for name in RATES},
    }
    reason = "task 'click': auc 0.7361 is 0.0123 below the last blessed model's 0.7484 on the same rows; allowed: 0.005"
    checks = [
        {"task": t, "metric": "auc", "value": a, "limit": "defined", "ok": True, "reason": None}
        for t, a in AUCS.items()
    ] + [
        {"task": "click", "metric": "auc", "value": 0.7361, "limit": "at least 0.7", "ok": True, "reason": None},
        {
            "task": "click",
            "metric": "auc",
            "value": 0.7361,
            "limit": "at least 0.7484 - 0.005 (last blessed model)",
            "ok": blessed,
            "reason": None if blessed else reason,
        },
        {
            "task": "like",
            "metric": "calibration",
            "value": 1.03,
            "limit": "at least 0.8 and at most 1.2",
            "ok": True,
            "reason": None,
        },
    ]
    return {
        "rows": ROWS["test"],
        "seconds": 4.1,
        "predict_seconds": 2.9,
        "tasks": tasks(),
        "up": {
            "auc_any_interaction": 0.7219,
            "rows": ROWS["test"],
            "positives": 7_902,
            "mean_prediction": 0.41,
            "interactions": list(RATES),
        },
        "slices": {"tab": slices},
        "baseline": {"model": "/models/3", "tasks": tasks(-0.006 if blessed else 0.0123), "up": None, "problem": None},
        "notes": ["task 'forward': GAUC is undefined: no group holds both classes"],
        "verdict": {"blessed": blessed, "reasons": [] if blessed else [reason], "checks": checks},
    }


def training() -> dict[str, object]:
    epochs = []
    for epoch in range(1, 7):
        rise = 1 - math.exp(-epoch / 1.3) - max(0, epoch - 4) * 0.03
        epochs.append(
            {
                "epoch": epoch,
                "loss": 1.62 - 0.13 * epoch**0.5,
                "losses": {t: (0.7 - (0.02 + 0.15 * r) * epoch**0.5) * min(1, r * 3 + 0.01) for t, r in RATES.items()},
                "validation": {
                    "auc": {t: 0.5 + (a - 0.5) * rise for t, a in AUCS.items()},
                    "mean_auc": 0.5 + 0.23 * rise,
                    "log_loss": {},
                },
                "seconds": 7.4,
                "examples_per_s": 8_356.0,
            }
        )
    return {
        "epochs": epochs,
        "best_epoch": 4,
        "stopped": "no better validation AUC for 2 epochs",
        "parameters": 1_284_311,
        "warm_start": {
            "model": "artifacts/train/model/7/Format-Serving",
            "fingerprint": "1/2/3/4",
            "tables": {"user_id": {"matched": 23_410, "new": 1_318, "gone": 27}},
            "copied": 41,
            "fresh": {"ranker/head/tower_like/output/kernel": "its shape is (32, 1), was (16, 1)"},
        },
    }


def gates() -> dict[str, object]:
    layers = []
    for layer in (1, 2):
        for i, task in enumerate(RATES):
            raw = [1 + math.sin(1.7 * i + 2.1 * e + layer) for e in range(5)]
            layers.append(
                {
                    "layer": str(layer),
                    "task": task,
                    "experts": [f"expert {e}" for e in range(5)],
                    "weights": [w / sum(raw) for w in raw],
                }
            )
    return {"layers": layers}


def statistics(shift: float = 0.0) -> tuple[ColumnStatistics, ...]:
    raw = [math.exp(-(((i - 3.5 - shift) / 2.4) ** 2)) for i in range(10)]
    bell = tuple(Bar(label=f"{i * 10} to {i * 10 + 10}", share=v / sum(raw)) for i, v in enumerate(raw))
    tail = tuple(Bar(label=str(i), share=0.55**i * 0.45 + shift * 0.01) for i in range(12))
    return (
        ColumnStatistics(
            name="user_id",
            type="int64",
            rows=61_840,
            missing=0,
            distinct=None,
            mean=13_612.2,
            deviation=7_881.0,
            minimum=0,
            median=13_590,
            maximum=27_284,
            bars=bell,
        ),
        ColumnStatistics(name="tab", type="int64", rows=61_840, missing=0, distinct=13, bars=tail),
        ColumnStatistics(
            name="user_active_degree", type="string", rows=61_840, missing=0.0012, distinct=9, bars=tail[:9]
        ),
        ColumnStatistics(
            name="video_duration",
            type="float32",
            rows=61_840,
            missing=0.0315,
            mean=34_211.4,
            deviation=51_220.0,
            minimum=0,
            median=18_233,
            maximum=1_884_000,
            bars=bell,
        ),
        ColumnStatistics(
            name="watch_seq",
            type="list<int64>",
            rows=61_840,
            missing=0.021,
            mean_length=38.4,
            distinct=7_412,
            bars=bell,
        ),
        ColumnStatistics(name=EVIL, type="string", rows=61_840, missing=1, distinct=0),
    )


def manifest() -> dict[str, object]:
    return {
        "rows_read": sum(ROWS.values()) + 32,
        "rows_out": ROWS,
        "quarantined": {"rows": 32, "reasons": REASONS},
        "files": [{"path": "log.csv", "bytes": 9_412_332, "rows": sum(ROWS.values()) + 32}],
        "days": {
            "20220425": 15_020,
            "20220426": 15_480,
            "20220427": 15_710,
            "20220428": 15_630,
            "20220429": 16_021,
            "20220430": 16_891,
        },
        "tasks": {
            t: {
                s: {"rows": n, "positives": round(r * n * (1 + 0.03 * i)), "sum": r * n}
                for i, (s, n) in enumerate(ROWS.items())
            }
            for t, r in RATES.items()
        },
        "unmatched": {"videos": 12, "users": 0},
        "seconds": 3.2,
    }


def lineage() -> tuple[Execution, ...]:
    """Ingest answered by the cache of run ``r1``, a model trained in run ``r2`` and measured against that of ``r1``."""

    def artifact(name: str, kind: str, number: int, stage: str, run: str, note: str = "") -> Artifact:
        uri = f"artifacts/{stage}/{name}/{number}"
        return Artifact(name=name, type=kind, id=number, uri=uri, run=run, note=note)

    examples = artifact("examples", "Examples", 1, "ingest", "r1")
    manifest = artifact("manifest", "pipeline.IngestManifest", 2, "ingest", "r1")
    before = artifact("model", "Model", 3, "train", "r1")
    model = artifact("model", "Model", 4, "train", "r2")
    blessing = artifact("blessing", "ModelBlessing", 5, "evaluate", "r2", note="refused")
    return (
        Execution(stage="ingest", id=11, state="cached", made=(examples, manifest)),
        Execution(stage="train", id=12, read=(examples,), made=(model,)),
        Execution(stage="baseline", id=13, read=(model.model_copy(update={"name": "current"}),), found=(before,)),
        Execution(stage="evaluate", id=14, read=(examples, model, before), made=(blessing,)),
    )


def sample(blessed: bool = True) -> ReportData:
    dataset = {
        "name": "kuairand",
        "tasks": {name: {"label": f"is_{name}"} for name in RATES},
        "split": {
            "by": "time",
            "train": ["2022-04-25", "2022-04-28"],
            "validation": ["2022-04-29", "2022-04-29"],
            "test": ["2022-04-30", "2022-04-30"],
        },
    }
    stages = [
        Stage(name="ingest", seconds=3.2, rows=94_784, note="32 quarantined"),
        Stage(name="statistics", seconds=6.3, rows=94_752),
        Stage(name="validate", seconds=0.4, state="cached"),
        Stage(name="transform", seconds=21.7, rows=94_752),
        Stage(name="train", seconds=61.2, rows=371_040, note="6 epochs, best 4"),
        Stage(name="evaluate", seconds=4.1, rows=16_891),
        Stage(name="check_serving", seconds=9.9, rows=256),
        Stage(name="push", seconds=0.3, note="version 1732181"),
    ]
    return ReportData(
        name="kuairand_dlen",
        dataset=dataset,
        config={"name": "kuairand_dlen", "model": {"preset": "dlen", "embedding_dim": 16}, "data": {"path": EVIL}},
        created="2026-11-21 10:07",
        stages=tuple(stages),
        manifest=manifest(),
        statistics={"train": statistics(), "test": statistics(0.8)},
        verdict={"ok": True, "problems": [], "warnings": ["column 'video_type': 3 values outside the domain"]},
        training=training(),
        gates=gates(),
        evaluation=evaluation(blessed),
        check={
            "rows": 256,
            "max_difference": 3.1e-7,
            "signatures": {"serving_default": {}, "raw": {}, "transform_features": {}},
            "inputs": {"expected": ["user_id", "tab"], "found": ["tab", "user_id"]},
            "seconds": 9.9,
            "verdict": {"blessed": True, "reasons": []},
        },
        blessed=blessed,
        infra_blessed=True,
        version="1732181" if blessed else None,
        run="r2",
        lineage=lineage(),
        versions={"feedrank": "0.1.0", "tensorflow": "2.16.2", "tfx": "1.16.0"},
        truth={"auc": {"up": 0.842, "sum": 0.801, "click": 0.744, "like": 0.702}, "ceiling": 0.88, "rows": 20_000},
    )
