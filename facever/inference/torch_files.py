"""Files of ``torch.save``, read without running anything that is in them."""

import zipfile
from pathlib import Path
from typing import Any

import torch


class StandIn:
    """Takes the place of an object that is not torch's own, and holds nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_archive(path: Path) -> Any:
    """The content of a file of today's ``torch.save``; its tensors are mapped.

    Raises:
        Exception: An error of nearly any class, on bytes that ``torch.save`` did not
            write. Its message may advise to read the file unsafely: it is not for our
            user.
    """
    with zipfile.ZipFile(path) as archive:
        # torch.load does not compare the checksums that torch.save wrote, and takes a
        # record for a folder, without content, where an attribute says so.
        if archive.testzip() or any(file.external_attr for file in archive.infolist()):
            raise zipfile.BadZipFile
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def read_torch_file(path: Path) -> Any:
    """The content of a file of ``torch.save``, with stand-ins for foreign objects.

    Checkpoints hold more than tensors: those of old versions of Lightning name classes
    of callbacks, others hold a numpy number. Whatever torch does not know itself
    becomes a ``StandIn``; no other class or function is imported or called. Files of
    torch before 1.6 are read only if they hold nothing foreign.

    Raises:
        Exception: As ``read_archive`` does.
    """
    if not zipfile.is_zipfile(path):
        return torch.load(path, map_location="cpu", weights_only=True)
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    with torch.serialization.safe_globals([(StandIn, name) for name in names]):
        return read_archive(path)
