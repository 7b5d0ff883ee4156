import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data for tests: the folder that FACEVER_DATA names."""
    folder = os.environ.get("FACEVER_DATA")
    if not folder:
        pytest.skip("set FACEVER_DATA to the data folder to run this test")
    return Path(folder)
