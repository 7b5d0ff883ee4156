"""What must hold for every head, in one table."""

import copy
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from facever.errors import DataError, DivergedError, ParameterError
from facever.heads import HEADS, Distillation, Head, HeadOutput, JointHead
from facever.heads.parts.annealing import Annealing

# All margin and no softmax, where a wrong margin cannot hide behind a large lambda.
PURE = Annealing(start=0.0, floor=0.0)

# Name, options, and whether the gradient is meant to be that of the loss.
CASES: list[tuple[str, dict[str, Any], bool]] = [
    ("softmax", {}, True),
    ("softmax", {"bias": False}, True),
    ("softmax", {"normalised": True, "scale": 8.0}, True),
    ("softmax", {"normalised": True, "bias": False}, True),
    ("hinge", {}, True),
    ("hinge", {"margin": 0.5}, True),
    ("cosface", {"scale": 8.0}, True),
    ("cosface", {"margin": 0.0, "scale": 8.0}, True),
    ("arcface", {"scale": 8.0}, True),
    ("arcface", {"margin": 0.0}, True),
    ("arcface", {"scale": 8.0, "gradient": "detached"}, False),
    ("lsoftmax", {}, True),
    ("lsoftmax", {"margin": 1}, True),
    ("lsoftmax", {"margin": 2, "annealing": PURE}, True),
    ("lsoftmax", {"margin": 3, "annealing": PURE}, True),
    ("lsoftmax", {"margin": 4, "annealing": PURE}, True),
    ("sphereface", {}, True),
    ("sphereface", {"margin": 1}, True),
    ("sphereface", {"margin": 2, "annealing": PURE}, True),
    ("sphereface", {"margin": 3, "annealing": PURE}, True),
    ("sphereface", {"margin": 4, "annealing": PURE}, True),
    ("angular", {}, True),
    ("angular", {"scale": 4.0}, True),
    ("euclidean_margin", {}, True),
    ("euclidean_margin", {"margin": 0.0}, True),
    ("anchor_ncm", {}, True),
    ("anchor_ncm", {"distance": "cosine", "anchors": "simplex"}, True),
    ("anchor_ncm", {"anchors": "spread", "seed": 3}, True),
    ("center", {}, True),
    ("center", {"update": "gradient"}, True),
    ("ie", {"nearest": 1.0}, True),
    ("ie", {"nearest": 2, "sigma2": 0.7, "denominator": "eq6"}, True),
    ("ie", {"sigma2": "batch"}, False),
    ("ie", {"update": "wen"}, True),
    ("distillation", {}, True),
    ("distillation", {"distance": "squared"}, True),
    ("contrastive", {}, True),
    ("contrastive", {"normalised": False, "margin": 2.5}, True),
    ("triplet", {}, True),
    ("triplet", {"mining": "all"}, True),
    ("triplet", {"mining": "hard"}, True),
    ("triplet", {"normalised": False, "margin": 2.0}, True),
]
# What only measures distances has no logits; what only compares pairs has no state.
WITHOUT_LOGITS = {"center", "ie", "distillation", "contrastive", "triplet"}
PAIRWISE = {"contrastive", "triplet"}
CLASSES = DIM = 6


class TaughtByClass(Distillation):
    """Its teacher gives every crop of a class the same embedding."""

    has_teacher: ClassVar[bool] = False

    def __init__(self, embedding_size: int, num_classes: int, **options: Any) -> None:
        super().__init__(embedding_size, num_classes, embedding_size, **options)
        generator = torch.Generator().manual_seed(2)
        points = torch.randn(num_classes, embedding_size, generator=generator)
        self.register_buffer("points", points)

    def forward(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        teacher = self.points[labels.clamp(0, len(self.points) - 1)]
        return super().forward(embeddings, labels, teacher)

    def class_points(self) -> Tensor:
        return self.points.detach()


# For embeddings and labels alone.
KINDS: dict[str, type[Head]] = {**HEADS, "distillation": TaughtByClass}

every_head = pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, options, _ in CASES], ids=str
)
every_head_with_state = pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, options, _ in CASES if name not in PAIRWISE],
    ids=str,
)


def test_the_table_has_every_head() -> None:
    assert {name for name, _, _ in CASES} == set(HEADS)


