import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from facever.errors import ModelFileError, ParameterError
from facever.inference.state_dicts import (
    import_state_dict,
    network_of,
    read_state_dict,
)
from facever.models import NETWORKS, build_network
from facever.models.mobilefacenet import MobileFaceNetXiaoccer

NAME, OPTIONS = "mobilefacenet_xiaoccer", {"embedding_size": 16}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    built = build_network(NAME, OPTIONS)
    for weight, value in built.state_dict().items():
        if weight.endswith("running_mean"):
            value.normal_(std=0.3)
    return built.eval()


@pytest.fixture(scope="module")
def weights(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def prefixed(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


def lightning(weights: dict[str, Tensor]) -> dict[str, Any]:
    """As AdaFace's checkpoints are: Lightning 1.4 names a class among the callbacks."""
    head = {"head.kernel": torch.zeros(16, 9), "head.t": torch.zeros(1)}
    return {
        "epoch": 25,
        "callbacks": {Path: {"best_model_score": torch.tensor(0.9)}},
        "state_dict": {**prefixed(weights, "model."), **head},
    }


# What people have: how it is made from a network's weights, and what is left out.
FORMS: dict[str, tuple[Callable[[dict[str, Tensor]], Any], list[str]]] = {
    "weights alone": (lambda weights: weights, []),
    "DataParallel": (lambda weights: prefixed(weights, "module."), []),
    "Xiaoccer": (lambda w: {"epoch": 68, "net_state_dict": w}, ["epoch"]),
    "AdaFace": (lightning, ["epoch", "callbacks", "head.kernel", "head.t"]),
    "arcface_torch": (
        lambda weights: {
            "epoch": 3,
            "state_dict_backbone": weights,
            "state_dict_softmax_fc": {"weight": torch.zeros(9, 16)},
        },
        ["epoch", "state_dict_softmax_fc"],
    ),
    "within two entries": (
        lambda w: {"model": {"state_dict": prefixed(w, "model.module.")}, "step": 1},
        ["step"],
    ),
    "facenet-pytorch": (
        lambda w: {**w, "logits.weight": torch.zeros(9, 16), "note": "mine"},
        ["note", "logits.weight"],
    ),
    "torch 0.4": (
        lambda w: {n: v for n, v in w.items() if not n.endswith("_tracked")},
        [],
    ),
}


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_what_people_have_is_imported(
    form: str, network: nn.Module, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    make, dropped = FORMS[form]
    torch.save(make(weights), tmp_path / "weights.pth.tar")
    found = import_state_dict(tmp_path / "weights.pth.tar", NAME)
    assert (found.name, found.options) == (NAME, OPTIONS)
    assert list(found.dropped) == dropped
    assert not found.network.training
    crops = torch.randn(2, 3, 112, 96)
    assert torch.equal(found.network(crops), network(crops))


@torch.no_grad()
def test_older_files_and_half_numbers(
    network: nn.Module, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    half = {n: v.half() if v.is_floating_point() else v for n, v in weights.items()}
    path = tmp_path / "weights.pt"
    torch.save(half, path, _use_new_zipfile_serialization=False)
    found = import_state_dict(path)
    assert (found.name, found.options) == (NAME, OPTIONS)
    for name, value in found.network.state_dict().items():
        assert value.dtype == weights[name].dtype
        assert torch.equal(value, half[name].to(value.dtype))


def test_safetensors(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(prefixed(weights, "module."), path)
    found = read_state_dict(path).weights
    assert list(found) == sorted(weights)
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    save_file(weights, path, {"facever": "{}"})
    with pytest.raises(ModelFileError, match=r"a model file of facever already"):
        read_state_dict(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelFileError, match=r"not a whole \.safetensors file"):
        read_state_dict(path)


class Runs:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("function", [os.mkdir, exec, Path.mkdir])
def test_nothing_in_a_file_is_run(
    function: Callable[..., Any],
    is_zip: bool,
    weights: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    made = tmp_path / "made"
    code = f"import os; os.mkdir({str(made)!r})"
    argument: object = {os.mkdir: str(made), exec: code}.get(function, made)
    path = tmp_path / "weights.pt"
    torch.save(
        {"state_dict": weights, "more": Runs(function, argument)},
        path,
        _use_new_zipfile_serialization=is_zip,
    )
    # Torch refuses anything of os, and to call what a stand-in gave it for getattr.
    if is_zip and function is exec:
        assert read_state_dict(path).dropped == ("more",)
    else:
        with pytest.raises(ModelFileError, match="without running pickle"):
            read_state_dict(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nn.Linear(2, 2), "a pickled object, not weights"),
        (torch.zeros(3), "a pickled object, not weights"),
        ({}, "no weights of a network; it holds nothing"),
        ({"net": {"w": torch.zeros(3)}, "epoch": 3}, "it holds net, epoch; in the"),
        ({"head.weight": torch.zeros(3)}, r"it holds head\.weight; in the project"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(
    content: object, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelFileError, match=message) as caught:
        read_state_dict(tmp_path / "weights.pt")
    assert "torch.save(network.state_dict(), PATH)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_is_found_anywhere(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"linear1.bn.weight": weights["linear1.bn.weight"]}, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[place] ^= 0x15
        path.write_bytes(damaged)
        try:
            found = read_state_dict(path).weights
        except ModelFileError:
            continue
        assert list(found) == ["linear1.bn.weight"]  # What zip keeps and nobody reads.
        assert torch.equal(found["linear1.bn.weight"], weights["linear1.bn.weight"])
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match="damaged"):
            read_state_dict(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"there is no file .*none\.pt"):
        import_state_dict(tmp_path / "none.pt")


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_told_by_its_weights_alone(name: str) -> None:
    kind = NETWORKS[name]
    options = {option: 3 + step for step, option in enumerate(kind.option_weights)}
    with torch.device("meta"):
        weights = build_network(name, options).state_dict()
    assert network_of(weights) == (name, options)
    assert network_of(weights, name) == (name, options)


def test_the_nearest_network_and_the_first_differences_are_named(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    wrong = {name: weights[name] for name in weights if name != "conv1.bn.bias"}
    wrong["linear7.conv.weight"] = torch.zeros(512, 1, 7, 7)
    wrong["linear1.conv.bias"] = torch.zeros(16)
    wrong["conv1.bn.weight"] = torch.zeros(64, dtype=torch.int8)
    torch.save(wrong, tmp_path / "weights.pt")
    with pytest.raises(ModelFileError) as caught:
        import_state_dict(tmp_path / "weights.pt")
    assert str(caught.value) == (
        f"{tmp_path / 'weights.pt'}: the weights fit no network, and least badly "
        "mobilefacenet_xiaoccer: conv1.bn.weight is [64] torch.int8 here and [64] "
        "there; conv1.bn.bias is missing here and [64] there; linear7.conv.weight is "
        "[512, 1, 7, 7] here and [512, 1, 7, 6] there; 1 more differ"
    )


def test_a_named_network_is_tried_alone(weights: dict[str, Tensor]) -> None:
    with pytest.raises(ModelFileError, match=r"fit not ir_50: .* more differ"):
        network_of(weights, "ir_50")
    with pytest.raises(ParameterError, match="unknown network 'ir_51'; known are"):
        network_of(weights, "ir_51")


def test_two_networks_of_the_same_weights_are_told_apart_by_name(
    weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = type("Twin", (MobileFaceNetXiaoccer,), {})
    monkeypatch.setitem(NETWORKS, "twin", twin)
    with pytest.raises(ModelFileError, match="fit mobilefacenet_xiaoccer and twin"):
        network_of(weights)
    assert network_of(weights, "twin") == ("twin", OPTIONS)
