from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import permutations
from typing import get_args

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.kinds import Feature
from features.losses import TaskLoss
from models.config import ALIASES, PRESETS, ModelConfig, PleTrunk, TrainConfig, change_preset, cluster_problem


@pytest.mark.parametrize(
    ("preset", "trunk", "head"),
    [
        ("shared_bottom", "shared_bottom", "independent"),
        ("mmoe", "mmoe", "independent"),
        ("moe", "moe", "independent"),
        ("mmoe_top_k", "mmoe", "independent"),
        ("hmoe", "hmoe", "independent"),
        ("cgc", "cgc", "independent"),
        ("ple", "ple", "independent"),
        ("mmoe_dlen", "mmoe", "dlen"),
        ("dlen", "mmoe", "dlen"),
        ("ple_dlen", "ple", "dlen"),
        ("cross_stitch", "cross_stitch", "independent"),
        ("sluice", "sluice", "independent"),
        ("snr_trans", "snr_trans", "independent"),
        ("snr_aver", "snr_aver", "independent"),
        ("esmm", "single_task", "esmm"),
        ("aitm", "single_task", "aitm"),
        ("escm2", "single_task", "escm2"),
    ],
)
def test_a_preset_alone_names_trunk_and_head(preset: str, trunk: str, head: str):
    config = ModelConfig.model_validate(preset)
    assert (config.trunk.kind, config.head.kind) == (trunk, head)
    assert config == ModelConfig.model_validate({"preset": preset})


def test_the_sizes_of_the_papers_are_the_defaults():
    config = ModelConfig.model_validate("ple_dlen")
    assert (config.trunk.shared_experts, config.trunk.task_experts) == (5, 2)
    assert config.trunk.units == config.head.state_units == (256, 128, 64)
    assert ModelConfig.model_validate("mmoe").trunk.experts == 5
    assert 0.1 <= config.head.ratio <= 0.5


def test_what_the_user_writes_lies_on_top_of_the_preset():
    config = ModelConfig.model_validate({"preset": "dlen", "trunk": {"experts": 3}, "head": {"ratio": 0.1}})
    assert (config.trunk.kind, config.trunk.experts, config.trunk.units) == ("mmoe", 3, (256, 128, 64))
    assert (config.head.kind, config.head.ratio) == ("dlen", 0.1)


def test_a_part_of_another_kind_replaces_the_presets():
    config = ModelConfig.model_validate({"preset": "dlen", "trunk": {"kind": "ple", "layers": 1}})
    assert (config.trunk.kind, config.trunk.layers, config.head.kind) == ("ple", 1, "dlen")
    assert ModelConfig.model_validate({"preset": "dlen", "trunk": "shared_bottom"}).trunk.kind == "shared_bottom"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ({"preset": "dlen"}, "mmoe_dlen"),
        ({"preset": "mmoe", "trunk": {"experts": 3}}, "mmoe"),
        ({"preset": "mmoe", "trunk": "ple", "head": {"kind": "dlen"}}, "ple_dlen"),
        ({"preset": "mmoe", "trunk": PleTrunk()}, "ple"),
        ({"preset": "mmoe", "trunk": "shared_bottom", "head": "dlen"}, None),
        ({"preset": "mmoe", "gate": {"kind": "top_k", "k": 3}}, "mmoe_top_k"),
        ({"preset": "mmoe_dselect_k", "trunk": "ple"}, None),
        ({"preset": "mmoe", "interactions": "dcn_v2"}, "mmoe_dcn_v2"),
        ({"preset": "mmoe_fm", "interactions": "none"}, "mmoe"),
        ({"preset": "ple", "interactions": "dot"}, None),
        ({"preset": "ple_dlen", "gate": "dselect_k", "embeddings": "stem"}, "ple_dlen_stem"),
    ],
)
def test_the_preset_is_the_one_whose_kinds_they_are(written: dict[str, object], named: str | None):
    config = ModelConfig.model_validate(written)
    assert config.preset == named
    assert ModelConfig.model_validate(config.model_dump()) == config


def test_another_preset_brings_the_kinds_of_all_its_parts_and_keeps_what_they_know():
    crossed = {"preset": "mmoe", "embedding_dim": 4, "interactions": {"kind": "dcn_v2", "layers": 3}, "gate": "top_k"}
    assert change_preset(crossed, "mmoe_dcn_v2")["interactions"] == {"kind": "dcn_v2", "layers": 3}
    plain = change_preset(crossed, "ple")
    parts = {"interactions": {"kind": "none"}, "gate": {"kind": "softmax"}}
    assert plain == {"preset": "ple", "embedding_dim": 4, **parts}
    assert ModelConfig.model_validate(plain).preset == "ple"


@pytest.mark.parametrize("preset", PRESETS)
def test_after_a_change_the_model_is_the_preset_whatever_it_was(preset: str):
    for before in PRESETS:
        whole = ModelConfig.model_validate(before).model_dump()
        assert ModelConfig.model_validate(change_preset(whole, preset)).preset == preset


