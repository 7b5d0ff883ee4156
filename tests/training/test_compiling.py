import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from facever.errors import ParameterError
from facever.heads import HEADS, JointHead
from facever.inference.preprocessing import Preprocessing
from facever.training.checkpoint import TrainingState
from facever.training.fit import Callbacks, Computation, Intervals, fit
from facever.training.log_lines import LogLine
from facever.training.optimiser import parameter_groups
from facever.training.schedule import Schedule

pytestmark = pytest.mark.usefixtures("one_thread", "types_unchecked")


class SmallNetwork(nn.Module):
    """Two layers with all that the larger ones have, compiled in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=8, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.slope = nn.PReLU(4)
        self.fc5 = nn.Linear(4 * 14 * 12, 8)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.fc5(
            self.slope(self.norm(self.convolution(images))).flatten(1)
        )
        return found


def train(
    tiny: SimpleNamespace, *, is_compiled: bool, num_parts: int
) -> tuple[list[float], TrainingState]:
    lines: list[LogLine] = []
    torch.manual_seed(0)
    network = SmallNetwork().to(memory_format=torch.channels_last)
    head = JointHead([("softmax", HEADS["softmax"](8, 4), 1.0)])
    groups = parameter_groups(network, head, weight_decay=5e-4)
    state = TrainingState(network, head, torch.optim.SGD(groups, lr=1.0, momentum=0.9))
    fit(
        state,
        tiny.make_loader(),
        Preprocessing(),
        Schedule(5, 0.05),
        Computation(torch.device("cpu"), num_parts=num_parts, is_compiled=is_compiled),
        Intervals(log=1),
        Callbacks(save=lambda: None, log=lines.append),
    )
    return [line["loss"] for line in lines], state


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("num_parts", [1, 2])
def test_compiled_trains_as_eager_does_under_the_same_names(
    tiny: SimpleNamespace, num_parts: int
) -> None:
    torch._dynamo.reset()
    compiled, eager = (
        train(tiny, is_compiled=each, num_parts=num_parts) for each in (True, False)
    )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert compiled[0] == pytest.approx(eager[0], rel=1e-3)
    assert compiled[0][-1] != compiled[0][0]
    weights, expected = (run[1].network.state_dict() for run in (compiled, eager))
    assert list(weights) == list(expected)
    assert not any("_orig_mod" in name for name in weights)
    for name, value in weights.items():
        assert torch.allclose(value, expected[name], rtol=1e-2, atol=1e-4), name


def test_without_a_compiler_one_line(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config as settings

    monkeypatch.setattr(settings.cpp, "cxx", (None, str(tmp_path / "no compiler")))
    torch._dynamo.reset()
    with settings.patch(force_disable_caches=True):  # type: ignore[attr-defined]
        with pytest.raises(ParameterError) as caught:
            train(tiny, is_compiled=True, num_parts=1)
    message = str(caught.value)
    assert message.startswith("compile=true: ")
    assert message.endswith("or leave it out")
    assert "\n" not in message
