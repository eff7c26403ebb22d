from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ConfigError
from features.kinds import Embedded
from features.spec import Id, Sequence
from models.config import (
    ALIASES,
    PRESETS,
    AdagradOptimizer,
    AdamOptimizer,
    ChainHead,
    DcnV2Interactions,
    DlenHead,
    LazyAdamOptimizer,
    MmoeTrunk,
    ModelConfig,
    PiecewiseLinearNumbers,
    PleTrunk,
)
from pipeline import loading
from pipeline.config import RunConfig, dump
from pipeline.loading import CONFIGS, load

Write = Callable[..., Path]
SHIPPED = sorted(path for path in CONFIGS.glob("*.yaml") if path != loading.BASE)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_(**content: Any) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({"name": "test", "dataset": "synthetic"} | content, sort_keys=False))
        return path

    return write_


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_saved_configuration_gives_the_same_one(path: Path, tmp_path: Path) -> None:
    config = load(path, ["train.epochs=3"])
    saved = tmp_path / "saved.yaml"
    saved.write_text(dump(config))
    assert config.train.epochs == 3
    assert load(saved) == config
    assert dump(load(saved)) == dump(config)


def test_the_base_states_the_defaults(write: Write) -> None:
    assert load(write()) == RunConfig.model_validate({"name": "test", "dataset": "synthetic", "model": "mmoe"})


def test_an_overlay_changes_only_what_it_names(write: Write) -> None:
    config = load(write(data={"budget": {"max_rows": 7}}, model={"trunk": {"experts": 3}}))
    assert (config.data.budget.max_rows, config.data.budget.max_share) == (7, 0.01)
    assert config.model.model_dump()["trunk"]["experts"] == 3
    assert config.model.preset == "mmoe"
    assert config.data.path == "data/synthetic"


def test_directories_follow_the_name(write: Write) -> None:
    config = load(write(output="out"))
    assert str(config.directory) == "out/test"
    assert config.push_directory == "out/test/serving"
    assert config.checkpoints_directory == "out/test/checkpoints"
    assert load(write(push={"directory": "/models/feed"})).push_directory == "/models/feed"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("train.learning=1", None),
        ("train.epochs=4", lambda c: c.train.epochs == 4),
        ("name=other", lambda c: c.name == "other"),
        ("model=ple", lambda c: (c.model.preset, c.model.trunk.kind) == ("ple", "ple")),
        ("model=dlen", lambda c: (c.model.trunk.kind, c.model.head.kind) == ("mmoe", "dlen")),
        ("model.trunk.kind=ple", lambda c: c.model.trunk.kind == "ple"),
        ("evaluate.slices=[device, city]", lambda c: c.evaluate.slices == ("device", "city")),
        ("evaluate.thresholds.click.auc.minimum=.6", lambda c: c.evaluate.thresholds["click"]["auc"].minimum == 0.6),
        ("evaluate.max_regression=null", lambda c: c.evaluate.max_regression is None),
        ("evaluate.max_regression=0.01", lambda c: c.evaluate.max_regression == 0.01),
        ("evaluate.max_regression={like: 0.02}", lambda c: c.evaluate.max_regression == {"like": 0.02}),
        ("evaluate.max_regression.like=0.02", lambda c: c.evaluate.max_regression == {"like": 0.02}),
        ("data.path=../elsewhere", lambda c: c.data.path == "../elsewhere"),
        ("validate.required_days=false", lambda c: c.validate_.required_days is False),
        ("dataset.features.user_id.dim=8", lambda c: c.dataset.features["user_id"].dim == 8),
        ("dataset.features.city=id", lambda c: c.dataset.features["city"] == Id()),
        ("dataset.features.city=null", lambda c: "city" not in c.dataset.features),
        ("dataset.tasks.like.weight=2", lambda c: c.dataset.tasks["like"].weight == 2),
        ("data.synthesize={days: 3}", lambda c: str(c.dataset.split.test[0]) == "2026-01-07"),
    ],
)
def test_the_command_line_sets_any_key(override: str, read: Callable[[RunConfig], bool] | None, write: Write) -> None:
    if read is None:
        with pytest.raises(ConfigError, match="train: unknown key 'learning'"):
            load(write(), [override])
    else:
        assert read(load(write(), [override]))


