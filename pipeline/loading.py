"""Reads a run's configuration: one base, one small overlay, and what the command line sets. Loads no TensorFlow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

import pydantic
import pydantic_core
import yaml
from pydantic.fields import FieldInfo

from features import catalog
from features.catalog import synthetic
from features.errors import ConfigError
from features.frozen import Frozen, NoKindError, UnknownKeyError, did_you_mean, unknown
from features.sources import OF_CSV
from features.spec import Dataset
from features.synthesis.config import SynthesisConfig
from models.config import ALIASES, MODEL_PARTS, PRESETS, change_kind, change_preset
from pipeline import keys
from pipeline.config import RunConfig

CONFIGS = Path(__file__).parent / "configs"
BASE = CONFIGS / "base.yaml"

_VARIANT_KEYS = ("kind", "preset", "extends")
"""A mapping that chooses another variant replaces the one below it instead of mixing with it; but see `_beneath`."""

_REMOVABLE = ("columns", "features", "tables", "tasks")
"""In these mappings of a dataset, ``name: null`` takes the catalog's entry out."""


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error (plain YAML keeps the last one silently) and `on`, `yes`, ... are text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' of line {seen[key]} again", key_node.start_mark
                )
            seen[key] = line
        return super().construct_mapping(node, deep)

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:
        """Says which text is no date: YAML's own error names neither it nor its line."""
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"'{node.value}' is no date: {error}", node.start_mark
            ) from error