def make(name: str, options: dict[str, Any], seed: int = 0) -> Head:
    """A head in the midst of a training: no parameter at its first value."""
    head = KINDS[name](DIM, CLASSES, **options)
    generator = torch.Generator().manual_seed(seed)
    for key, values in sorted(head.state_dict().items()):
        drawn = torch.randn(values.shape, generator=generator)
        if key == "anchors":
            drawn = normalize(drawn)
        elif key == "step":
            drawn = (20 * drawn).abs().long()
        values.copy_(drawn)
    return head


def draw(seed: int = 1, size: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(size, DIM, generator=generator)
    return embeddings, torch.randint(0, CLASSES, (size,), generator=generator)


def class_points(head: Head) -> Tensor:
    """Where each class of a head lies; some points where it keeps none."""
    for rows in (head.class_points(), head.class_vectors()):
        if rows is not None:
            return rows
    return torch.eye(CLASSES, DIM)


@every_head
def test_a_head_says_how_its_parameters_and_rows_move(
    name: str, options: dict[str, Any]
) -> None:
    head = make(name, options)
    told = (head.class_vectors(), head.class_points(), *head.moving_rows())
    for rows in told:
        assert rows is None or rows.shape == (CLASSES, DIM)
        assert rows is None or not rows.requires_grad
    before = {key: values.clone() for key, values in head.named_buffers()}
    embeddings, labels = draw()
    head(embeddings.requires_grad_(), labels).loss.backward()
    # What has sparse gradients cannot be Adam's; what moves by itself differs between
    # processes that do not round alike.
    sparse = {
        id(p) for p in head.parameters() if p.grad is not None and p.grad.is_sparse
    }
    assert {id(each) for each in head.plain_parameters()} == sparse
    moved = {
        values.data_ptr()
        for key, values in head.named_buffers()
        if values.ndim and not torch.equal(values, before[key])
    }
    assert {rows.data_ptr() for rows in head.moving_rows()} == moved
    assert head.sliced_parameters() == {}
    assert head.held_classes() == range(CLASSES)


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
        assert parameter.grad is None or parameter.grad.to_dense().isfinite().all()


@every_head
def test_zero_embeddings_have_a_bounded_gradient(
    name: str, options: dict[str, Any]
) -> None:
    """Not 1 / epsilon, which would throw the network away in one step."""
    head = make(name, options)
    embeddings = torch.zeros(8, DIM, requires_grad=True)
    head(embeddings, torch.arange(8) % CLASSES).loss.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max() < 1e5
    for parameter in head.parameters():
        assert parameter.grad is None or parameter.grad.to_dense().abs().max() < 1e5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@every_head
def test_half_types_are_computed_in_float32(
    name: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    embeddings, labels = draw()
    given = embeddings.to(dtype).requires_grad_()
    head = make(name, options).eval()
    output = head(given, labels)
    assert output.loss.dtype == torch.float32
    assert torch.equal(output.loss, head(given.detach().float(), labels).loss)
    output.loss.backward()
    assert given.grad is not None
    assert given.grad.dtype == dtype
    assert given.grad.isfinite().all()
    # The square of 2e4 is beyond float16.
    large = (2e4 * normalize(embeddings)).to(dtype)
    assert head(large, labels).loss.isfinite()


@every_head
def test_autocast_ends_at_the_head(name: str, options: dict[str, Any]) -> None:
    embeddings, labels = draw()
    head = make(name, options).eval()
    expected = head(embeddings, labels)
    for given in (embeddings, embeddings.bfloat16()):
        with torch.autocast("cpu", torch.bfloat16):
            output = head(given, labels)
        assert output.loss.dtype == torch.float32
        assert output.logits is None or output.logits.dtype == torch.float32
        if given is embeddings:
            assert torch.equal(output.loss, expected.loss)
        else:
            assert torch.equal(output.loss, head(given.float(), labels).loss)


@every_head
def test_float64_stays_float64(name: str, options: dict[str, Any]) -> None:
    embeddings, labels = draw()
    head = make(name, options).eval()
    expected = float(head(embeddings, labels).loss)
    output = head.double()(embeddings.double(), labels)
    assert output.loss.dtype == torch.float64
    assert float(output.loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [1, 2, 7])
@every_head
def test_a_batch_of_one_class_has_a_finite_loss(
    name: str, options: dict[str, Any], size: int
) -> None:
    head = make(name, options)
    embeddings = draw(size=size)[0].requires_grad_()
    output = head(embeddings, torch.full((size,), 4))
    output.loss.backward()
    assert output.loss.isfinite()
    assert output.loss >= 0
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_head_of_one_class_has_a_finite_loss(name: str) -> None:
    head = KINDS[name](DIM, 1)
    embeddings = draw()[0].requires_grad_()
    output = head(embeddings, torch.zeros(12, dtype=torch.int64))
    output.loss.backward()
    assert output.loss.isfinite()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


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
    head = make(name, options).double().eval()
    generator = torch.Generator().manual_seed(3)
    axes = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator).double()).Q
    if name not in ("anchor_ncm", "distillation"):  # Those pull to length 1.
        axes = axes * 2
    class_points(head).copy_(axes)
    labels = torch.arange(CLASSES)
    own, other = axes, axes.roll(1, dims=0)
    losses = []
    for share in torch.linspace(0, 1, 21):
        embeddings = other + share * (own - other)
        if name in PAIRWISE:
            # Each has a classmate, which stands at the own place already.
            batch = torch.cat([own, embeddings]), labels.repeat(2)
        else:
            batch = embeddings, labels
        losses.append(float(head(*batch).loss.detach()))
    # A hinge may reach its floor of 0 before the end of the way. The negative of
    # semi-hard mining changes on the way, and its loss may jump with it.
    if name != "triplet" or options.get("mining", "semi-hard") != "semi-hard":
        steps = itertools.pairwise(losses)
        assert all(b < a or b <= a < 1e-12 for a, b in steps)
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, options, is_exact in CASES if is_exact],
    ids=str,
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
        dense = map(WithDenseGradient.apply, values)
        parameters = dict(zip(names, dense, strict=True))
        output = torch.func.functional_call(head, parameters, (embeddings, labels))
        return output.loss

    inputs = (embeddings.double().requires_grad_(), *values)
    assert loss(*inputs) > 0.1, "a flat loss proves nothing"
    assert torch.autograd.gradcheck(loss, inputs)


