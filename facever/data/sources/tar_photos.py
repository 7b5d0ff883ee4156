"""Photos in tar files, as webdataset lays them out.

A member's key is its path up to the first dot behind the last slash; members of one key
are one sample: a photo (``key.jpg``) and what is known of it (``key.json``, ``key.txt``
or ``key.cls``).
"""

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float64

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import DataError, FileError, PhotoError
from facever.faces.photo_source import (
    PHOTO_SUFFIXES,
    NoPhoto,
    PhotoListing,
    PhotoPart,
    PhotoSource,
    identity_of,
    safe_name,
    suffix_of,
)
from facever.faces.photos import MAX_FILE_BYTES, begins_as_photo

_SIGNS = (".json", ".txt", ".cls")
_MAX_SIGN_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 20
_BEGINNING_BYTES = 12


@dataclass(frozen=True, slots=True)
class TarPart:
    """A member of a tar file.

    Attributes:
        start: The byte where its content begins.
        size: In bytes.
    """

    start: int
    size: int

    @property
    def where(self) -> str:
        """The place in words."""
        return f"byte {self.start}"

    def read(self, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
        """The member's content.

        Raises:
            PhotoError: If the file cannot be read or is shorter.
        """
        try:
            with path.open("rb") as file:
                file.seek(self.start)
                content = file.read(self.size)
        except OSError as error:
            raise PhotoError(f"cannot be opened: {error.strerror}") from None
        if len(content) != self.size:
            raise PhotoError(f"byte {self.start}: the tar file is cut off")
        return content


@dataclass
class _Sample:
    photos: list[tuple[str, PhotoPart]] = field(default_factory=list)
    signs: dict[str, TarPart] = field(default_factory=dict)


def list_tar_photos(path: Path) -> PhotoListing:
    """List the photos of a tar file, or of all ``.tar`` files in a folder.

    A photo is known by its suffix, or else by its first bytes. It is named by its
    member; in a folder, behind the name of the tar file and a slash. Its identity is
    ``identity`` or ``label`` of the JSON object, or the text of ``.txt``, or else of
    ``.cls``; without any it is that of a photo in a folder. The JSON object may also
    have ``landmarks``, five pairs of pixels. What is damaged is listed with the reason.

    Raises:
        FileError: If a file cannot be read or is no tar file.
        DataError: If a member is outside the folder or named twice.
    """
    photos: list[PhotoSource] = []
    skipped: Counter[str] = Counter()
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    for shard in shards:
        prefix = f"{shard.stem}/" if path.is_dir() else ""
        photos += _list_shard(shard, prefix, skipped)
    has_landmarks = any(photo.landmarks is not None for photo in photos)
    return PhotoListing(photos, skipped, has_landmarks)


def _list_shard(
    path: Path, prefix: str, skipped: Counter[str]
) -> Iterator[PhotoSource]:
    samples: dict[str, _Sample] = {}
    names: set[str] = set()
    for name, part in _members(path, skipped):
        name = safe_name(str(path), name)
        if name in names:
            raise DataError(f"{path}: {name} is in the tar file twice")
        names.add(name)
        folder, slash, file = name.rpartition("/")
        key = folder + slash + file.partition(".")[0]
        suffix = suffix_of(name)
        if isinstance(part, TarPart) and suffix in _SIGNS:
            samples.setdefault(key, _Sample()).signs[suffix] = part
        elif _is_photo(path, suffix, part):
            samples.setdefault(key, _Sample()).photos.append((name, part))
        else:
            skipped[suffix] += 1
    for sample in samples.values():
        for name, part in sample.photos:
            identity, landmarks = "", None
            if not isinstance(part, NoPhoto):
                try:
                    identity, landmarks = _read_signs(path, name, sample.signs)
                except PhotoError as error:
                    part = NoPhoto(str(error))
            yield PhotoSource(prefix + name, identity, path, part, landmarks)


def _is_photo(path: Path, suffix: str, part: PhotoPart) -> bool:
    """Whether a member is a photo, by its suffix or its first bytes, or damaged."""
    if suffix in PHOTO_SUFFIXES or not isinstance(part, TarPart):
        return True
    beginning = replace(part, size=min(part.size, _BEGINNING_BYTES))
    return begins_as_photo(beginning.read(path))


class _HeaderReader(io.FileIO):
    """A tar file of which ``tarfile`` reads the headers alone, so no read is large."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES:
            raise ValueError(f"a header of over {_MAX_HEADER_BYTES} bytes")
        return super().read(size) or b""


def _members(path: Path, skipped: Counter[str]) -> Iterator[tuple[str, PhotoPart]]:
    """The files in a tar file, and what is damaged."""
    end = 0
    try:
        size = os.path.getsize(path)
        with (
            _HeaderReader(path) as file,
            tarfile.open(fileobj=file, mode="r:", ignore_zeros=True) as tar,
        ):
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # It keeps them all.
                if member.size < 0:
                    raise ValueError(f"a size of {member.size} bytes")
                if member.offset > end and _has_bytes(path, end):
                    yield f"byte-{end}", NoPhoto(f"byte {end}: no member begins here")
                end = member.offset_data + (member.size + 511) // 512 * 512
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    skipped[suffix_of(member.name)] += 1
                elif member.offset_data + member.size > size:
                    reason = f"byte {member.offset_data}: the tar file is cut off"
                    yield member.name, NoPhoto(reason)
                elif member.size > MAX_FILE_BYTES:
                    yield member.name, NoPhoto("too large: over 1 GiB")
                else:
                    yield member.name, TarPart(member.offset_data, member.size)
            if not end and _has_bytes(path, end):
                raise FileError(f"{path} is no tar file, or a compressed one")
            if end < size and _has_bytes(path, end):
                yield f"byte-{end}", NoPhoto(f"byte {end}: no member begins here")
    except tarfile.TarError as error:
        # The end of the file comes within a member.
        if not end:
            raise FileError(f"{path} is no tar file: {error}") from None
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, OverflowError, IndexError, RecursionError) as error:
        # Where the next member begins is not known behind such a header.
        if end >= size:
            return
        reason = (
            f"byte {end}: the header is damaged ({error}); nothing behind it is read"
        )
        if not end:
            raise FileError(f"{path}: {reason}") from None
        yield f"byte-{end}", NoPhoto(reason)


def _has_bytes(path: Path, at: int) -> bool:
    """Whether something else than the zeros of an end stands in a block."""
    with path.open("rb") as file:
        file.seek(at)
        return any(file.read(tarfile.BLOCKSIZE))


def _read_signs(
    path: Path, name: str, signs: dict[str, TarPart]
) -> tuple[str, Float64[np.ndarray, "5 2"] | None]:
    """The identity and the landmarks of a photo.

    Raises:
        PhotoError: If they are not as they should be; the message is the reason alone.
    """
    texts: dict[str, str] = {}
    for suffix, part in signs.items():
        if part.size > _MAX_SIGN_BYTES:
            raise PhotoError(f"its {suffix} has over {_MAX_SIGN_BYTES} bytes")
        try:
            texts[suffix] = part.read(path).decode().strip()
        except UnicodeDecodeError:
            raise PhotoError(f"its {suffix} is not UTF-8 text") from None
    known: object = {}
    if ".json" in texts:
        try:
            known = json.loads(texts[".json"])
        except (ValueError, RecursionError):
            raise PhotoError("its .json is damaged") from None
    facts = known if isinstance(known, dict) else {}
    named = (facts.get("identity"), facts.get("label"))
    for identity in (*named, texts.get(".txt"), texts.get(".cls")):
        if identity is not None:
            break
    else:
        identity = identity_of(str(PurePosixPath(name)))
    if not isinstance(identity, str | int) or not str(identity).strip():
        raise PhotoError("its identity is empty")
    return str(identity).strip(), _read_landmarks(facts.get("landmarks"))


def _read_landmarks(value: object) -> Float64[np.ndarray, "5 2"] | None:
    if value is None:
        return None
    try:
        points = np.array(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise PhotoError("its landmarks are no numbers") from None
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise PhotoError("its landmarks are not five pairs of finite numbers")
    return points
