from typing import Any

import numpy as np
import pytest
import torch

from facever import build
from facever.config.parts import HeadConfig, NetworkConfig
from facever.config.training import TrainConfig
from facever.errors import ConfigError, ParameterError
from facever.heads.ie import IncludeExclude
from facever.heads.lsoftmax import LSoftmax
from facever.heads.parts.annealing import Annealing
from facever.heads.parts.sharded_rows import ClassShards
from facever.models.resnet27 import ResNet27
from facever.training.distributed import ALONE, Processes
from facever.training.mixing import Mixing
from facever.training.optimiser import AdamW

CPU = torch.device("cpu")


def config(**options: Any) -> TrainConfig:
    return TrainConfig.model_validate({"data": {"crops": "crops"}} | options)


def head(**options: Any) -> Any:
    joint = build.make_head((HeadConfig(**options),), embedding_size=4, num_classes=3)
    return joint.heads[options["name"]]


def test_the_network_of_a_config() -> None:
    network = build.make_network(NetworkConfig(width=1 / 16, embedding_size=9))
    assert isinstance(network, ResNet27)
    assert network.embedding_size == 9
    assert network.fc5.weight.shape == (9, 20 * 32)


def test_only_the_options_given_go_into_the_header() -> None:
    assert build.network_options(NetworkConfig()) == {}
    assert build.network_options(NetworkConfig(width=1)) == {"width": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet28"}, "unknown network 'resnet28'; known are .*, resnet27"),
        (
            {"depth": 3},
            "network resnet27: unknown key depth; valid keys: width, embedding_size, "
            "narrow_stem, normalised_embedding",
        ),
        ({"width": "wide"}, "network resnet27: width: .*got 'wide'"),
        ({"embedding_size": 1.5}, r"network resnet27: embedding_size: .*got 1\.5"),
        ({"narrow_stem": "perhaps"}, "network resnet27: narrow_stem: .*got 'perhaps'"),
    ],
)
def test_a_wrong_network_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build.make_network(NetworkConfig(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "archface"},
            "unknown head 'archface'; known are anchor_ncm, angular, arcface, center, ",
        ),
        (
            {"name": "arcface", "m": 0.5},
            "head arcface: unknown key m; valid keys: margin, scale, gradient",
        ),
        ({"name": "arcface", "margin": "big"}, "head arcface: margin: .*got 'big'"),
        ({"name": "arcface", "gradient": "no"}, "head arcface: gradient: .*got 'no'"),
        ({"name": "softmax", "bias": 3}, "head softmax: bias: .*got 3"),
        ({"name": "ie", "nearest": "all"}, "head ie: nearest: .*got 'all'"),
        ({"name": "center", "rate": None}, "head center: rate: .*got None"),
        ({"name": "center", "embedding_size": 3}, "unknown key embedding_size"),
        (
            {"name": "distillation"},
            "head distillation learns from a teacher: set teacher",
        ),
        (
            {"name": "lsoftmax", "annealing": {"start": "high"}},
            r"head lsoftmax: annealing\.start: .*got 'high'",
        ),
        (
            {"name": "lsoftmax", "annealing": {"start": 1, "floor": 2}},
            r"head lsoftmax: annealing: start must be >= floor, 2\.0, got 1\.0$",
        ),
    ],
)
def test_a_wrong_head_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        head(**options)


def test_a_value_out_of_range_is_refused_by_the_head() -> None:
    with pytest.raises(ParameterError, match=r"margin must be in .* got 28\.6"):
        head(name="arcface", margin=28.6)


@pytest.mark.parametrize(
    ("given", "expected"),
    # A count stays whole and a share stays a float; YAML reads 2e-1 as text.
    [(1, 1), (1.0, 1.0), (0, 0), (0.2, 0.2), ("2e-1", 0.2)],
)
def test_nearest_keeps_its_kind(given: Any, expected: float) -> None:
    made = head(name="ie", nearest=given)
    assert isinstance(made, IncludeExclude)
    assert made.nearest == expected
    assert type(made.nearest) is type(expected)


@pytest.mark.parametrize(
    ("given", "expected"), [("learned", "learned"), ("batch", "batch"), (0.5, 0.5)]
)
def test_sigma2_is_a_word_or_a_number(given: Any, expected: Any) -> None:
    assert head(name="ie", sigma2=given).sigma2 == expected


def test_annealing_is_a_table_of_the_config() -> None:
    made = head(name="lsoftmax", margin=2, annealing={"gamma": 3.5})
    assert isinstance(made, LSoftmax)
    assert made.annealing == Annealing(gamma=3.5)


def test_mixing_is_what_the_config_says() -> None:
    cpu = torch.device("cpu")
    plain = config(network={"width": 1 / 16})
    assert build.make_computation(plain, cpu).mixing is None
    augmentation = {"mixup": 0.2, "cutmix": 0.3}
    given = config(seed=7, batch_size=6, augmentation=augmentation)
    assert build.make_computation(given, cpu).mixing == Mixing(0.2, 0.3, seed=7)
    assert build.make_augmentation(given) is None
    with pytest.raises(ConfigError, match=r"batch_size must .* even number .* got 3"):
        build.make_computation(given, cpu, Processes(0, 2))


def test_two_heads_join_with_their_weights() -> None:
    configs = (HeadConfig(name="softmax"), HeadConfig(name="ie", weight=0.05))
    joint = build.make_head(configs, embedding_size=4, num_classes=3)
    assert joint.weights == {"softmax": 1.0, "ie": 0.05}
    output = joint(torch.randn(6, 4), torch.arange(6) % 3)
    parts = output.parts
    assert {"softmax", "ie", "ie.sigma2"} == set(parts)
    expected = parts["softmax"] + 0.05 * parts["ie"]
    assert float(output.loss) == pytest.approx(float(expected))


