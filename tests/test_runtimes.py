import signal
import subprocess
import sys

import pytest

_SIGNAL_AFTER_NETWORKS = """
import signal
import numpy as np
from facever.faces.mtcnn_backends import openvino_layers
from facever.faces.mtcnn_networks import CascadeNetwork, Convolution

weight = np.ones((1, 3, 3, 3), np.float32)
network = CascadeNetwork((Convolution(weight, np.zeros(1, np.float32)),), 12, None)
first = openvino_layers.start(network, "cpu")
second = openvino_layers.start(network, "cpu")
first(np.zeros((1, 3, 12, 12), np.float32))
del first
del second

signal.signal(signal.SIGTERM, lambda *_: print("noted"))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_after_openvino_has_let_networks_go_is_noted() -> None:
    """Each core would leave a stack for signals that is no more."""
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", _SIGNAL_AFTER_NETWORKS]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode != -signal.SIGSEGV
    assert (ended.returncode, ended.stdout) == (0, "noted\n"), ended.stderr