class WithDenseGradient(torch.autograd.Function):
    """The same values; gradcheck takes no sparse gradient, such as centers have."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.to_dense()


def gradients(head: Head, embeddings: Tensor, loss: Tensor) -> list[Tensor]:
    """Of a loss to the embeddings and every parameter that takes part."""
    inputs = [embeddings, *head.parameters()]
    found = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    return [each.to_dense() for each in found if each is not None]


@every_head
def test_the_gradient_is_scaled_by_what_follows_and_found_again(
    name: str, options: dict[str, Any]
) -> None:
    """As the weight of a joint head, or the scale of mixed precision, does."""
    head = make(name, options).eval()
    embeddings, labels = draw()
    loss = head(embeddings.requires_grad_(), labels).loss
    first = gradients(head, embeddings, loss)
    scaled = gradients(head, embeddings, 1024 * loss)
    again = gradients(head, embeddings, loss)
    assert any(each.any() for each in first)
    for one, large, same in zip(first, scaled, again, strict=True):
        np.testing.assert_allclose(large, 1024 * one, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(same, one, rtol=1e-6)


@every_head
def test_two_batches_at_once_have_the_gradients_of_each(
    name: str, options: dict[str, Any]
) -> None:
    head = make(name, options).eval()
    batches = [(draw(seed)[0].requires_grad_(), draw(seed)[1]) for seed in (1, 2)]
    alone = [
        gradients(head, batch[0], head(*batch).loss)[0].clone() for batch in batches
    ]
    losses = [head(*batch).loss for batch in batches]
    for (embeddings, _), loss, expected in zip(batches, losses, alone, strict=True):
        found = gradients(head, embeddings, loss)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@every_head
def test_frozen_parts_take_no_gradient_and_change_none(
    name: str, options: dict[str, Any]
) -> None:
    head = make(name, options).eval()
    embeddings, labels = draw()
    moving = embeddings.clone().requires_grad_()
    expected, *to_parameters = gradients(head, moving, head(moving, labels).loss)
    if to_parameters:
        loss = head(embeddings, labels).loss
        found = torch.autograd.grad(loss, list(head.parameters()), allow_unused=True)
        for one, other in zip(found, to_parameters, strict=True):
            np.testing.assert_allclose(one.to_dense(), other, rtol=1e-6)
    head.requires_grad_(False)
    head(moving, labels).loss.backward()
    np.testing.assert_allclose(moving.grad, expected, rtol=1e-6)


@every_head
def test_embeddings_may_lie_in_memory_in_any_order(
    name: str, options: dict[str, Any]
) -> None:
    head = make(name, options).eval()
    embeddings, labels = draw()
    losses, found = [], []
    for given in (embeddings, embeddings.T.contiguous().T):
        given = given.detach().requires_grad_()
        losses.append(head(given, labels).loss)
        found.append(gradients(head, given, losses[-1])[0])
    assert float(losses[0].detach()) == pytest.approx(float(losses[1].detach()))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


@every_head_with_state
def test_state_survives_a_round_trip(name: str, options: dict[str, Any]) -> None:
    embeddings, labels = draw()
    head, other = make(name, options, seed=0), make(name, options, seed=9)
    expected = head.eval()(embeddings, labels).loss
    assert other.eval()(embeddings, labels).loss != expected
    other.load_state_dict(copy.deepcopy(head.state_dict()))
    assert torch.equal(other(embeddings, labels).loss, expected)


@pytest.mark.parametrize(
    ("name", "parameters", "buffers"),
    [
        ("softmax", {"weight": (7, 5), "bias": (7,)}, {}),
        ("hinge", {"weight": (7, 5)}, {}),
        ("cosface", {"weight": (7, 5)}, {}),
        ("arcface", {"weight": (7, 5)}, {}),
        ("lsoftmax", {"weight": (7, 5)}, {"step": ()}),
        ("sphereface", {"weight": (7, 5)}, {"step": ()}),
        ("angular", {"weight": (7, 5)}, {}),
        ("euclidean_margin", {"weight": (7, 5)}, {}),
        ("anchor_ncm", {}, {"anchors": (7, 5)}),
        ("distillation", {}, {"points": (7, 5)}),
        ("contrastive", {}, {}),
        ("triplet", {}, {}),
    ],
)
def test_state_has_these_names_and_shapes(
    name: str, parameters: dict[str, Any], buffers: dict[str, Any]
) -> None:
    head = KINDS[name](5, 7)
    shapes = {key: tuple(value.shape) for key, value in head.named_parameters()}
    assert shapes == parameters
    shapes = {key: tuple(value.shape) for key, value in head.state_dict().items()}
    assert shapes == parameters | buffers
    for key, value in head.state_dict().items():
        assert value.dtype == (torch.int64 if key == "step" else torch.float32)
        assert value.isfinite().all()
    if "weight" in parameters:
        assert head.state_dict()["weight"].std() > 0.01, "rows differ from the start"


@every_head
def test_logits_carry_no_gradient_and_parts_neither(
    name: str, options: dict[str, Any]
) -> None:
    embeddings, labels = draw()
    output = make(name, options)(embeddings.requires_grad_(), labels)
    assert output.loss.requires_grad
    assert output.logits is None or not output.logits.requires_grad
    assert not any(part.requires_grad for part in output.parts.values())
    assert all(part.shape == () for part in output.parts.values())
    assert (output.logits is None) == (name in WITHOUT_LOGITS)
    assert output.logits is None or output.logits.shape == (len(labels), CLASSES)


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, options, _ in CASES if name not in WITHOUT_LOGITS],
    ids=str,
)
def test_logits_carry_no_margin(name: str, options: dict[str, Any]) -> None:
    """They cannot: they do not depend on the labels."""
    head = make(name, options).eval()
    embeddings, labels = draw()
    shown = head(embeddings, labels).logits
    others = head(embeddings, (labels + 1) % CLASSES).logits
    np.testing.assert_allclose(shown, others, rtol=1e-5, atol=1e-5)


def test_every_head_may_stand_beside_the_others() -> None:
    heads = [(name, make(name, {}), 0.1 * i) for i, name in enumerate(sorted(HEADS))]
    joint = JointHead(heads).eval()
    embeddings, labels = draw()
    output = joint(embeddings.requires_grad_(), labels)
    losses = {name: float(head(embeddings, labels).loss) for name, head, _ in heads}
    expected = sum(weight * losses[name] for name, _, weight in heads)
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert {name: float(output.parts[name]) for name in HEADS} == pytest.approx(losses)
    assert {"lsoftmax.lambda", "sphereface.lambda", "ie.sigma2"} < set(output.parts)
    output.loss.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def spoil(embeddings: Tensor, value: float) -> Tensor:
    spoilt = embeddings.clone()
    spoilt[2, 1] = spoilt[3, 0] = value
    return spoilt


FOUR = torch.randn(4, DIM, generator=torch.Generator().manual_seed(0))
ROW_2 = r"\b2\b"
WRONG_BATCHES: dict[str, tuple[Tensor, Tensor, type[Exception], str]] = {
    "empty": (
        torch.empty(0, DIM),
        torch.empty(0, dtype=torch.int64),
        DataError,
        "a batch must hold at least one embedding",
    ),
    "narrow": (FOUR[:, :5], torch.arange(4), DataError, r"\b5\b.*\b6\b|\b6\b.*\b5\b"),
    "few labels": (FOUR, torch.arange(3), DataError, r"\b3\b.*\b4\b|\b4\b.*\b3\b"),
    "label above": (FOUR, torch.tensor([0, 6, 1, 9]), DataError, r"\[0, 6\), got 6"),
    "label below": (FOUR, torch.tensor([0, 1, -1, 2]), DataError, r"\[0, 6\), got -1"),
    "nan": (spoil(FOUR, math.nan), torch.arange(4), DivergedError, ROW_2),
    "inf": (spoil(FOUR, math.inf), torch.arange(4), DivergedError, ROW_2),
    "-inf": (spoil(FOUR, -math.inf), torch.arange(4), DivergedError, ROW_2),
}


@pytest.mark.parametrize("joint", [False, True], ids=["alone", "joint"])
@pytest.mark.parametrize("batch", WRONG_BATCHES)
@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.usefixtures("types_unchecked")
def test_a_wrong_batch_is_refused_and_changes_nothing(
    name: str, batch: str, joint: bool
) -> None:
    embeddings, labels, error, message = WRONG_BATCHES[batch]
    head = make(name, {})
    before = copy.deepcopy(head.state_dict())
    whole = JointHead([(name, head, 1.0)]) if joint else head
    with pytest.raises(error, match=message) as caught:
        whole(embeddings, labels)
    assert "\n" not in str(caught.value)
    after = head.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


# The first case of each head, and every choice of a path through its code.
COMPILED = [
    (name, options)
    for number, (name, options, _) in enumerate(CASES)
    if name not in {name for name, _, _ in CASES[:number]}
    or any(isinstance(value, str | bool) for value in options.values())
]

# Runs without the type checks of pytest, which torch.compile cannot look into.
COMPILE = """
import copy, importlib.util, json, sys
import torch