@pytest.mark.parametrize("preset", [*PRESETS, *ALIASES])
def test_a_config_survives_json(preset: str):
    config = ModelConfig.model_validate({"preset": preset, "trunk": {"units": [8]}, "numbers": "periodic"})
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "mmoee",
            ["'mmoee'", "did you mean 'mmoe'?", ", ".join([*PRESETS, *ALIASES])],
        ),
        ({"trunk": "mmoo"}, ["'mmoo'", "'shared_bottom', 'moe', 'mmoe', 'hmoe', 'mose', 'cgc', 'ple'"]),
        ({"head": {"kind": "esm"}}, ["'esm'", "'independent', 'dlen', 'esmm'"]),
        (
            {"trunk": {"kind": "mmoe", "expert": 3}},
            ["'expert'", "units, dropout, experts, kind", "did you mean 'experts'"],
        ),
        ({"embeding_dim": 3}, ["'embeding_dim'", "did you mean 'embedding_dim'"]),
        ({"preset": "dlen", "head": {"ratio": 1.5}}, ["ratio", "less than 1"]),
        ({"preset": ["mmoe"]}, ["preset", "valid string"]),
        ({"preset": "mmoe", "embeddings": "stem"}, ["trunk mmoe has no such experts; allowed with stem: cgc, ple"]),
        ({"preset": "mose", "embeddings": "stem"}, ["trunk mose has no such experts"]),
        (
            {"trunk": "shared_bottom", "gate": "dselect_k"},
            ["trunk shared_bottom has no gates; got dselect_k; trunks with gates: moe, mmoe, hmoe, mose, cgc, ple"],
        ),
        (
            {"trunk": {"kind": "mmoe", "experts": 3}, "gate": {"kind": "top_k", "k": 4}},
            ["a gate of trunk mmoe chooses from 3 experts; got 4, allowed: 2 to 3"],
        ),
        (
            {"trunk": {"kind": "moe", "experts": 1}, "gate": {"kind": "dselect_k", "k": 1}},
            ["chooses from 1 experts; got 1, allowed: another kind of gate, or more experts"],
        ),
        (
            {"trunk": {"kind": "ple", "layers": [{}, {"shared_experts": 1}]}, "gate": {"kind": "dselect_k", "k": 4}},
            ["trunk ple chooses from 3 experts; got 4"],
        ),
        ({"trunk": {"kind": "ple", "layers": [{"experts": 1}]}}, ["'experts'", "units, shared_experts, task_experts"]),
        ({"trunk": {"kind": "ple", "layers": []}}, ["layers", "at least 1"]),
        ({"trunk": {"kind": "ple", "layers": 0}}, ["1 validation error", "layers", "greater than or equal to 1"]),
        *(
            (
                {"trunk": {"kind": "ple", "layers": wrong}},
                [
                    "1 validation error",
                    "allowed: a number >= 1, or a list of {units, shared_experts, task_experts}",
                    f"input_value={wrong!r}",
                ],
            )
            for wrong in ("many", {"units": [8]}, 1.5)
        ),
        (
            {"trunk": {"kind": "ple", "layers": True}},
            ["1 validation error", "layers: true and false are no numbers; allowed: a number"],
        ),
        (
            {"preset": "mmoe", "gate": {"kind": "top_k", "noise": False, "load_weight": 0.2}},
            ["load_weight 0.2 with `noise: false`", "allowed: 0, or `noise: true`"],
        ),
        (
            {"head": {"kind": "escm2", "form": "ipw", "imputation_units": [8]}},
            ["imputation_units [8] with `form: ipw`, which imputes no errors; allowed: none, or `form: dr`"],
        ),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(written: object, said: list[str]):
    with pytest.raises(pydantic.ValidationError) as error:
        ModelConfig.model_validate(written)
    for text in said:
        assert text in str(error.value)


def test_a_gate_without_noise_has_no_load():
    gate = {"kind": "top_k", "noise": False}
    config = ModelConfig.model_validate({"preset": "mmoe", "gate": gate})
    assert (config.gate.load_weight, config.gate.importance_weight) == (0.0, 0.1)
    assert ModelConfig.model_validate(config.model_dump()) == config
    assert ModelConfig.model_validate({"preset": "mmoe", "gate": {**gate, "load_weight": 0}}) == config
    assert ModelConfig.model_validate("mmoe_top_k").gate.load_weight == 0.1


def test_layers_of_ple_by_number_or_by_size():
    sizes = {"kind": "ple", "units": [16, 8], "task_experts": 3, "dropout": 0.1}
    layer = {"kind": "cgc", "units": (16, 8), "shared_experts": 5, "task_experts": 3, "dropout": 0.1}
    twice = ModelConfig.model_validate({"trunk": {**sizes, "layers": 2}}).trunk
    assert [one.model_dump() for one in twice.stacked()] == [layer, layer]
    own = {**sizes, "layers": [{"units": [32], "shared_experts": 2}, {"task_experts": 1}]}
    listed = ModelConfig.model_validate({"trunk": own}).trunk
    assert [one.model_dump() for one in listed.stacked()] == [
        {**layer, "units": (32,), "shared_experts": 2},
        {**layer, "task_experts": 1},
    ]