def test_heads_are_needed_and_stand_once() -> None:
    with pytest.raises(ParameterError, match="at least one head"):
        build.make_head((), 4, 3)
    with pytest.raises(ParameterError, match="got ie, ie"):
        build.make_head((HeadConfig(name="ie"),) * 2, 4, 3)


def test_the_optimiser_has_every_parameter_and_the_config_s_numbers() -> None:
    given = config(
        network={"width": 1 / 16},
        heads=[{"name": "softmax"}, {"name": "ie"}],
        optimiser={
            "learning_rate": 0.3,
            "momentum": 0.8,
            "weight_decay": 0.01,
            "nesterov": True,
        },
    )
    network = build.make_network(given.network)
    joint = build.make_head(given.heads, network.embedding_size, 3)
    optimiser = build.make_optimiser(given, network, joint)
    assert isinstance(optimiser, torch.optim.SGD)
    held = sum(len(group["params"]) for group in optimiser.param_groups)
    assert held == len([*network.parameters(), *joint.parameters()])
    assert [group["lr"] for group in optimiser.param_groups] == [0.3, 0.3, 0.3]
    weights, free, centers = (
        tuple(group[key] for key in ("momentum", "nesterov", "weight_decay"))
        for group in optimiser.param_groups
    )
    assert weights == (0.8, True, 0.01)
    assert free == (0.8, True, 0.0)
    assert centers == (0.0, False, 0.0)


def test_adamw_moves_centers_by_plain_steps() -> None:
    given = config(
        network={"width": 1 / 16, "embedding_size": 4},
        heads=[{"name": "softmax"}, {"name": "ie"}],
        optimiser={"name": "adamw", "learning_rate": 0.3, "betas": [0.8, 0.9]},
    )
    network = build.make_network(given.network)
    joint = build.make_head(given.heads, network.embedding_size, 3)
    optimiser = build.make_optimiser(given, network, joint)
    assert isinstance(optimiser, AdamW)
    assert [group["betas"] for group in optimiser.param_groups] == [(0.8, 0.9)] * 3
    assert [group.get("plain") for group in optimiser.param_groups] == [None, None, 1]


def test_parts_of_a_batch_are_equal() -> None:
    given = config(batch_size=24, accumulate=3)
    assert build.make_computation(given, CPU).num_parts == 3
    with pytest.raises(ConfigError, match=r"divide the 8 crops .* got 3"):
        build.make_computation(given, CPU, Processes(0, 3))


def test_the_schedule_is_scaled_by_its_factor() -> None:
    schedule = build.make_schedule(
        config(schedule={"factor": 0.1, "warmup": 100}, optimiser={"learning_rate": 2})
    )
    assert (schedule.steps, schedule.drops, schedule.warmup) == (2800, (1600, 2400), 10)
    assert schedule.learning_rate == 2.0


def test_the_augmentation_takes_the_strengths() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 96, 3), np.uint8)
    assert build.make_augmentation(config()) is None
    augmentation = build.make_augmentation(config(augmentation={"grey": 1.0}))
    assert augmentation is not None
    grey = augmentation(crops, np.arange(2, dtype=np.uint64))
    assert (grey == grey[..., :1]).all()


def test_crops_are_resident_where_they_fit_and_nothing_changes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU by interface alone: 20 GB of which 16 are free."""
    free = (16_000_000_000, 20_000_000_000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: free)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    plain, blurred = config(), config(augmentation={"blur": 0.1})
    assert build.is_resident(plain, 8_000_000_000, gpu)
    assert not build.is_resident(plain, 8_000_000_001, gpu)
    assert not build.is_resident(blurred, 1, gpu)
    assert not build.is_resident(plain, 1, cpu)
    always, never = (
        config(data={"crops": "crops", "resident": resident})
        for resident in (True, False)
    )
    for device in (gpu, cpu):
        assert build.is_resident(always, 10**12, device)
        assert not build.is_resident(never, 1, device)


def test_crops_that_the_cpu_changes_cannot_be_resident() -> None:
    data = {"crops": "crops", "resident": True}
    wanted = config(data=data, augmentation={"blur": 0.1})
    with pytest.raises(ConfigError, match=r"augmentation.blur=0.1 .* the strength to"):
        build.is_resident(wanted, 1, torch.device("cpu"))


def test_a_head_that_samples_its_classes_knows_the_share_and_the_seed() -> None:
    configs = (HeadConfig(name="cosface", sample=0.25, scale=8.0),)
    found = build.make_head(configs, 4, 30, seed=9).heads["cosface"]
    assert found.shards == ClassShards(ALONE, 0.25, 9)
    assert found.scale == 8.0
    assert head(name="cosface").shards is None, "as fast as ever where none is asked"


def test_several_processes_share_the_classes_of_heads_that_have_vectors() -> None:
    configs = (HeadConfig(name="softmax"), HeadConfig(name="ie"))
    heads = build.make_head(configs, 4, 9, processes=Processes(1, 2)).heads
    assert heads["softmax"].weight.shape == (5, 4)
    assert heads["ie"].centers.vectors.shape == (9, 4)


@pytest.mark.parametrize("name", ["hinge", "ie", "triplet", "anchor_ncm"])
def test_only_class_vectors_can_be_sampled(name: str) -> None:
    with pytest.raises(ConfigError, match=f"head {name}: sample must be 1 .* got 0.5"):
        head(name=name, sample=0.5)