def test_later_settings_win(write: Write) -> None:
    assert load(write(), ["train.epochs=4", "train.epochs=5"]).train.epochs == 5


@pytest.mark.parametrize("override", ["model=ple", "model.preset=ple", "model={preset: ple}"])
def test_another_preset_keeps_the_settings_that_it_knows(override: str) -> None:
    model = load(CONFIGS / "kuairand.yaml", [override]).model
    assert (model.preset, model.trunk.kind, model.head.kind) == ("ple", "ple", "independent")
    assert (model.trunk.units, model.trunk.dropout) == ((128, 64), 0.4)
    assert (model.embedding_dim, model.input_dropout) == (16, 0.4)


@pytest.mark.parametrize("preset", [*PRESETS, *ALIASES])
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_preset_goes_with_every_shipped_file_and_every_saved_one(path: Path, preset: str, tmp_path: Path) -> None:
    before, same = load(path), ModelConfig.model_validate(preset)
    if same.trunk.READS_SEQUENCES and not any(isinstance(f, Sequence) for f in before.dataset.features.values()):
        with pytest.raises(ConfigError, match="no feature of kind sequence"):
            load(path, [f"model={preset}"])
        return
    if same.beside.kind == "position_tower" and before.dataset.position is None:
        with pytest.raises(ConfigError, match="position_tower needs the position of each impression"):
            load(path, [f"model={preset}"])
        return
    chained = any(task.parent is not None for task in before.dataset.tasks.values())
    if isinstance(same.head, ChainHead) and not chained:
        with pytest.raises(ConfigError, match="needs a task with `parent`"):
            load(path, [f"model={preset}"])
        return
    if same.head.kind == "dlen" and all(task.kind == "regression" for task in before.dataset.tasks.values()):
        with pytest.raises(ConfigError, match="dlen needs a binary task"):
            load(path, [f"model={preset}"])
        return
    before, model = before.model, load(path, [f"model={preset}"]).model
    assert (model.trunk.kind, model.head.kind) == (same.trunk.kind, same.head.kind)
    assert (model.embedding_dim, model.trunk.units, model.head.tower_units) == (
        before.embedding_dim,
        before.trunk.units,
        before.head.tower_units,
    )
    saved = tmp_path / "saved.yaml"
    saved.write_text(dump(load(path)))
    assert load(saved, [f"model={preset}"]).model.trunk == model.trunk


def test_demo_keeps_its_towers_and_loses_its_experts_on_the_way_to_ple(write: Write) -> None:
    model = load(CONFIGS / "demo.yaml", ["model=ple"]).model
    assert model == ModelConfig.model_validate(
        {
            "preset": "ple",
            "embedding_dim": 8,
            "trunk": {"kind": "ple", "units": [64, 32]},
            "head": {"kind": "independent", "tower_units": [32]},
        }
    )
    with pytest.raises(ConfigError, match=r"model\.trunk: unknown key 'unitz'"):
        load(write(model={"trunk": {"unitz": [3]}}), ["model=ple"])


@pytest.mark.parametrize("override", ["model.trunk=ple", "model.trunk.kind=ple", "model={trunk: ple}"])
def test_a_part_keeps_the_settings_that_its_new_kind_knows(override: str) -> None:
    model = load(CONFIGS / "demo.yaml", [override]).model
    assert model.trunk == PleTrunk(units=(64, 32))
    assert (model.preset, model.head) == ("ple_dlen", load(CONFIGS / "demo.yaml").model.head)
    assert load(CONFIGS / "demo.yaml", ["model.head=independent"]).model.head.tower_units == (32,)
    sized = load(CONFIGS / "demo.yaml", ["model.trunk={kind: ple, layers: 3}"]).model.trunk
    assert sized == PleTrunk(units=(64, 32), layers=3)


def test_a_preset_brings_its_interactions_and_what_is_set_afterwards_stays() -> None:
    file, crossed = CONFIGS / "demo.yaml", "model.interactions={kind: dcn_v2, layers: 3}"
    assert load(file, [crossed]).model.preset is None
    assert load(file, [crossed, "model=mmoe"]).model.preset == "mmoe"
    assert load(file, [crossed, "model=mmoe_dcn_v2"]).model.interactions == DcnV2Interactions(layers=3)
    after = load(file, ["model=ple", crossed]).model
    assert (after.trunk.kind, after.interactions) == ("ple", DcnV2Interactions(layers=3))


