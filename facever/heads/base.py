"""What every head takes and gives back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from facever.errors import DataError, DivergedError, ParameterError


@dataclass(frozen=True)
class HeadOutput:
    """The result of a head on one batch.

    Attributes:
        loss: The loss to minimise, a scalar.
        logits: ``[batch, classes]`` where the head classifies, without the margin,
            larger is likelier; None for heads that only measure distances.
        parts: Detached scalars to log, by name.
        hits: Whether each prediction is right, where ``logits`` is None: because no
            process holds the logits of all classes, or each crop has two labels.
    """

    loss: Float[Tensor, ""]
    logits: Float[Tensor, "batch classes"] | None = None
    parts: dict[str, Float[Tensor, ""]] = field(default_factory=dict)
    hits: Bool[Tensor, " batch"] | None = None


class Head(nn.Module, ABC):
    """A loss over embeddings and labels, with parameters of its own.

    A subclass takes ``embedding_size`` and ``num_classes`` first and its options as
    keyword arguments with defaults; those keywords are the options of the config file.
    It defines ``compute``, and says by the methods and attributes below what the
    training loop must know of its parameters; the defaults suit a head that only
    compares embeddings.

    Attributes:
        compares_classmates: Whether the head learns from several crops of one person in
            a batch. A batch of photos drawn at random holds hardly any of these.
        shares_classes: Whether several processes can hold the head's classes together,
            each a slice; ``ClassifyingHead`` knows how.
        has_teacher: Whether the head learns from a teacher's embeddings of the batch,
            which it is then called with.
        allows_mixtures: Whether a crop mixed of two people may be given twice in a
            step, once with each label: the head compares each embedding with classes
            alone, moves no centers, and has no constant that falls with the batches.
            Classes that are sampled are drawn for each of the two.
    """

    compares_classmates: ClassVar[bool] = False
    has_teacher: ClassVar[bool] = False
    shares_classes: ClassVar[bool] = False
    allows_mixtures: ClassVar[bool] = False

    def __init__(self, embedding_size: int, num_classes: int) -> None:
        super().__init__()
        if embedding_size < 1:
            raise ParameterError(f"embedding_size must be >= 1, got {embedding_size}")
        if num_classes < 1:
            raise ParameterError(f"num_classes must be >= 1, got {num_classes}")
        self.embedding_size = embedding_size
        self.num_classes = num_classes

    def forward(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """The loss of a batch, computed in float32 even under autocast.

        Args:
            embeddings: The embeddings as the network gives them; half types are
                promoted.
            labels: The class of each embedding, in [0, num_classes).

        Returns:
            The loss, and the logits of a head that classifies.

        Raises:
            DataError: If the batch is empty, of another size or has a label out of
                range.
            DivergedError: If an embedding is NaN or infinite.
        """
        check_batch(embeddings, labels, self.embedding_size, self.num_classes)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.compute(at_least_float32(embeddings), labels)

    @abstractmethod
    def compute(
        self, embeddings: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"]
    ) -> HeadOutput:
        """What a subclass defines: the loss of a checked batch, float32 or float64."""

    def class_vectors(self) -> Float[Tensor, "classes dim"] | None:
        """The vector of each class that features are turned towards, if there is one.

        These are the rows of a classifier or fixed anchors; the angles between them and
        the features tell how compact the classes are.
        """
        return None

    def class_points(self) -> Float[Tensor, "classes dim"] | None:
        """The place in feature space that each class is pulled to, if there is one.

        These are centers or anchors; a head that knows only directions has none.
        """
        return None

    def plain_parameters(self) -> list[nn.Parameter]:
        """Parameters that must move by plain gradient descent, whatever the optimiser.

        They get no momentum, no weight decay and none of Adam's scaling.
        """
        return []

    def sliced_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters, by name, of which this process holds the rows of its own classes.

        Every other parameter lies whole in every process.
        """
        return {}

    def held_classes(self, rank: int | None = None) -> range:
        """The classes whose rows a process holds; all but where processes share them.

        Args:
            rank: The process's number; None means this process.
        """
        return range(self.num_classes)

    def moving_rows(self) -> list[Tensor]:
        """Buffers, a row for each class, that the head itself moves with each batch."""
        return []