spec = importlib.util.spec_from_file_location("table", sys.argv[1])
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)
heads = {str(case): table.make(*case) for case in table.COMPILED}
heads["joint"] = table.JointHead(
    [(name, table.make(name, {}), 1.0) for name in ("softmax", "ie", "triplet")])
embeddings, labels = table.draw()

def measure(call, head):
    given = embeddings.clone().requires_grad_()
    loss = call(given, labels).loss
    loss.backward()
    return [loss.detach(), given.grad, *head.state_dict().values()]

faults = {}
for case, head in heads.items():
    torch._dynamo.reset()
    twin = copy.deepcopy(head)
    faults[case] = ""
    try:
        compiled = torch.compile(head, fullgraph=True, backend="eager")
        pairs = zip(measure(compiled, head), measure(twin, twin), strict=True)
        if not all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs):
            faults[case] = "not the loss, gradient or state without compile"
    except Exception as error:
        faults[case] = f"{type(error).__name__}: {error}"
print(json.dumps(faults))
"""


@pytest.fixture(scope="module")
def compile_faults() -> dict[str, str]:
    """What went wrong in compiling each case without a graph break; mostly nothing."""
    command = [sys.executable, "-c", COMPILE, __file__]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    faults: dict[str, str] = json.loads(finished.stdout.splitlines()[-1])
    return faults


@pytest.mark.parametrize(("name", "options"), COMPILED, ids=str)
def test_compiling_breaks_no_graph_and_changes_nothing(
    name: str, options: dict[str, Any], compile_faults: dict[str, str]
) -> None:
    assert not compile_faults[str((name, options))]


def test_compiling_a_joint_head_breaks_no_graph(
    compile_faults: dict[str, str],
) -> None:
    assert not compile_faults["joint"]


@pytest.mark.parametrize(
    ("name", "options", "fragments"),
    [
        ("arcface", {"margin": -0.1}, ["margin", "[0, pi/2)", "-0.1"]),
        ("arcface", {"margin": math.pi / 2}, ["margin", "[0, pi/2)", "1.57"]),
        ("arcface", {"margin": 28.6}, ["margin", "[0, pi/2) radians", "28.6"]),
        ("arcface", {"margin": math.nan}, ["margin", "[0, pi/2)", "nan"]),
        ("arcface", {"scale": 0.0}, ["scale", "positive", "0.0"]),
        ("softmax", {"normalised": True, "scale": 0.0}, ["scale", "positive", "0.0"]),
        ("softmax", {"normalised": True, "scale": math.nan}, ["scale", "nan"]),
        ("hinge", {"margin": 0.0}, ["margin", "positive", "0.0"]),
        ("hinge", {"margin": -1.0}, ["margin", "positive", "-1.0"]),
        ("hinge", {"margin": math.nan}, ["margin", "positive", "nan"]),
        ("cosface", {"margin": -0.1}, ["margin", "[0, 2]", "-0.1"]),
        ("cosface", {"margin": 2.5}, ["margin", "[0, 2]", "2.5"]),
        ("cosface", {"margin": math.nan}, ["margin", "[0, 2]", "nan"]),
        ("cosface", {"scale": 0.0}, ["scale", "positive", "0.0"]),
        ("cosface", {"scale": math.nan}, ["scale", "positive", "nan"]),
        ("lsoftmax", {"margin": 0}, ["margin", "1, 2, 3 or 4", "0"]),
        ("lsoftmax", {"margin": 5}, ["margin", "1, 2, 3 or 4", "5"]),
        ("sphereface", {"margin": -1}, ["margin", "1, 2, 3 or 4", "-1"]),
        ("sphereface", {"margin": 5}, ["margin", "1, 2, 3 or 4", "5"]),
        ("angular", {"scale": 3.0}, ["scale", "3", "3.0"]),
        ("angular", {"scale": -10.0}, ["scale", "3", "-10.0"]),
        ("angular", {"scale": math.nan}, ["scale", "3", "nan"]),
        ("euclidean_margin", {"margin": -0.5}, ["margin", ">= 0", "-0.5"]),
        ("euclidean_margin", {"margin": math.nan}, ["margin", ">= 0", "nan"]),
        ("anchor_ncm", {"anchors": "circle"}, ["circle", "2", "6"]),
        ("contrastive", {"margin": 0.0}, ["margin", "positive", "0.0"]),
        ("contrastive", {"margin": -1.0}, ["margin", "positive", "-1.0"]),
        ("contrastive", {"margin": math.nan}, ["margin", "positive", "nan"]),
        ("triplet", {"margin": 0.0}, ["margin", "positive", "0.0"]),
        ("triplet", {"margin": -0.2}, ["margin", "positive", "-0.2"]),
        ("triplet", {"margin": math.nan}, ["margin", "positive", "nan"]),
        ("center", {"rate": 0.0}, ["rate", "(0, 1]", "0.0"]),
        ("center", {"rate": 1.5}, ["rate", "(0, 1]", "1.5"]),
        ("center", {"rate": math.nan}, ["rate", "(0, 1]", "nan"]),
        ("ie", {"alpha": -1.0}, ["alpha", ">= 0", "-1.0"]),
        ("ie", {"rate": 2.0}, ["rate", "(0, 1]", "2.0"]),
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
        KINDS[name](DIM, CLASSES, **options)
    assert all(fragment in str(caught.value) for fragment in fragments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "fragments"),
    [
        ("arcface", {"gradient": "none"}, ["exact or detached", "'none'"]),
        ("center", {"update": "adam"}, ["wen or gradient", "'adam'"]),
        ("ie", {"sigma2": "fixed"}, ["learned, batch", "'fixed'"]),
        ("ie", {"denominator": "eq7"}, ["appendix or eq6", "'eq7'"]),
        ("anchor_ncm", {"distance": "l1"}, ["euclidean or cosine", "'l1'"]),
        (
            "anchor_ncm",
            {"anchors": "cube"},
            ["auto", "basis", "circle", "simplex", "spread", "'cube'"],
        ),
        ("distillation", {"distance": "l1"}, ["cosine or squared", "'l1'"]),
        ("triplet", {"mining": "easy"}, ["semi-hard", "all", "hard", "'easy'"]),
    ],
)
@pytest.mark.usefixtures("types_unchecked")
def test_an_unknown_choice_lists_the_known_ones(
    name: str, options: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(ParameterError) as caught:
        KINDS[name](DIM, CLASSES, **options)
    assert all(fragment in str(caught.value) for fragment in fragments)


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize(
    ("sizes", "what"), [((0, 3), "embedding_size"), ((3, 0), "num_classes")]
)
def test_sizes_are_at_least_one(name: str, sizes: tuple[int, int], what: str) -> None:
    with pytest.raises(ParameterError, match=f"{what} must be >= 1, got 0"):
        KINDS[name](*sizes)