def test_a_part_of_another_kind_beside_a_preset_wins() -> None:
    model = load(CONFIGS / "demo.yaml", ["model={preset: ple, trunk: {kind: mmoe, experts: 2}}"]).model
    assert model.trunk == MmoeTrunk(units=(64, 32), experts=2)


def test_a_dataset_extends_the_catalog(write: Write) -> None:
    tasks = {"like": {"weight": 3.0}, "share": None}
    config = load(write(dataset={"extends": "synthetic", "name": "mine", "tasks": tasks, "features": {"city": "id"}}))
    whole = load(write())
    assert config.dataset.name == "mine"
    assert config.dataset.tasks["like"].label == whole.dataset.tasks["like"].label
    assert set(whole.dataset.tasks) - set(config.dataset.tasks) == {"share"}
    assert config.dataset.features["city"] == Id()
    assert config.dataset.source == whole.dataset.source


def test_a_counters_columns_can_be_laid_over(write: Write) -> None:
    own = yaml.safe_load((CONFIGS / "own_log.yaml").read_text())
    counter = {"by": "item_id", "days": 2, "columns": {"item_shown": "count"}}
    own["dataset"]["counters"] = {"week": counter}
    changed = load(write(**own), ["dataset.counters.week.by=[user_id, item_id]"]).dataset.counters["week"]
    assert (changed.keys, changed.days, set(changed.columns)) == (("user_id", "item_id"), 2, {"item_shown"})
    with pytest.raises(ConfigError, match="did you mean 'item_id'"):
        load(write(**own), ["dataset.counters.week.by=item_idd"])


def test_shorthands_can_be_laid_over(write: Write) -> None:
    own = yaml.safe_load((CONFIGS / "own_log.yaml").read_text())
    sets = ["dataset.features.user_id.dim=8", "dataset.time.unit=s", "dataset.tasks.like.weight=2"]
    dataset = load(write(**own), [*sets, "dataset.columns.age.minimum=0"]).dataset
    assert dataset.features["user_id"] == Id(dim=8)
    assert dataset.time is not None
    assert (dataset.time.column, dataset.time.unit) == ("time_ms", "s")
    assert (dataset.tasks["like"].label, dataset.tasks["like"].weight) == ("liked", 2)
    assert (dataset.columns["age"].type, dataset.columns["age"].minimum) == ("float32", 0)


def test_the_bare_kinds_of_a_model_can_be_laid_over(write: Write) -> None:
    file = write(model={"trunk": "ple", "head": "dlen", "numbers": "piecewise_linear"})
    sets = ["model.trunk.units=[32]", "model.head.tower_units=[16]", "model.numbers.bins=8"]
    model = load(file, sets).model
    assert model.trunk == PleTrunk(units=(32,))
    assert model.head == DlenHead(tower_units=(16,))
    assert model.numbers == PiecewiseLinearNumbers(bins=8)
    assert model.preset == "ple_dlen"