_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _StrictLoader.construct_yaml_timestamp)
_BOOL = "tag:yaml.org,2002:bool"
# YAML 1.2's booleans. Those of 1.1, which PyYAML reads, make True of the key `on` and of the value `yes`.
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(_BOOL, re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration.

    Args:
        path: an overlay over ``pipeline/configs/base.yaml``, or the saved configuration of a run.
        overrides: ``a.b=c`` as given to ``--set``; values are YAML, later ones win. ``model=PRESET`` changes the
            kinds of the model's parts, ``model.PART=KIND`` that of one part; settings stay wherever the new kind has them.

    Raises:
        ConfigError: the file, each wrong key, what was received and what is allowed.
    """
    merged = _merged(path, overrides)
    try:
        return RunConfig.model_validate(merged)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{_at_fault(path, overrides)}:\n  {explain(error, merged, _hint)}") from error


def _merged(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    merged = _overlay(_read(BASE), _read(Path(path)))
    for override in overrides:
        merged = _overlay(merged, _parse_override(override))
    return _extended(merged)


def _at_fault(path: str | Path, overrides: Sequence[str]) -> str:
    """What has the mistake: the file, or else each override without which there is none."""
    if not overrides or not _loads(path, ()):
        return str(path)
    kept = [[*overrides[:place], *overrides[place + 1 :]] for place in range(len(overrides))]
    wrong = [override for override, others in zip(overrides, kept, strict=True) if _loads(path, others)]
    return " ".join(f"--set {override}" for override in wrong or overrides)


def _loads(path: str | Path, overrides: Sequence[str]) -> bool:
    try:
        RunConfig.model_validate(_merged(path, overrides))
    except (ConfigError, pydantic.ValidationError):
        return False
    return True


def _hint(problem: pydantic_core.ErrorDetails, path: keys.Path, data: Any) -> str:
    """What more can be said of a mistake at `path` of a run's configuration."""
    error = problem.get("ctx", {}).get("error")
    if isinstance(error, UnknownKeyError):
        found = {key: places for key in error.keys if (places := keys.elsewhere(key, path))}
        return "".join(f"; '{key}' is known as {' and '.join(places)}" for key, places in found.items())
    if isinstance(error, NoKindError) and path and keys.names_its_own(path[:-1]):
        for key in path[:-1]:
            data = data[key]
        return did_you_mean(path[-1], [name for name in data if name != path[-1]]).rstrip(";")
    if problem["type"] == "model_type" and (allowed := keys.of_class(path)):
        return f"; its keys: {', '.join(allowed)}"
    return ""


def explain(
    error: pydantic.ValidationError,
    data: Any = None,
    hint: Callable[[pydantic_core.ErrorDetails, keys.Path, Any], str] = lambda *_: "",
) -> str:
    """What is wrong and where, a line each.

    Args:
        error: what pydantic found.
        data: what was validated; with it, places are named as in the file, without pydantic's names of variants.
        hint: what more to say, of what pydantic says, its place and `data`.
    """
    problems, found = [], error.errors(include_url=False)
    for problem in found:
        if _follows(problem, found):
            continue
        place = tuple(_place(problem, data))
        what = _what(problem) + hint(problem, place, data)
        problems.append(f"{'.'.join(place)}: {what}" if place else what)
    return "\n  ".join(dict.fromkeys(problems))  # a union of lists says the same of each


def _follows(problem: pydantic_core.ErrorDetails, found: Sequence[pydantic_core.ErrorDetails]) -> bool:
    """Whether a list lacks entries only because pydantic does not count those that are wrong, which are told by themselves."""
    place = problem["loc"]
    inside = (other["loc"] for other in found if len(other["loc"]) > len(place))
    return problem["type"] == "too_short" and any(loc[: len(place)] == place for loc in inside)


def _what(problem: pydantic_core.ErrorDetails) -> str:
    """What was received and what is allowed."""
    if problem["type"] == "union_tag_invalid":
        context = problem["ctx"]
        allowed = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
        return unknown(context["discriminator"].strip("'"), context["tag"], allowed)
    if problem["type"] == "model_type":
        return f"a mapping is needed; got {problem['input']!r}"
    message = problem["msg"].removeprefix("Value error, ")
    says_itself = problem["type"] in ("value_error", "missing") or isinstance(problem["input"], Mapping | Frozen)
    return message if says_itself else f"{message}; got {problem['input']!r}"


def _place(problem: pydantic_core.ErrorDetails, data: Any) -> Iterator[str]:
    """The keys on the way to a problem, without pydantic's names of a union's variants."""
    last = len(problem["loc"]) - 1
    for depth, part in enumerate(problem["loc"]):
        if depth < last and _is_tag(part, data):
            continue
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        inside = in_list or (isinstance(data, Mapping) and part in data)
        is_missing_key = problem["type"] == "missing" and depth == last
        if inside:
            data = data[part]
        if inside or data is None or is_missing_key:
            yield str(part)


def _is_tag(part: int | str, data: Any) -> bool:
    """Whether what looks like a key of `data` names its variant: ``column``, of ``{by: column, column: part}``. Nothing lies below such a key."""
    return (
        isinstance(data, Mapping) and part in data.values() and not isinstance(data.get(part), Mapping | list | tuple)
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {error}") from error
    if content is None:
        raise ConfigError(f"{path} is empty; allowed: a mapping of sections")
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping of sections; got {type(content).__name__}")
    return content


def _parse_override(text: str) -> dict[str, Any]:
    """``a.b=c`` as ``{a: {b: c}}``."""
    path, equals, value = text.partition("=")
    place = path.strip().split(".")
    if not equals or not all(place):
        raise ConfigError(f"--set wants KEY=VALUE, such as train.epochs=3 or dataset.features.x.dim=8; got '{text}'")
    try:
        nested = yaml.load(value, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is no valid YAML: {error}") from error
    for key in reversed(place):
        nested = {key: nested}
    return nested


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """`above` laid over `below`: mappings mix, key by key; anything else replaces."""
    merged = dict(below)
    for key, value in above.items():
        here = (*path, str(key))
        over = _written_out(value, here)
        if isinstance(over, Mapping):
            merged[key] = _overlay(_beneath(_as_mapping(merged.get(key), here), over, here), over, here)
        else:
            merged[key] = value
    return merged


def _written_out(value: Any, path: tuple[str, ...]) -> Any:
    """The name of a preset, or of a part's kind, as a mapping that can lie over the settings below."""
    if isinstance(value, str) and path == ("model",):
        return {"preset": value}
    return {"kind": value} if isinstance(value, str) and _is_part(path) else value


def _is_part(path: tuple[str, ...]) -> bool:
    """Whether a part of the model stands at `path`, as ``model.trunk``."""
    return len(path) == 2 and path[0] == "model" and path[1] in MODEL_PARTS


def _beneath(below: Mapping[str, Any], above: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    """What of `below` stays under `above`: another preset or kind of a part keeps what it knows, any other variant nothing."""
    if path[-1:] == ("source",) and above.get("format", "csv") != "csv":
        below = {key: value for key, value in below.items() if key not in (*OF_CSV, "encoding")}
    preset = above.get("preset")
    if path == ("model",) and isinstance(preset, str) and preset in (*PRESETS, *ALIASES):
        return change_preset(below, preset)
    if _is_part(path) and isinstance(kind := above.get("kind"), str):
        return change_kind(path[1], below, kind)
    # Elsewhere, of counters, `by` is a column and no kind.
    variants = (*_VARIANT_KEYS, "by") if path == ("dataset", "split") else _VARIANT_KEYS
    return {} if any(key in above and key in below and above[key] != below[key] for key in variants) else below


def _as_mapping(value: Any, path: tuple[str, ...]) -> Mapping[str, Any]:
    """What a configuration says at `path`, a bare value written out, so that more can be laid over it."""
    if isinstance(value, Mapping):
        return value
    if value is None:
        return {}
    if key := _shorthand(path):
        return {key: value}
    if {dict, float} <= {get_origin(part) or part for part in keys.at(path)}:
        return {}  # one number for all names gives way to numbers by name
    what = (
        "is a list and has no keys; give the whole list"
        if isinstance(value, list)
        else "has no keys; give the whole value"
    )
    raise ConfigError(f"{'.'.join(path)} holds {value!r}, which {what}")


def _shorthand(path: tuple[str, ...]) -> str | None:
    """The key that a bare value at `path` stands for, as the configuration's classes declare it."""
    if path == ("dataset",):
        return "extends"
    names = (
        part.discriminator if isinstance(part, FieldInfo) else getattr(part, "SHORTHAND", None)
        for part in keys.at(path)
    )
    return next((name for name in names if isinstance(name, str)), None)


def _extended(config: dict[str, Any]) -> dict[str, Any]:
    """Puts a catalog's dataset under what the configuration says beside ``extends``."""
    dataset = _as_mapping(config.get("dataset"), ("dataset",))
    if "extends" not in dataset:
        return config
    changes = {key: value for key, value in dataset.items() if key != "extends"}
    entry = _catalog_entry(str(dataset["extends"]), config).model_dump(mode="json")
    merged = _overlay(entry, changes, ("dataset",))
    for names in _REMOVABLE:
        if isinstance(entries := merged[names], Mapping):
            merged[names] = {name: value for name, value in entries.items() if value is not None}
    return {**config, "dataset": merged}


def _catalog_entry(name: str, config: Mapping[str, Any]) -> Dataset:
    """A catalog's dataset; the synthetic one with the days of the log that the run makes."""
    if name not in catalog.names():
        raise ConfigError(unknown("dataset", name, catalog.names()))
    data = config.get("data")
    if name != "synthetic" or not isinstance(data, Mapping) or data.get("synthesize") is None:
        return catalog.load(name)
    return synthetic.dataset_for(_synthesis_config(data["synthesize"]))


def synthesis(overrides: Sequence[str]) -> SynthesisConfig:
    """The settings of a synthetic log, defaults overridden as by ``--set``.

    Raises:
        ConfigError: each wrong key, what was received and what is allowed.
    """
    settings: dict[str, Any] = {}
    for override in overrides:
        settings = _overlay(settings, _parse_override(override))
    return _synthesis_config(settings)


def _synthesis_config(settings: Any) -> SynthesisConfig:
    try:
        return SynthesisConfig.model_validate(settings)
    except pydantic.ValidationError as error:
        raise ConfigError(f"synthetic data: {explain(error, settings)}") from error


def json_schema() -> str:
    """The JSON Schema of a configuration file. Only `name` and `dataset` are required: the base gives the rest."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **RunConfig.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"