def unions() -> dict[str, tuple[type, ...]]:
    """{where: the kinds that one may choose from}."""
    fields = {f"{c.__name__}.{n}": f.annotation for c in (ModelConfig, TrainConfig) for n, f in c.model_fields.items()}
    fields |= {name: get_args(union)[0] for name, union in (("feature", Feature), ("loss", TaskLoss))}
    chosen = {name: tuple(c for c in get_args(field) if hasattr(c, "model_fields")) for name, field in fields.items()}
    return {name: kinds for name, kinds in chosen.items() if len(kinds) > 1}


@pytest.mark.parametrize("kinds", unions().values(), ids=unions().keys())
def test_no_kind_passes_for_another(kinds: tuple[type, ...]):
    assert [f"{one} is a {other}" for one, other in permutations(kinds, 2) if issubclass(one, other)] == []


def test_optimizers_by_kind():
    train = TrainConfig.model_validate({"embedding_optimizer": "lazy_adam", "dense_optimizer": {"kind": "adagrad"}})
    assert (train.embedding_optimizer.learning_rate, train.dense_optimizer.learning_rate) == (0.001, 0.05)
    with pytest.raises(pydantic.ValidationError, match="'adagrad', 'rowwise_adagrad', 'lazy_adam'"):
        TrainConfig.model_validate({"embedding_optimizer": "adam"})


def test_more_devices_than_rows_are_refused():
    devices = {"kind": "mirrored", "devices": ["GPU:0", "GPU:1", "GPU:2"]}
    with pytest.raises(pydantic.ValidationError, match=r"batch_size: 2 rows .* the 3 devices .* allowed: 3 or more"):
        TrainConfig.model_validate({"batch_size": 2, "strategy": devices})
    assert TrainConfig.model_validate({"batch_size": 3, "strategy": devices}).batch_size == 3


SERVERS = {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}


def tf_config(cluster: object, kind: str, index: object) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"})


@pytest.mark.parametrize(
    ("strategy", "text", "said"),
    [
        ("none", None, None),
        ("mirrored", "{", None),
        ("multi_worker_mirrored", tf_config({"worker": ["a:1", "b:1"]}, "worker", 0), None),
        ("multi_worker_mirrored", tf_config({"chief": ["a:1"], "worker": {"0": "b:1"}}, "chief", "0"), None),
        ("parameter_server", tf_config(SERVERS, "chief", 0), None),
        ("multi_worker_mirrored", None, r"is not set; got None, allowed: such as \{.cluster.: \{.worker"),
        ("parameter_server", "", r"is not set; got ''"),
        ("multi_worker_mirrored", "{worker", "cannot be read: Invalid JSON"),
        ("multi_worker_mirrored", "[]", "cannot be read: Input should be an object"),
        ("multi_worker_mirrored", '{"cluster": {"worker": ["a:1"]}}', "cannot be read: task: Field required"),
        ("multi_worker_mirrored", tf_config({"worker": "a:1"}, "worker", 0), "cannot be read: cluster.worker"),
        ("multi_worker_mirrored", tf_config({"worker": []}, "worker", 0), "names no task of type worker"),
        ("parameter_server", tf_config({"worker": ["b:1"]}, "worker", 0), "names no task of type chief, ps"),
        ("parameter_server", tf_config(SERVERS, "ps", 0), "makes this process ps 0, .* is chief 0"),
        ("multi_worker_mirrored", tf_config({"worker": ["a", "b"]}, "worker", 1), "process worker 1, .* is worker 0"),
        ("multi_worker_mirrored", tf_config({"chief": ["a"], "worker": ["b"]}, "worker", 0), "worker 0, .* is chief 0"),
    ],
)
def test_a_process_that_cannot_be_the_chief_is_told_why(strategy: str, text: str | None, said: str | None):
    problem = cluster_problem(strategy, text)
    if said is None:
        assert problem is None
    else:
        assert problem is not None
        assert re.search(f"^'{strategy}' needs the environment variable TF_CONFIG, which .*{said}", problem)


@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: st.dictionaries(st.sampled_from(["cluster", "task", "worker", "type", "index"]), x),
    ).map(json.dumps)
)
def test_any_tf_config_is_taken_or_refused_in_words(text: str):
    assert (cluster_problem("multi_worker_mirrored", text) or "TF_CONFIG").count("TF_CONFIG") >= 1


def test_the_json_schema_offers_the_presets():
    schema = json.dumps(ModelConfig.model_json_schema())
    assert all(f'"{name}"' in schema for name in [*PRESETS, *ALIASES])


def test_every_preset_says_what_it_is_and_whose():
    assert all(preset.description and preset.paper for preset in PRESETS.values())


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: int):
    with pytest.raises(pydantic.ValidationError, match="seed"):
        TrainConfig.model_validate({"seed": seed})
    assert TrainConfig(seed=2**32 - 1).seed == 4_294_967_295


def test_no_tensorflow_is_loaded():
    code = "import sys, models.config; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
