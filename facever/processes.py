"""What every worker process of facever does when it starts."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

import cv2


def start_worker() -> None:
    """Make this process a worker: it ends with its parent and leaves Ctrl-C to it.

    OpenCV gets one thread here, since there is a worker for every CPU already.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """End this worker when the run is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