def test_optimizers_can_be_laid_over(write: Write) -> None:
    sets = ["train.dense_optimizer.learning_rate=0.5", "train.embedding_optimizer.learning_rate=0.25"]
    train = load(write(), sets).train
    assert (train.dense_optimizer, train.embedding_optimizer) == (
        AdamOptimizer(learning_rate=0.5),
        AdagradOptimizer(learning_rate=0.25),
    )
    others = {"dense_optimizer": "adagrad", "embedding_optimizer": "lazy_adam"}
    train = load(write(train=others), sets).train
    assert train.dense_optimizer == AdagradOptimizer(learning_rate=0.5)
    assert train.embedding_optimizer == LazyAdamOptimizer(learning_rate=0.25)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trian.epochs=3"], "unknown key 'trian'; did you mean 'train'? keys: name, output, artifacts, dataset"),
        (["data.budget.max_sahre=1"], "data.budget: unknown key 'max_sahre'; did you mean 'max_share'?"),
        (["dataset.features.user_id.dimm=3"], "dataset.features.user_id: unknown key 'dimm'; did you mean 'dim'?"),
        (["dataset.features.user_id.kind=ids"], "dataset.features.user_id: unknown kind 'ids'; did you mean 'id'?"),
        (["dataset.tables.users.onn=x"], "dataset.tables.users: unknown key 'onn'; did you mean 'on'?"),
        (["model.trunk=mmoo"], "model.trunk: unknown kind 'mmoo'; did you mean 'mmoe'?"),
        (["dataset=synthetc"], "unknown dataset 'synthetc'; did you mean 'synthetic'?"),
        (["dataset.tasks.like.label=nope"], "dataset: task 'like' names label 'nope'"),
        (["train.epochs=many"], "train.epochs: Input should be a valid integer"),
        (["data.budget.max_share=2"], "data.budget.max_share: Input should be less than or equal to 1; got 2"),
        (["name=../x"], "name: String should match pattern"),
        (
            ["evaluate.thresholds.click.auc=0.6"],
            "evaluate.thresholds.click.auc: a mapping is needed; got 0.6; its keys: minimum, maximum",
        ),
        (["evaluate.max_regression.clik=0.1"], "evaluate.max_regression: unknown task 'clik'; did you mean 'click'?"),
        (
            ["evaluate.max_regression.like=2"],
            "evaluate.max_regression.like: Input should be less than or equal to 1; got 2",
        ),
        (["evaluate.thresholds.clik.auc.minimum=1"], "evaluate.thresholds: unknown task 'clik'; did you mean 'click'?"),
        (["evaluate.thresholds.click.acu.minimum=1"], "unknown metric 'acu'; did you mean 'auc'?"),
        (
            ["dataset.tasks.click.metrics=[log_loss]", "evaluate.thresholds.click.gauc.minimum=1"],
            "unknown metric 'gauc'",
        ),
        (["evaluate.thresholds.click.auc={}"], "a bound needs `minimum`, `maximum` or both"),
        (["validate.ignore_drift=[aeg]"], "validate.ignore_drift: unknown column 'aeg'; did you mean 'age'?"),
        (["validate.ignore_drift=[item_id]"], "no drift is measured of column 'item_id'; allowed: category, "),
        (["evaluate.slices=[devise]"], "evaluate.slices: unknown column 'devise'; did you mean 'device'?"),
        (["evaluate.slices=[liked]"], "column 'liked' is an outcome, which examples do not keep; allowed: "),
        (["evaluate.slices=[tags]"], "column 'tags' is a list; allowed: "),
        (
            ["model.beside=position_tower", "dataset={extends: synthetic, position: null}"],
            "model.beside: position_tower needs the position of each impression; dataset 'synthetic' names no column",
        ),
        (
            ["model=mmoe_position", "model.beside.context=[device, tags]"],
            "model.beside: position_tower names 'tags' as context, which is a list; allowed: user_id, item_id",
        ),
        (
            ["model=mmoe_position", "model.beside.context=[page]"],
            "'page' as context, which is no feature; allowed: user_id",
        ),
        (
            ["model=dlen", "dataset.downsample={keep: 0.1, unless: [click], correct: probability}"],
            "downsample: `correct: probability` cannot correct task 'like' where rows are left out by 'click'",
        ),
        (
            [
                "model=dlen",
                "dataset.downsample={keep: 0.1, unless: [click], correct: probability}",
                *(f"dataset.tasks.{name}=null" for name in ("like", "comment", "share", "follow")),
            ],
            "model.head: dlen composes probabilities over a latent state, UP",
        ),
        (["model=dlen", "model.head.ratios={clik: 0.1}"], "unknown binary task 'clik'; did you mean 'click'?"),
        (
            ["model=esmm", "dataset.tasks.conversion.parent=null"],
            "model.head: esmm needs a task with `parent`, the task that must be positive first; none has one; tasks: click, ",
        ),
        (
            ["model=aitm", "dataset.tasks.click={label: clicked, kind: regression}"],
            "aitm needs binary tasks along a chain; 'click' of 'conversion' with parent 'click' is a regression",
        ),
        *(
            (
                [f"model={preset}", "dataset.columns.seen=int64", "dataset.tasks.conversion.mask=seen"],
                f"model.head: {preset} learns task 'conversion' over the rows of its parent 'click', and their masks differ: got "
                "'seen' and none; allowed: the same one",
            )
            for preset in ("esmm", "escm2")
        ),
        *(
            (
                [f"model={preset}", "dataset.tasks.click.loss=focal"],
                f"model.head: {preset} multiplies probabilities along a chain, and those that focal or label_smoothing train are no",
            )
            for preset in ("esmm", "escm2")
        ),
        (
            ["model=esmm", "dataset.tasks.conversion.loss={kind: focal, gamma: 1}"],
            'task \'conversion\' has loss {"label_smoothing":0.0,"kind":"focal","gamma":1.0,"alpha":null}; allowed: log_loss',
        ),
        (
            ["model=escm2", "dataset.tasks.conversion.loss={kind: log_loss, label_smoothing: 0.1}"],
            'task \'conversion\' has loss {"label_smoothing":0.1,"kind":"log_loss"}; allowed: log_loss without label_smoothing',
        ),
        (
            ["model=aitm", "dataset.tasks.click.loss={kind: log_loss, label_smoothing: 0.1}"],
            'task \'conversion\' has loss {"label_smoothing":0.0,"kind":"log_loss"} and its parent \'click\' {"label_smoothing":0.1,'
            '"kind":"log_loss"}; allowed: the same loss for both, or calibrator_weight: 0',
        ),
        (
            ["train.decay_task_weights=step"],
            "train.decay_task_weights: step, and every task has weight_gamma 1, which decays nothing; allowed: a weight_gamma",
        ),
        (
            ["train.decay_task_weights=step", "dataset.tasks.like.weight_gamma=1.01"],
            "above 1 grows a task's weight beyond all numbers; 'like' has 1.01; allowed: at most 1, or decay_task_weights",
        ),
        (
            ["train.schedule={kind: exponential, every: {steps: 0}}"],
            "\n  train.schedule.every: a length of 0; allowed: more",
        ),
        (["train.schedule={kind: cosine, over: {steps: 0}}"], "\n  train.schedule.over: a length of 0; allowed: more"),
        (
            ["model=ple", "model.trunk.layers=many"],
            "\n  model.trunk.layers: allowed: a number >= 1, or a list of {units, shared_experts, task_experts}; got 'many'",
        ),
        (["train.dense_optimizer.learning_rate=.inf"], "learning_rate: Input should be a finite number; got inf"),
        (["model.embedding_l2=.inf"], "model.embedding_l2: Input should be a finite number; got inf"),
        (["dataset.tasks.like.weight=.inf"], "dataset.tasks.like.weight: Input should be a finite number; got inf"),
        (
            ["model.gate={kind: dselect_k, entropy: .inf}"],
            "model.gate.entropy: Input should be a finite number; got inf",
        ),
        (["model.trunk.experts=true"], "model.trunk: experts: true and false are no numbers; allowed: a number"),
        (["train.clip_norm=false"], "train: clip_norm: true and false are no numbers; allowed: a number"),
        (["model.trunk.units=[64, true]"], "model.trunk: units: true and false are no numbers; allowed: a number"),
        (
            ["evaluate.max_regression=true"],
            "evaluate: max_regression: true and false are no numbers; allowed: a number",
        ),
        (
            ["evaluate.max_regression={click: true}"],
            "evaluate: max_regression: true and false are no numbers; allowed: a number",
        ),
        (["check_serving.rows=1025"], "check_serving.rows: Input should be less than or equal to 1024"),
        (
            ["model=mose", "dataset.features.recent_clicks=null"],
            "mose reads sequences token by token, and 'synthetic' has no feature of kind sequence; allowed: another",
        ),
        (["model.numbers=piecewise_linear", "dataset.features.age.scaling=none"], "'age' has `scaling"),
        (["evaluate.up_interactions=[clicks]"], "unknown task 'clicks'; did you mean 'click'?"),
        (["engine=dask"], "engine: unknown kind 'dask'; kinds: local, prism, flink, spark, dataflow"),
        (["engine.flink_master=jobs:8081"], "unknown key 'flink_master'; keys: options, kind"),
        (["data.synthesize.row=5"], "unknown key 'row'; did you mean 'rows'?"),
        (["train.epochs.x=3"], "train.epochs holds 10, which has no keys"),
        (["evaluate.slices.x=3"], "evaluate.slices holds [], which is a list and has no keys"),
        (["model.numbers.bins=8"], "model.numbers: no kind; kinds: identity, piecewise_linear, periodic"),
        (
            ["model.gate.k=2"],
            "model.gate: no kind; kinds: softmax, top_k, dselect_k; set `kind`, too: k may stand beside top_k, d",
        ),
        (
            ["dataset.features.usr_id.dim=8"],
            "id, categorical, bag, sequence, bucketized, clock, cross; did you mean 'user_id'?",
        ),
        (
            ["dataset.features.usr_id=id"],
            "'usr_id', which does not exist; did you mean 'user_id'? columns: activity, age",
        ),
        (
            ["train.learning_rate=1"],
            "as train.dense_optimizer.learning_rate and train.embedding_optimizer.learning_rate",
        ),
        (["data.seed=1"], "; 'seed' is known as data.synthesize.seed"),
        (["epochs=1"], "; 'epochs' is known as train.epochs"),
        (["dim=1"], "; 'dim' is known as dataset.features.NAME.dim"),
        (["dataset.tasks.like.parent=like"], "task 'like' is its own parent; allowed: no parent, or another task: cl"),
        (["train.epochs"], "--set wants KEY=VALUE"),
        (["=3"], "--set wants KEY=VALUE"),
        (["train.epochs=[1"], "the value is no valid YAML"),
    ],
)
def test_mistakes_are_named_with_their_place(overrides: list[str], said: str, write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(), overrides)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "last"),
    [
        (  # not the place that was asked about, which has the key in other kinds
            ["train.embedding_optimizer=lazy_adam", "train.embedding_optimizer.initial_accumulator=1"],
            "unknown key 'initial_accumulator'; keys: kind, learning_rate, beta_1, beta_2, epsilon",
        ),
        (  # not that the lists are empty, which they are only without what is wrong
            ["model=ple", "model.trunk.layers=[{units: [0]}]"],
            "model.trunk.layers.0.units.0: Input should be greater than 0; got 0",
        ),
        (
            ["model=ple", "model.trunk.layers=[]"],
            "layers: Tuple should have at least 1 item after validation, not 0; got []",
        ),
    ],
)
def test_nothing_false_follows_a_mistake(overrides: list[str], last: str, write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(), overrides)
    assert str(caught.value).endswith(last)


