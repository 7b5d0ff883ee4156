"""What must hold for every head, in one table."""

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facever.errors import ParameterError
from facever.heads import HEADS, Head

# Name, options, and whether the gradient is meant to be that of the loss.
CASES: list[tuple[str, dict[str, Any], bool]] = [
    ("softmax", {}, True),
    ("softmax", {"bias": False}, True),
    ("arcface", {"scale": 8.0}, True),
    ("arcface", {"margin": 0.0}, True),
    ("arcface", {"scale": 8.0, "gradient": "detached"}, False),
    ("center", {}, True),
    ("center", {"update": "gradient"}, True),
    ("ie", {"nearest": 1.0}, True),
    ("ie", {"nearest": 2, "sigma2": 0.7, "denominator": "eq6"}, True),
    ("ie", {"sigma2": "batch"}, False),
]
CLASSES = DIM = 6

every_head = pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, options, _ in CASES],
    ids=lambda value: value if isinstance(value, str) else str(value),
)


def test_the_table_has_every_head() -> None:
    assert {name for name, _, _ in CASES} == set(HEADS)


def make(name: str, options: dict[str, Any], seed: int = 0) -> Head:
    """A head in the midst of a training: no parameter at its first value."""
    head = HEADS[name](DIM, CLASSES, **options)
    generator = torch.Generator().manual_seed(seed)
    for values in head.state_dict().values():
        values.copy_(torch.randn(values.shape, generator=generator))
    return head


def draw(seed: int = 1, size: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(size, DIM, generator=generator)
    return embeddings, torch.randint(0, CLASSES, (size,), generator=generator)


def class_points(head: Head) -> Tensor:
    """Where each class of a head lies."""
    return head.state_dict()["weight" if hasattr(head, "weight") else "centers"]


def zeros(head: Head) -> Tensor:
    return torch.zeros(8, DIM)


def duplicates(head: Head) -> Tensor:
    return torch.randn(1, DIM).repeat(8, 1)


def on_the_classes(head: Head) -> Tensor:
    return class_points(head)[torch.arange(8) % CLASSES].clone()


def opposite_the_classes(head: Head) -> Tensor:
    return -3 * class_points(head)[torch.arange(8) % CLASSES]


def far_away(head: Head) -> Tensor:
    return 1e4 * torch.randn(8, DIM)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "autocast"])
@pytest.mark.parametrize(
    "place", [zeros, duplicates, on_the_classes, opposite_the_classes, far_away]
)
@every_head
def test_loss_and_gradient_are_finite_at_the_edges(
    name: str, options: dict[str, Any], place: Callable[[Head], Tensor], bf16: bool
) -> None:
    torch.manual_seed(0)
    head = make(name, options)
    embeddings = place(head).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = head(embeddings, torch.arange(8) % CLASSES)
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert output.loss.isfinite()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    for parameter in head.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@every_head
def test_the_order_of_the_batch_does_not_matter(
    name: str, options: dict[str, Any]
) -> None:
    head = make(name, options).double().eval()
    embeddings, labels = draw()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))
    straight = head(embeddings.double(), labels)
    mixed = head(embeddings.double()[order], labels[order])
    assert float(mixed.loss) == pytest.approx(float(straight.loss), rel=1e-12)
    if straight.logits is not None:
        np.testing.assert_allclose(mixed.logits, straight.logits[order], rtol=1e-12)


