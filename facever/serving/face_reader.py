"""From an uploaded photo to its faces and the embedding of one of them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from facever.choices import DEFAULT_MAX_PIXELS
from facever.errors import DataError, ParameterError
from facever.faces.aligner import AlignedPhoto
from facever.faces.detection import Face
from facever.faces.photo_source import photo_in_memory
from facever.faces.quality import low_quality
from facever.inference.embedder import Embedder
from facever.inference.vectors import unit_vectors
from facever.serving.batches import Batches
from facever.serving.uploads import Upload

Photo = UInt8[np.ndarray, "height width 3"]
Crop = UInt8[np.ndarray, "high wide 3"]
Embedding = Float32[np.ndarray, " dim"]
Decoded = TypeVar("Decoded")

# Faces are searched together in photos of this many pixels in all, or in a larger one.
# The detector on a CPU takes no more together.
_PIXELS_TOGETHER = 1_000_000
_SIDE_OF_BLANK = 64


@dataclass(frozen=True)
class ReadPhoto:
    """The faces of an uploaded photo, and the embedding of one of them.

    Attributes:
        height: Height of the upright photo in pixels.
        width: Width of the photo in pixels.
        faces: The faces, largest first; at least one.
        crop: The crop of the face that was asked for.
        embedding: The embedding of that crop, of unit length.
    """

    height: int
    width: int
    faces: Sequence[Face]
    crop: Crop
    embedding: Embedding


class FaceReader:
    """A detector and a model, loaded once for all requests.

    Photos are decoded in several threads. One thread finds the faces of all photos that
    wait for it, another embeds them meanwhile. Few decoded photos are held at a time.
    Large ones, which may take seconds and 240 MB each, hold places of their own: small
    ones pass them.

    Attributes:
        embedder: Finds and embeds faces.
        max_pixels: Height times width of the largest photo that is taken.
        min_quality: The least quality of a face.
        num_refused: Number of faces that were refused for theirs.
    """

    def __init__(
        self,
        embedder: Embedder,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        min_quality: Mapping[str, float] | None = None,
    ) -> None:
        """Take what finds and embeds faces.

        Args:
            embedder: Finds and embeds faces.
            max_pixels: Height times width of the largest photo that is taken, at least
                1.
            min_quality: The least of some ``FACE_QUALITIES`` that a face must have.
        """
        self.embedder = embedder
        self.max_pixels = max_pixels
        self.min_quality = dict(min_quality or {})
        self.num_refused = 0
        self._small = _Places("small", num_threads=4, num_photos=16)
        self._large = _Places("large", num_threads=2, num_photos=2)
        self._detecting = ThreadPoolExecutor(1, "detecting")
        self._embedding = ThreadPoolExecutor(1, "embedding")
        self._alignments = Batches(self._detecting, self._align, _may_join)
        self._embeddings = Batches(self._embedding, self._embed)

    def warm_up(self) -> None:
        """Load the detector and compute once, so that no request waits for that.

        Raises:
            ModelFileError: If a package that the detector needs is not installed.
        """
        blank = np.zeros((_SIDE_OF_BLANK, _SIDE_OF_BLANK, 3), np.uint8)
        crop = np.zeros(self.embedder.template.shape, np.uint8)
        found = self._alignments.submit(blank)
        self._embedding.submit(self.embedder.embed_crops, crop[None]).result()
        found.result()

    async def read(self, receive: Callable[[], Upload], face: int = 0) -> ReadPhoto:
        """Find the faces of a photo and embed one of them.

        Args:
            receive: Gives the photo that was sent; it is called in a thread, once or
                twice, so that no photo that waits is in memory.
            face: Number of the face, counted from the largest, which is 0.

        Raises:
            UploadError: If the upload is not a photo that is accepted.
            DataError: If no face is found, or this one cannot be cut out, or is of too
                low quality.
            ParameterError: If there is no such face.
        """
        photo = await self._read_faces(receive)
        photo.check()
        if face >= len(photo.faces):
            raise ParameterError(
                f"face must be below {len(photo.faces)}, the number of faces found "
                f"in this photo, got {face}"
            )
        crop = photo.crops[face]
        if why := low_quality(photo.faces[face], crop, self.min_quality):
            self.num_refused += 1
            raise DataError(f"{why}: take another photo of this face")
        embedding = await asyncio.wrap_future(self._embeddings.submit(crop))
        return ReadPhoto(photo.height, photo.width, photo.faces, crop, embedding)

    def close(self) -> None:
        """End the threads when all that was asked is answered."""
        for threads in (
            *(self._small.threads, self._large.threads),
            *(self._detecting, self._embedding),
        ):
            threads.shutdown()

    async def _read_faces(self, receive: Callable[[], Upload]) -> AlignedPhoto:
        def decode_if_small() -> Photo | None:
            upload = receive()
            if upload.num_pixels(self.max_pixels) > _PIXELS_TOGETHER:
                return None
            return upload.decode(self.max_pixels)

        def decode() -> Photo:
            return receive().decode(self.max_pixels)

        # A place is held until the faces are found and the photo is no longer needed.
        async with self._small.room:
            image = await self._small.run(decode_if_small)
            if image is not None:
                return await asyncio.wrap_future(self._alignments.submit(image))
        async with self._large.room:
            image = await self._large.run(decode)
            return await asyncio.wrap_future(self._alignments.submit(image))

    def _align(self, images: Sequence[Photo]) -> list[AlignedPhoto]:
        photos = [photo_in_memory("this photo", image) for image in images]
        return self.embedder.align(photos, "all")

    def _embed(self, crops: Sequence[Crop]) -> list[Embedding]:
        return list(unit_vectors(self.embedder.embed_crops(np.stack(crops))))


class _Places:
    """Room for some decoded photos, and threads that decode them.

    A thread cannot be stopped: those who give up decoding leave the room, but not the
    thread, so that no more photos are decoded at a time than there are threads.
    """

    def __init__(self, name: str, num_threads: int, num_photos: int) -> None:
        self.threads = ThreadPoolExecutor(num_threads, f"decoding {name}")
        self.room = asyncio.Semaphore(num_photos)

    async def run(self, decode: Callable[[], Decoded]) -> Decoded:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, decode)


def _may_join(images: Sequence[Photo], image: Photo) -> bool:
    num_pixels = sum(each.size // 3 for each in (*images, image))
    return num_pixels <= _PIXELS_TOGETHER