def test_interactions_of_one_embedding_are_refused(write: Write) -> None:
    ids = [name for name, feature in load(write()).dataset.features.items() if isinstance(feature, Embedded)]
    fewer = [f"dataset.features.{name}=null" for name in ids if name != "user_id"]
    with pytest.raises(ConfigError, match="embedding: user_id beside numbers; allowed: two or more"):
        load(write(), [*fewer, "model.interactions=fm"])


def test_the_override_or_the_file_that_has_the_mistake_is_named(write: Write, tmp_path: Path) -> None:
    def said(path: Path, *overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(path, overrides)
        return str(caught.value).partition(":\n")[0]

    right, wrong = write(), tmp_path / "wrong.yaml"
    assert said(right, "model=ple", "train.epochs=x") == "--set train.epochs=x"
    assert said(right, "train.epochs=x", "train.seed=x") == "--set train.epochs=x --set train.seed=x"
    wrong.write_text("name: x\ndataset: synthetic\ntrain: {epochs: x}\n")
    assert said(wrong) == said(wrong, "model=ple") == str(wrong)


def test_a_mistake_among_many_overrides_is_found_at_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    validate = RunConfig.model_validate
    monkeypatch.setattr(RunConfig, "model_validate", lambda data: tried.append(data) or validate(data))
    right = [f"train.seed={number}" for number in range(40)]
    with pytest.raises(ConfigError, match=r"\A--set train.epochs=x:"):
        load(write(), [*right, "train.epochs=x"])
    assert len(tried) <= 41 + 2  # once without each, without all, and with all


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "key 'name' of line 1 again"),
        ("- a\n- b\n", "must hold a mapping of sections; got list"),
        ("", "is empty; allowed: a mapping of sections"),
        ("name: [", "is no valid YAML"),
        ("name: x\n", "dataset: Field required"),
    ],
)
def test_broken_files_are_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read configuration .*none\.yaml: No such file"):
        load(tmp_path / "none.yaml")


