import hashlib

import pytest

from facever.errors import ModelFileError
from facever.packaged import PackagedFile


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A file in a package that cannot be imported."""
    package = tmp_path / "brings_networks"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError")
    (package / "models" / "net.onnx").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256(b"weights").hexdigest()
    return PackagedFile(
        "Net (MIT)",
        "brings_networks",
        "models/net.onnx",
        digest,
        "ready",
        "name another",
    )


def test_the_file_is_found_and_the_package_not_imported(packaged, tmp_path):
    assert packaged.find() == tmp_path / "brings_networks" / "models" / "net.onnx"


@pytest.mark.parametrize("content", [b"Weights", None])
def test_another_file_is_refused(packaged, content):
    path = packaged.find()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        ModelFileError, match=r"net.onnx is not the file of Net \(MIT\)"
    ):
        packaged.find()


def test_a_package_that_is_missing(packaged):
    missing = PackagedFile(
        "Net (MIT)", "no_such_package", "net.onnx", "", "ready", "name another"
    )
    with pytest.raises(
        ModelFileError, match=r"not installed: pip install '.\[ready\]'"
    ):
        missing.find()
