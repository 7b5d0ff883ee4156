"""``facever train --dry-run``: what a run would take, after a few real steps of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from facever.config.training import TrainConfig
from facever.errors import ParameterError
from facever.files import hold_folder
from facever.inference.preprocessing import Preprocessing
from facever.progress import format_seconds
from facever.results import Result
from facever.stages.training.run_folder import check_same_run
from facever.stages.training.setup import PreparedRun, prepare_run, shown_bar
from facever.training.distributed import ALONE
from facever.training.fit import Callbacks, Intervals, fit
from facever.training.log_lines import LogLine
from facever.training.schedule import Schedule

# The first step allocates and, on a GPU, chooses its kernels; it is not counted.
_STEPS = 6


@dataclass(frozen=True)
class DryRun(Result):
    """What a training run takes.

    Attributes:
        num_weights: Number of weights of the network.
        num_head_weights: Number of weights of the heads.
        flops: Operations of the forward and backward pass for one crop, where a
            multiply-add counts as two.
        state_bytes: Bytes of the weights, the gradients, the optimiser's memory and the
            average.
        activation_bytes: Bytes that the forward pass keeps for the backward pass.
        steps: Number of steps of the whole run.
        step_seconds: Seconds that one whole step takes on this machine.
        data_seconds: Seconds of each step that are spent waiting for crops.
    """

    num_weights: int
    num_head_weights: int
    flops: int
    state_bytes: int
    activation_bytes: int
    steps: int
    step_seconds: float
    data_seconds: float

    def lines(self) -> list[str]:
        """For a person to read."""
        time = format_seconds(self.steps * self.step_seconds)
        total = self.state_bytes + self.activation_bytes
        return [
            f"weights:  {self.num_weights:,} of the network, "
            f"{self.num_head_weights:,} of the heads",
            f"work:     {self.flops / 1e9:.2f} GFLOP a crop, forward and backward",
            f"memory:   {total / 1e9:.2f} GB: {self.state_bytes / 1e9:.2f} for "
            f"weights, gradients and optimiser, {self.activation_bytes / 1e9:.2f} for "
            "activations; crops and work space come on top",
            f"time:     {time}: {self.steps:,} steps of "
            f"{self.step_seconds:.3f} s, {self.data_seconds / self.step_seconds:.0%} "
            "of it waiting for crops, on this machine as busy as it is now",
        ]


def dry_run(config: TrainConfig) -> DryRun:
    """Measure a few real steps of a run; an old run is left alone.

    The run's folder is held meanwhile, and taken away again if it was not there.

    Args:
        config: The config of a run in one process.

    Raises:
        FaceverError: If the run itself would be refused.
        ParameterError: If it is called under torchrun.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ParameterError("--dry-run times one process: run it without torchrun")
    check_same_run(config)
    with hold_folder(config.out):
        return _measure(config)


def _measure(config: TrainConfig) -> DryRun:
    run = prepare_run(config)
    flops, activations = _measure_network(config, run)
    line = _time_steps(config, run)
    return DryRun(
        num_weights=_count(run.network),
        num_head_weights=_count(run.state.head),
        flops=flops,
        state_bytes=_state_bytes(run),
        activation_bytes=activations,
        steps=run.schedule.steps,
        step_seconds=config.batch_size / line["crops_per_second"],
        data_seconds=line["data_seconds"],
    )


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _measure_network(config: TrainConfig, run: PreparedRun) -> tuple[int, int]:
    """FLOPs of a crop, and bytes that a part of the batch keeps for the backward."""
    part = config.batch_size // run.computation.num_parts
    device, bf16 = run.device, run.computation.bf16
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return value

    # Two crops, as batch normalisation in training needs; a part is in proportion.
    crops = torch.zeros(2, *run.crops.shape[1:], dtype=torch.uint8)
    images = Preprocessing(run.preprocessing.mean)(crops.to(device))
    weights = {each.data_ptr() for each in run.network.parameters()}
    backward = torch.ops.aten.convolution_backward
    counter = FlopCounterMode(display=False, custom_mapping={backward: _backward_flops})
    run.network.eval()
    with counter:
        with (
            saved_tensors_hooks(keep, lambda value: value),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        ):
            embeddings = run.network(images)
        embeddings.sum().backward()
    run.network.zero_grad(set_to_none=True)
    activations = sum(size for place, size in kept.items() if place not in weights)
    return counter.get_total_flops() // 2, activations * part // 2


def _backward_flops(
    gradients: torch.Size,
    inputs: torch.Size,
    weights: torch.Size,
    *rest: Any,
    out_shape: object,
) -> int:
    """FLOPs of a convolution; torch's own formula takes grouped ones for full ones."""
    asked: Sequence[bool] = rest[-1]  # For inputs, weights and bias.
    return sum(asked[:2]) * conv_flop_count(
        list(inputs), list(weights), list(gradients)
    )


def _time_steps(config: TrainConfig, run: PreparedRun) -> LogLine:
    """The log line of a few steps of the real loop, after a first one."""
    lines: list[LogLine] = []
    with shown_bar("time a few steps", _STEPS * config.batch_size, ALONE) as advance:
        for steps in (1, _STEPS):
            fit(
                run.state,
                run.loader,
                run.preprocessing,
                # A rate that cannot diverge; a step takes as long at any rate.
                Schedule(steps, 1e-6),
                run.computation,
                Intervals(log=_STEPS, checkpoint=_STEPS),
                Callbacks(save=lambda: None, log=lines.append, advance=advance),
            )
    return lines[-1]


def _state_bytes(run: PreparedRun) -> int:
    """After steps were made, so that the optimiser holds all that it will."""
    modules = (run.network, run.state.head)
    tensors = [value for module in modules for value in module.state_dict().values()]
    tensors += [weight for module in modules for weight in _learning(module)]
    for kept in run.state.optimiser.state.values():
        tensors += [value for value in kept.values() if isinstance(value, Tensor)]
    if run.state.average is not None:
        tensors += run.state.average.weights.values()
    return sum(each.numel() * each.element_size() for each in tensors)


def _learning(module: nn.Module) -> list[Tensor]:
    """Parameters with a gradient of their own size."""
    return [each for each in module.parameters() if each.requires_grad]