@every_head
def test_the_loss_falls_on_the_way_to_the_own_class(
    name: str, options: dict[str, Any]
) -> None:
    head = make(name, options).eval()
    axes = torch.linalg.qr(torch.randn(DIM, DIM)).Q * 2
    class_points(head).copy_(axes)
    labels = torch.arange(CLASSES)
    own, other = axes, axes.roll(1, dims=0)
    losses = [
        float(head(other + share * (own - other), labels).loss.detach())
        for share in torch.linspace(0, 1, 21)
    ]
    # A hinge may reach its floor of 0 before the end of the way.
    assert all(b < a or a == b == 0 for a, b in itertools.pairwise(losses))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, options, is_exact in CASES if is_exact],
)
def test_autograd_agrees_with_finite_differences(
    name: str, options: dict[str, Any]
) -> None:
    head = make(name, options).double().eval()
    embeddings, labels = draw()
    names, values = (
        zip(*head.named_parameters(), strict=True)
        if list(head.parameters())
        else ((), ())
    )

    def loss(embeddings: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        output = torch.func.functional_call(head, parameters, (embeddings, labels))
        return output.loss

    inputs = (embeddings.double().requires_grad_(), *values)
    assert loss(*inputs) > 0.1, "a flat loss proves nothing"
    assert torch.autograd.gradcheck(loss, inputs)


@every_head
def test_state_survives_a_round_trip(name: str, options: dict[str, Any]) -> None:
    embeddings, labels = draw()
    head, other = make(name, options, seed=0), make(name, options, seed=9)
    expected = head.eval()(embeddings, labels).loss
    assert other.eval()(embeddings, labels).loss != expected
    other.load_state_dict(copy.deepcopy(head.state_dict()))
    assert torch.equal(other(embeddings, labels).loss, expected)


@every_head
def test_logits_carry_no_gradient_and_parts_neither(
    name: str, options: dict[str, Any]
) -> None:
    embeddings, labels = draw()
    output = make(name, options)(embeddings.requires_grad_(), labels)
    assert output.loss.requires_grad
    assert output.logits is None or not output.logits.requires_grad
    assert not any(part.requires_grad for part in output.parts.values())


@pytest.mark.parametrize(
    ("name", "options", "fragments"),
    [
        ("arcface", {"margin": -0.1}, ["margin", "[0, pi/2)", "-0.1"]),
        ("arcface", {"margin": math.pi / 2}, ["margin", "[0, pi/2)", "1.57"]),
        ("arcface", {"margin": 28.6}, ["margin", "[0, pi/2) radians", "28.6"]),
        ("arcface", {"margin": math.nan}, ["margin", "[0, pi/2)", "nan"]),
        ("arcface", {"scale": 0.0}, ["scale", "positive", "0.0"]),
        ("center", {"rate": 0.0}, ["rate", "(0, 1]", "0.0"]),
        ("center", {"rate": 1.5}, ["rate", "(0, 1]", "1.5"]),
        ("center", {"rate": math.nan}, ["rate", "(0, 1]", "nan"]),
        ("ie", {"alpha": -1.0}, ["alpha", ">= 0", "-1.0"]),
        ("ie", {"nearest": -1}, ["nearest", "count >= 0", "[0, 1]", "-1"]),
        ("ie", {"nearest": 1.5}, ["nearest", "count >= 0", "[0, 1]", "1.5"]),
        ("ie", {"nearest": -0.2}, ["nearest", "[0, 1]", "-0.2"]),
        ("ie", {"sigma2": 0.0}, ["sigma2", "learned, batch", "positive", "0.0"]),
        ("ie", {"sigma2": -2.0}, ["sigma2", "learned, batch", "positive", "-2.0"]),
    ],
)
def test_an_option_out_of_range_names_the_range_and_the_value(
    name: str, options: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(ParameterError) as caught:
        HEADS[name](DIM, CLASSES, **options)
    assert all(fragment in str(caught.value) for fragment in fragments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "fragments"),
    [
        ("arcface", {"gradient": "none"}, ["exact or detached", "'none'"]),
        ("center", {"update": "adam"}, ["wen or gradient", "'adam'"]),
        ("ie", {"sigma2": "fixed"}, ["learned, batch", "'fixed'"]),
        ("ie", {"denominator": "eq7"}, ["appendix or eq6", "'eq7'"]),
    ],
)
@pytest.mark.usefixtures("types_unchecked")
def test_an_unknown_choice_lists_the_known_ones(
    name: str, options: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(ParameterError) as caught:
        HEADS[name](DIM, CLASSES, **options)
    assert all(fragment in str(caught.value) for fragment in fragments)


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize(
    ("sizes", "what"), [((0, 3), "embedding_size"), ((3, 0), "num_classes")]
)
def test_sizes_are_at_least_one(name: str, sizes: tuple[int, int], what: str) -> None:
    with pytest.raises(ParameterError, match=f"{what} must be >= 1, got 0"):
        HEADS[name](*sizes)
