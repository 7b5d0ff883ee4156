"""The numbers of a run for TensorBoard, which is an extra of facever."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facever.errors import ParameterError
from facever.training.log_lines import LogLine


def check_tensorboard() -> None:
    """Refuse to start where TensorBoard is not installed.

    Raises:
        ParameterError: If the package is missing.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise ParameterError(
            "tensorboard=true needs the extra: pip install 'facever[tensorboard]', or "
            "leave it out; log.jsonl holds the same numbers"
        ) from None


@contextmanager
def tensorboard_log(folder: Path, step: int) -> Iterator[Callable[[LogLine], None]]:
    """Write lines of the log as scalars, under the names that they have there.

    Args:
        folder: The folder of the event files; each start of a run adds one.
        step: The step from which the run goes on. What an earlier start wrote about
            later steps is no longer shown.

    Yields:
        A function of a line; what it was given is on the disk when it returns.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(line: LogLine) -> None:
        for name, value in line.items():
            if name != "step":
                writer.add_scalar(name, value, int(line["step"]))
        writer.flush()

    try:
        yield write
    finally:
        writer.close()