class JointHead(nn.Module):
    """Weighted heads on the same embeddings, such as softmax + 0.05 IE.

    Args:
        heads: Name, head and weight of each; the weight is at least 0.

    Raises:
        ParameterError: If there is no head, a weight is negative or a name comes twice.
    """

    def __init__(self, heads: list[tuple[str, Head, float]]) -> None:
        super().__init__()
        if not heads:
            raise ParameterError("heads must name at least one head")
        names = [name for name, _, _ in heads]
        if len(set(names)) < len(names):
            raise ParameterError(f"each head may stand once, got {', '.join(names)}")
        for name, _, weight in heads:
            if not weight >= 0:
                raise ParameterError(f"weight of {name} must be >= 0, got {weight}")
        self.heads = nn.ModuleDict({name: head for name, head, _ in heads})
        self.weights = {name: weight for name, _, weight in heads}

    def forward(
        self,
        embeddings: Float[Tensor, "batch dim"],
        labels: Int[Tensor, " batch"],
        teacher: Float[Tensor, "batch teacher_dim"] | None = None,
    ) -> HeadOutput:
        """The weighted sum; the parts are each head's own loss, before its weight.

        Args:
            embeddings: The embeddings as the network gives them.
            labels: The class of each embedding.
            teacher: A teacher's embedding of each crop, for the heads that learn from
                it.
        """
        outputs: dict[str, HeadOutput] = {
            name: head(embeddings, labels, teacher)
            if head.has_teacher
            else head(embeddings, labels)
            for name, head in self.heads.items()
        }
        loss = sum(
            (self.weights[name] * output.loss for name, output in outputs.items()),
            start=torch.zeros((), device=embeddings.device),
        )
        parts: dict[str, Tensor] = {}
        for name, output in outputs.items():
            parts[name] = output.loss.detach()
            parts |= {f"{name}.{part}": value for part, value in output.parts.items()}
        first = next(
            (
                output
                for output in outputs.values()
                if output.logits is not None or output.hits is not None
            ),
            HeadOutput(loss),
        )
        return HeadOutput(loss, first.logits, parts, first.hits)

    def class_vectors(self) -> Float[Tensor, "classes dim"] | None:
        """The class vectors of the first head that has them."""
        found = (head.class_vectors() for _, head in heads_in(self))
        return next((vectors for vectors in found if vectors is not None), None)

    def class_points(self) -> Float[Tensor, "classes dim"] | None:
        """The class points of the first head that has them."""
        found = (head.class_points() for _, head in heads_in(self))
        return next((points for points in found if points is not None), None)


def heads_in(module: nn.Module) -> list[tuple[str, Head]]:
    """The heads that a module is made of, each with its path in the module."""
    return [
        (path, part) for path, part in module.named_modules() if isinstance(part, Head)
    ]


def at_least_float32(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half types as float32, where sums keep their digits; float64 stays float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_batch(
    embeddings: Tensor, labels: Tensor, embedding_size: int, num_classes: int
) -> None:
    """Refuse a batch that no head can use, before it reaches a device's assert.

    Raises:
        DataError: If the batch is empty, of another size or has a label out of range.
        DivergedError: If an embedding is NaN or infinite.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != embedding_size:
        raise DataError(
            f"embeddings must be [batch, {embedding_size}], "
            f"got {list(embeddings.shape)}"
        )
    if labels.shape != embeddings.shape[:1]:
        raise DataError(
            f"labels must be [{len(embeddings)}], one for each embedding, "
            f"got {list(labels.shape)}"
        )
    if not len(labels):
        raise DataError("a batch must hold at least one embedding")
    # The values cost one wait for the device; a compiled graph cannot ask for them.
    if torch.compiler.is_compiling():
        return
    finite = embeddings.isfinite().all()
    known = (labels.min() >= 0) & (labels.max() < num_classes)
    if bool(finite & known):
        return
    check_labels(labels, num_classes)
    row = int((~embeddings.isfinite().all(dim=1)).int().argmax())
    raise DivergedError(f"embeddings hold NaN or infinity, first in row {row}")


def check_labels(labels: Int[Tensor, " labels"], num_classes: int) -> None:
    """Refuse labels outside [0, num_classes), before they reach a device.

    Raises:
        DataError: If a label is out of range; the message names the first one.
    """
    wrong = (labels < 0) | (labels >= num_classes)
    if bool(wrong.any()):
        first = int(labels[wrong][0])
        raise DataError(
            f"labels must be in [0, {num_classes}), got {first}: "
            "does the crop store have more identities than the head has classes?"
        )
