import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from facever.config.reading import load_config
from facever.config.training import TrainConfig
from facever.errors import ConfigError, FileError, ParameterError

MINIMAL = {"data": {"crops": "crops"}}
HEADS = {
    "heads": [{"name": "softmax"}, {"name": "ie", "weight": 0.05, "nearest": 0.2}],
    "schedule": {"steps": 100, "drops": [40, 80]},
}


def load(
    tmp_path: Path, content: Any = None, overrides: list[str] | None = None
) -> TrainConfig:
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | (content or {})))
    return load_config(TrainConfig, path, overrides)


def refused(tmp_path: Path, content: Any, overrides: list[str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_the_papers(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.data.crops == Path("crops")
    assert [head.name for head in config.heads] == ["softmax"]
    assert (config.network.name, config.batch_size) == ("resnet27", 256)
    assert (config.schedule.steps, config.schedule.drops) == (28_000, (16_000, 24_000))
    sgd = config.optimiser
    assert (sgd.learning_rate, sgd.momentum, sgd.weight_decay) == (0.1, 0.9, 5e-4)


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("batch_size=64", lambda c: c.batch_size, 64),
        ("schedule.factor=0.5", lambda c: c.schedule.factor, 0.5),
        # YAML 1.1 takes 5e-4, without a dot, for text: it must work all the same.
        ("optimiser.weight_decay=5e-4", lambda c: c.optimiser.weight_decay, 5e-4),
        ("augmentation.mirror=false", lambda c: c.augmentation.mirror, False),
        ("schedule.drops=[1, 2, 3]", lambda c: c.schedule.drops, (1, 2, 3)),
        ("schedule.drops.1=90", lambda c: c.schedule.drops, (40, 90)),
        ("heads.1.weight=0.5", lambda c: c.heads[1].weight, 0.5),
        ("heads.1.alpha=0.3", lambda c: c.heads[1].model_extra["alpha"], 0.3),
        ("heads=[{name: center}]", lambda c: c.heads[0].name, "center"),
        ("network.width=0.25", lambda c: c.network.model_extra["width"], 0.25),
        ("data.name=a=b", lambda c: c.data.name, "a=b"),
        ("data.name='12'", lambda c: c.data.name, "12"),
        ("data.num_classes=null", lambda c: c.data.num_classes, None),
        ("out=runs/new", lambda c: c.out, Path("runs/new")),
    ],
)
def test_an_override_sets_one_value(
    tmp_path: Path, override: str, read: Any, expected: Any
) -> None:
    before = load(tmp_path, HEADS)
    after = load(tmp_path, HEADS, [override])
    assert read(after) == expected
    # What is not named stays.
    key = override.partition("=")[0].partition(".")[0]
    assert before.model_dump(exclude={key}) == after.model_dump(exclude={key})


def test_overrides_are_applied_in_order_and_make_missing_sections(
    tmp_path: Path,
) -> None:
    config = load_config(TrainConfig, None, ["data.crops=a", "seed=1", "seed=2"])
    assert (config.data.crops, config.seed) == (Path("a"), 2)


@pytest.mark.parametrize(
    ("content", "override", "valid"),
    [
        ({"bach_size": 3}, [], ["batch_size", "optimiser", "out"]),
        ({"optimiser": {"lr": 0.1}}, [], ["learning_rate", "momentum", "nesterov"]),
        ({}, ["schedule.epochs=3"], ["steps", "shape", "drops", "warmup", "factor"]),
        ({}, ["data.path=x"], ["crops", "num_classes", "validation_identities"]),
    ],
)
def test_an_unknown_key_lists_the_valid_ones(
    tmp_path: Path, content: Any, override: list[str], valid: list[str]
) -> None:
    if override:
        key = override[0].partition("=")[0]
    elif isinstance(next(iter(content.values())), dict):
        key = "optimiser.lr"
    else:
        key = "bach_size"
    message = refused(tmp_path, content, override)
    assert f"unknown key {key};" in message
    listed = message.partition("valid keys there: ")[2].split(", ")
    assert set(valid) <= set(listed)
    assert str(tmp_path / "train.yaml") in message


@pytest.mark.parametrize(
    ("content", "place", "got"),
    [
        ({"batch_size": 1}, "batch_size", "got 1"),
        ({"batch_size": "many"}, "batch_size", "got 'many'"),
        ({"optimiser": {"momentum": 1.0}}, "optimiser.momentum", "got 1.0"),
        ({"optimiser": {"learning_rate": -0.1}}, "optimiser.learning_rate", "got -0.1"),
        ({"augmentation": {"blur": 2}}, "augmentation.blur", "got 2"),
        ({"schedule": {"shape": "step"}}, "schedule.shape", "got 'step'"),
        ({"schedule": {"drops": [1, "x"]}}, "schedule.drops.1", "got 'x'"),
        ({"heads": [{"name": "ie", "weight": -1}]}, "heads.0.weight", "got -1"),
        ({"heads": ["softmax"]}, "heads.0", "got 'softmax'"),
        ({"heads": 3}, "heads", "got 3"),
        ({"optimiser": None}, "optimiser", "got None"),
        ({"data": {"crops": "c", "num_classes": 1}}, "data.num_classes", "got 1"),
        ({"schedule": {"factor": float("inf")}}, "schedule.factor", "got inf"),
        ({"seed": 2**63}, "seed", f"got {2**63}"),
        ({"optimiser": {"momentum": 0, "nesterov": True}}, "optimiser", "got 0"),
        ({"frozen": "trunk"}, "frozen", "must be a list, [...], got 'trunk'"),
    ],
)
def test_a_wrong_value_names_its_place_and_itself(
    tmp_path: Path, content: Any, place: str, got: str
) -> None:
    message = refused(tmp_path, content)
    assert f"train.yaml: {place}: " in message
    assert message.endswith(got)


@pytest.mark.parametrize(
    ("content", "limit"),
    [
        ({"batch_size": 1}, "2"),
        ({"optimiser": {"momentum": 1.0}}, "less than 1"),
        ({"heads": [{"name": "ie", "weight": 0}]}, "heads: at least one head needs"),
        (
            {"schedule": {"shape": "step"}},
            "'drops', 'cosine', 'inverse', 'one_cycle' or 'plateau'",
        ),
    ],
)
def test_a_wrong_value_is_told_the_limit(
    tmp_path: Path, content: Any, limit: str
) -> None:
    assert limit in refused(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "place"),
    [({"data": {"name": "x"}}, "data.crops"), ({"heads": [{}]}, "heads.0.name")],
)
def test_a_missing_value_is_named(tmp_path: Path, content: Any, place: str) -> None:
    assert refused(tmp_path, content).endswith(f"{place} is missing")


