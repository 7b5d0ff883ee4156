"""A batch whose activations do not fit the memory, in parts."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from facever.heads import HeadOutput


def add_gradients(
    network: nn.Module,
    head: nn.Module,
    images: Float[Tensor, "batch 3 height width"],
    labels: Int[Tensor, " batch"],
    teacher: Float[Tensor, "batch teacher_dim"] | None = None,
    *,
    num_parts: int,
    bf16: bool,
) -> HeadOutput:
    """The loss of a batch; its gradients are added to those of network and head.

    In several parts the network runs twice: first without activations, so that the head
    meets the embeddings of the whole batch, once, whatever it compares or counts; then
    part by part with the gradients that the head gave. That costs a third more time.
    Batch normalisation takes its statistics from each part.

    Args:
        network: The network, which ``Processes.wrapped`` may have wrapped.
        head: The loss over embeddings and labels.
        images: The network's input, all samples of this process.
        labels: The class of each image.
        teacher: A teacher's embedding of each image, for heads that learn from it.
        num_parts: Number of parts that the batch is cut into; it divides the batch
            size, and 1 runs the network once.
        bf16: Whether the network computes in bfloat16; the head never does.

    Raises:
        DivergedError: If an embedding is NaN or infinite.

    References:
        Gao et al., Scaling deep contrastive learning batch size under memory limited
        setup, 2021.
    """

    def embed(part: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            embeddings: Tensor = network(part)
        return embeddings

    if num_parts == 1:
        output: HeadOutput = head(embed(images), labels, teacher)
        output.loss.backward()  # type: ignore[no-untyped-call]
        return output
    parts = images.chunk(num_parts)
    with torch.no_grad(), _running_statistics_kept(network):
        embeddings = torch.cat([embed(part) for part in parts])
    embeddings.requires_grad_()
    output = head(embeddings, labels, teacher)
    output.loss.backward()  # type: ignore[no-untyped-call]
    assert embeddings.grad is not None
    gradients = embeddings.grad.chunk(num_parts)
    for number, (part, gradient) in enumerate(zip(parts, gradients, strict=True), 1):
        with _gradients_exchanged(network, number == num_parts):
            embed(part).backward(gradient)  # type: ignore[no-untyped-call]
    return output


@contextmanager
def _running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch normalisation as in training, but nothing of it is remembered."""
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.training
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _gradients_exchanged(
    network: nn.Module, is_last: bool
) -> AbstractContextManager[None]:
    """Processes exchange the gradients of the sum, once a batch."""
    if is_last or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()