KEYS = st.lists(
    st.sampled_from(["dataset", "model", "train", "features", "user_id", "trunk", "x", "0"]), min_size=1, max_size=4
)
VALUES = st.sampled_from(["1", "x", "null", "[]", "{}", "[1, {a: b}]", "{kind: id}", "2026-01-01", "", "true", "@"])


@settings(deadline=None, max_examples=150)
@given(KEYS, VALUES)
def test_any_setting_is_taken_or_refused_in_words(keys: list[str], value: str) -> None:
    try:
        load(CONFIGS / "demo.yaml", [f"{'.'.join(keys)}={value}"])
    except ConfigError as error:
        assert str(error)  # noqa: PT017


def keys_of_schema(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each key that a schema allows, and what it says of it."""
    if isinstance(node, dict):
        yield from node.get("properties", {}).items()
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from keys_of_schema(part)


def test_the_schema_describes_every_key() -> None:
    keys = list(keys_of_schema(json.loads(loading.json_schema())))
    assert {"warm_start", "max_drift", "validate", "extends", "label"} <= {key for key, _ in keys}
    assert [key for key, schema in keys if key != "kind" and not schema.get("description")] == []
    assert dict(keys)["max_share"]["description"] == "Of all rows read."


def complaints(content: dict[str, Any]) -> list[str]:
    """What an editor would mark red."""
    validator = jsonschema.Draft202012Validator(json.loads(loading.json_schema()))
    return [error.message for error in validator.iter_errors(json.loads(json.dumps(content, default=str)))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_editors_accept_what_is_shipped_and_what_is_saved(path: Path) -> None:
    assert complaints(yaml.safe_load(path.read_text())) == []
    assert complaints(yaml.safe_load(dump(load(path)))) == []


@pytest.mark.parametrize(
    "content",
    [
        {"dataset": {"extends": "synthetic", "tasks": {"like": None}}},
        {"model": "ple_dlen"},
        {"model": {"trunk": "ple", "head": "dlen"}},
        {"train": {"dense_optimizer": "adagrad"}},
        {"validate": {"max_drift": 0.5}},
        {"engine": "flink"},
        {"engine": {"kind": "prism", "job_endpoint": "localhost:8073", "options": {"job_server_timeout": 60}}},
    ],
)
def test_editors_accept_shorthands(content: dict[str, Any], write: Write) -> None:
    assert complaints({"name": "x", "dataset": "synthetic"} | content) == []
    assert load(write(**content))


@pytest.mark.parametrize(
    "content",
    [{"trian": {}}, {"dataset": "nope"}, {"train": {"epochs": "x"}}, {"dataset": {"name": "x"}}, {"model": "x"}],
)
def test_editors_refuse_mistakes(content: dict[str, Any]) -> None:
    assert complaints({"name": "x", "dataset": "synthetic"} | content)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=aitm", "dataset.columns.seen=int64", "dataset.tasks.conversion.mask=seen"],
        [
            "model=esmm",
            *(f"dataset.tasks.{task}.mask=seen" for task in ("click", "conversion")),
            "dataset.columns.seen=int64",
        ],
        *([f"model={preset}", "dataset.tasks.like.loss=focal"] for preset in ("esmm", "aitm", "escm2")),
        ["model=aitm", "dataset.tasks.click.loss=focal", "dataset.tasks.conversion.loss=focal"],
        ["model=aitm", "model.head.calibrator_weight=0", "dataset.tasks.conversion.loss=focal"],
        ["train.decay_task_weights=step", "dataset.tasks.like.weight_gamma=0.99"],
        ["dataset.tasks.like.weight_gamma=1.01"],
    ],
)
def test_their_neighbours_that_make_sense_are_taken(overrides: list[str], write: Write) -> None:
    load(write(), overrides)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ({"label": "clicked", "metrics": ["log_loss"]}, "auc"),
        ({"label": "clicked", "metrics": ["log_loss"]}, "log_loss"),
        ({"label": "age", "kind": "regression", "metrics": ["mae"]}, "mse"),
    ],
)
def test_a_threshold_goes_with_every_metric_that_is_computed(task: dict[str, Any], metric: str, write: Write) -> None:
    dataset = {"extends": "synthetic", "tasks": {"mine": task}, "features": {"age": None}}
    config = load(write(dataset=dataset, evaluate={"thresholds": {"mine": {metric: {"maximum": 1}}}}))
    assert list(config.evaluate.thresholds["mine"]) == [metric]


def test_null_takes_a_threshold_away() -> None:
    demo = Path(loading.__file__).parent / "configs" / "demo.yaml"
    assert loading.load(demo, ["evaluate.thresholds.click=null"]).evaluate.thresholds == {}
    left = loading.load(demo, ["evaluate.thresholds.click.auc=null"]).evaluate.thresholds
    assert list(left["click"]) == ["calibration"]
