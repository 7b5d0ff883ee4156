import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from facever.errors import FileError, ModelFileError
from facever.heads import HEADS, JointHead
from facever.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from facever.training.optimiser import parameter_groups


def small_state(size: int = 3, value: float = 1.0) -> TrainingState:
    """A state of a few hundred bytes, one step into its training."""
    network, head = nn.Linear(size, 2), nn.Linear(2, 2)
    for parameter in (*network.parameters(), *head.parameters()):
        nn.init.constant_(parameter, value)
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    head(network(torch.ones(1, size))).sum().backward()
    optimiser.step()
    return TrainingState(network, head, optimiser, step=7)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "checkpoint.pt"
    save_checkpoint(path, small_state(), "print")
    return path


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            same(left[k], right[k]) for k in left
        )
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def test_everything_comes_back(good: Path) -> None:
    torch.manual_seed(3)
    path = good.with_name("other.pt")
    saved = small_state(value=1.0)
    save_checkpoint(path, saved, "print")
    following = torch.rand(4)
    state = small_state(value=-5.0)
    state.step = 0
    load_checkpoint(path, state, "print")
    assert state.step == 7
    assert torch.equal(torch.rand(4), following), "the random state is part of it"
    for part in ("network", "head", "optimiser"):
        left, right = getattr(state, part), getattr(saved, part)
        assert same(left.state_dict(), right.state_dict()), part


def test_another_config_or_other_crops_are_refused(good: Path) -> None:
    state = small_state(value=2.0)
    before = {k: v.clone() for k, v in state.network.state_dict().items()}
    with pytest.raises(ModelFileError, match="another config or other crops") as caught:
        load_checkpoint(good, state, "other print")
    assert str(good) in str(caught.value)
    assert same(before, state.network.state_dict())


def test_another_network_is_refused_in_one_line(good: Path) -> None:
    with pytest.raises(ModelFileError, match="another network") as caught:
        load_checkpoint(good, small_state(size=4), "print")
    assert "\n" not in str(caught.value)


def assert_refused(path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_checkpoint(path, small_state(), "print")
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    # torch's own messages advise its unsafe mode, in bold.
    assert "weights_only" not in message
    assert "\x1b" not in message


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_torn_checkpoint_is_refused(good: Path, tmp_path: Path, data: Any) -> None:
    content = good.read_bytes()
    path = tmp_path / "torn.pt"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert_refused(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_is_refused_or_does_no_harm(
    good: Path, tmp_path: Path, data: Any
) -> None:
    content = bytearray(good.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.pt"
    path.write_bytes(content)
    try:
        found = read_checkpoint(path)
    except ModelFileError:
        return
    assert same(found, read_checkpoint(good))


def test_a_record_that_turned_into_a_folder_is_refused(
    good: Path, tmp_path: Path
) -> None:
    content = bytearray(good.read_bytes())
    entry = content.find(b"PK\x01\x02")  # The first of the zip's directory.
    content[entry + 38] ^= 0x10  # Its attributes: this bit says folder.
    path = tmp_path / "folder.pt"
    path.write_bytes(content)
    assert_refused(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_bytes_of_anything_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.pt"
    path.write_bytes(content)
    assert_refused(path)


@pytest.mark.parametrize(
    "content",
    [
        {"format": 2, "fingerprint": "print"},
        {"state_dict": {"weight": torch.ones(2)}},
        [1, 2],
        torch.ones(2),
        {"format": 1, "fingerprint": "print"},
        {"format": 1, "fingerprint": "print", "network": {}, "head": {}},
    ],
    ids=["other format", "other program", "list", "tensor", "nothing more", "empty"],
)
def test_a_torch_file_that_is_no_checkpoint_is_refused(
    tmp_path: Path, content: Any
) -> None:
    path = tmp_path / "foreign.pt"
    torch.save(content, path)
    assert_refused(path)


def test_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path)
    with pytest.raises(ModelFileError, match="No such file"):
        read_checkpoint(tmp_path / "none.pt")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["torch", "old torch", "pickle", "nested"])
def test_a_pickle_is_never_run(tmp_path: Path, form: str) -> None:
    path, sprung = tmp_path / "checkpoint.pt", tmp_path / "sprung"
    trap = Trap(sprung)
    if form == "pickle":
        path.write_bytes(pickle.dumps(trap))
    elif form == "nested":
        save_checkpoint(path, small_state(), "print")
        content = torch.load(path, weights_only=True) | {"step": trap}
        torch.save(content, path)
    else:
        torch.save({"format": 1, "network": trap}, path, pickle_protocol=2,
                   _use_new_zipfile_serialization=form == "torch")  # fmt: skip
    assert_refused(path)
    assert not sprung.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(
        path.read_bytes()
    )
    assert sprung.exists(), "the trap works, so the refusal is what kept it shut"


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """The system refuses to write on, in the midst of a file, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [3, 300_000])
def test_a_write_that_fails_is_one_line_and_leaves_the_last_checkpoint(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, small_state(size, value=1.0), "print")
    before = path.read_bytes()
    with largest_file(len(before) // 2), pytest.raises(FileError) as caught:
        save_checkpoint(path, small_state(size, value=2.0), "print")
    assert str(caught.value).startswith(f"cannot write {path}: File too large; make")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_only_the_final_name_is_left(tmp_path: Path) -> None:
    for _ in range(2):
        save_checkpoint(tmp_path / "checkpoint.pt", small_state(), "print")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_all_of_the_network_decays_where_asked(tiny: SimpleNamespace) -> None:
    network = tiny.make_state().network
    head = JointHead([("softmax", HEADS["softmax"](8, 4), 1.0)])
    decaying, free, _ = parameter_groups(network, head, 0.3, decay_all=True)
    assert {id(each) for each in network.parameters()} < {
        id(each) for each in decaying["params"]
    }
    assert [list(each.shape) for each in free["params"]] == [[4]]  # Softmax's bias.


def test_only_weights_decay_and_centers_take_plain_steps(tiny: SimpleNamespace) -> None:
    network = tiny.make_state().network
    heads = [
        ("softmax", HEADS["softmax"](8, 4), 1.0),
        ("arcface", HEADS["arcface"](8, 4), 1.0),
        ("center", HEADS["center"](8, 4, update="gradient"), 1.0),
        ("ie", HEADS["ie"](8, 4), 1.0),
    ]
    head = JointHead(heads)
    groups = parameter_groups(network, head, 0.3)
    decaying, free, centers = groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0, 0.0]
    assert centers["momentum"] == 0.0
    names = {
        id(parameter): name
        for module in (network, head)
        for name, parameter in module.named_parameters()
    }
    decay = {names[id(each)] for each in decaying["params"]}
    rest = {names[id(each)] for each in free["params"]}
    plain = {names[id(each)] for each in centers["params"]}
    assert len(decay) + len(rest) + len(plain) == len(names)
    assert len(decay | rest | plain) == len(names)
    # 27 convolutions, Fc5 and two classifiers.
    assert len(decay) == 30
    assert {"fc5.weight", "heads.softmax.weight", "heads.arcface.weight"} < decay
    assert {"heads.softmax.bias", "heads.ie.log_sigma2"} < rest
    assert plain == {"heads.center.centers.vectors", "heads.ie.centers.vectors"}