def test_without_a_file_the_place_is_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^config: data is missing$"):
        load_config(TrainConfig, None)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("batch_size", "an override is key=value, got 'batch_size'"),
        ("=3", "an override is key=value, got '=3'"),
        ("", "an override is key=value, got ''"),
        ("seed=[1", "the value is not YAML"),
        ("seed=2001-99-99", "the value is not YAML"),
        ("heads.2.margin=0.3", "'2' must be an index in [0, 2)"),
        ("heads.-1.margin=0.3", "'-1' must be an index in [0, 2)"),
        ("heads.first.margin=0.3", "'first' must be an index in [0, 2)"),
        ("heads.².margin=0.3", "'²' must be an index in [0, 2)"),
        ("schedule.drops.2=1", "'2' must be an index in [0, 2)"),
        ("schedule.drops.0.x=1", "'0' holds no further keys"),
        ("schedule.steps.x=1", "'steps' holds no further keys"),
        ("heads.0.name.x=1", "'name' holds no further keys"),
        ("heads.0.name.x.y=1", "'name' holds no further keys"),
    ],
)
def test_a_wrong_override_is_quoted_with_its_reason(
    tmp_path: Path, override: str, reason: str
) -> None:
    message = refused(tmp_path, HEADS, [override])
    assert reason in message
    assert repr(override) in message


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_a_missing_file_is_an_error_of_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(FileError, match="cannot read config") as caught:
        load_config(TrainConfig, path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"heads: [softmax\nseed: 1", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"a: !!python/object/apply:os.getcwd []", "is not YAML"),
        (b"- 1\n- 2", "must hold keys and values"),
        (b"just text", "must hold keys and values"),
        (b"1: 2\ndata: {crops: c}", "1"),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "train.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
        load_config(TrainConfig, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("# nothing yet\n")
    assert load_config(TrainConfig, path, ["data.crops=crops"]) == load(tmp_path)


def test_a_config_written_out_reads_back_the_same(tmp_path: Path) -> None:
    config = load(tmp_path, HEADS, ["network.width=0.5"])
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(TrainConfig, path) == config


def test_config_errors_are_parameter_errors() -> None:
    assert issubclass(ConfigError, ParameterError)


CONFIGS = Path(__file__).parents[1] / "configs" / "train"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_that_ships_is_valid(path: Path) -> None:
    from facever import build

    config = load_config(TrainConfig, path)
    # Only a head is made whole: networks of full width take a second each.
    options = build.network_options(config.network)
    teacher_size = None if config.teacher is None else 5
    head = build.make_head(
        config.heads, embedding_size=4, num_classes=3, teacher_size=teacher_size
    )
    with torch.device("meta"):
        network = build.make_network(config.network)
    assert network.embedding_size == options.get("embedding_size", 512)
    optimiser = build.make_optimiser(config, network, head)
    assert optimiser.param_groups[0]["lr"] == config.optimiser.learning_rate
    schedule = build.make_schedule(config)
    assert all(0 < step < schedule.steps for step in config.milestones)
    build.make_augmentation(config)
    # The command at its head is the one that it is run by, and no two share a folder.
    assert f"configs/train/{path.name}" in path.read_text() or "demo" in path.stem
    assert config.out.name == path.stem.removeprefix("demo-")


TABLE_6 = ("softmax", "triplet", "lsoftmax-m4", "center", "ie")


@pytest.mark.parametrize("name", [*TABLE_6, "lsoftmax-m2", "lsoftmax-m3"])
def test_the_recipes_of_table_6_differ_in_the_width_alone(name: str) -> None:
    normal, powerful = (
        load_config(TrainConfig, CONFIGS / f"webface-{name}{end}.yaml").model_dump()
        for end in ("", "-powerful")
    )
    assert normal.pop("network") == {"name": "resnet27"}
    wide = {"name": "resnet27", "width": 2, "narrow_stem": True}
    assert powerful.pop("network") == wide
    assert powerful.pop("out") != normal.pop("out")
    assert normal == powerful
    # The paper's section 4.3 and no other.
    assert (normal["batch_size"], normal["mean"]) == (256, "image")
    assert normal["schedule"]["drops"] == (16_000, 24_000)
