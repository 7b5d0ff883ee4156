"""From photos or crops to embeddings, with a model file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast, get_args, overload

import numpy as np
from jaxtyping import Float32, UInt8

from facever.choices import (
    DEFAULT_FACE,
    DEFAULT_MAX_PIXELS,
    ArrayChannels,
    Backend,
    Detector,
    FaceRule,
    OneFace,
    OnError,
    Precision,
)
from facever.data.store.crop_store import Crops
from facever.errors import DataError, ParameterError, PhotoError
from facever.faces.aligner import NO_FACE, AlignedPhoto, PhotoAligner
from facever.faces.detection import Face
from facever.faces.detectors import Detect, check_detector, make_detector
from facever.faces.given_photo import GivenPhoto, as_sources, is_one_photo
from facever.faces.photos import check_max_pixels
from facever.hardware import device_name
from facever.inference.header import ModelHeader
from facever.inference.model import LoadedModel
from facever.inference.model_file import load_model
from facever.inference.vectors import unit_or_zero
from facever.inference.verdict import ComparedPhoto, Verification, choose_threshold
from facever.progress import Advance, ignore_progress
from facever.results import plain, plain_fields
from facever.runtimes import check_backend

# Photos that are held in memory at a time.
_BATCH_PHOTOS = 32

NO_EMBEDDING = "the network's embedding is all zero or not finite"
"""The reason of a face that has a crop and no embedding."""


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddedFace(Face):
    """A face in a photo, cut out and embedded.

    Attributes:
        crop: The aligned crop, RGB.
        embedding: The crop's embedding, of unit length.
    """

    crop: UInt8[np.ndarray, "high wide 3"]
    embedding: Float32[np.ndarray, " dim"]

    @property
    def _summary(self) -> str:
        return f"{super()._summary}, embedding of {len(self.embedding)} numbers"

    def to_dict(self) -> dict[str, Any]:
        """All but the crop's pixels, as plain values that JSON can hold."""
        return {**super().to_dict(), "embedding": plain(self.embedding)}


@dataclass(frozen=True, repr=False)
class EmbeddedPhoto(AlignedPhoto):
    """What became of a photo, with the embeddings of its faces.

    Attributes:
        embeddings: The embedding of each crop, of unit length.
    """

    embeddings: Float32[np.ndarray, "faces dim"]

    def to_dict(self) -> dict[str, Any]:
        """All but the crops' pixels, as plain values that JSON can hold."""
        return {**super().to_dict(), "embeddings": plain(self.embeddings)}


@dataclass(frozen=True, eq=False, repr=False)
class KeptEmbeddings:
    """The embeddings of the photos that have one, and what became of the others.

    Attributes:
        embeddings: Embeddings of unit length, a row for each photo that is kept.
        kept: The place of each row's photo among those that were given, from 0.
        failed: Why the others have none, by their places.
    """

    embeddings: Float32[np.ndarray, "kept dim"]
    kept: list[int]
    failed: dict[int, str]

    def __repr__(self) -> str:
        return f"KeptEmbeddings({len(self.kept)} kept, {len(self.failed)} failed)"

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values that JSON can hold."""
        return plain_fields(self)


class Embedder:
    """A model and a detector: the one way from photos to embeddings.

    A photo's faces are found, chosen, cut out and embedded by these methods wherever
    facever does so: from Python, in galleries, on the web page and in evaluations.

    Args:
        model: A model from ``load_model``, whose network moves to the device.
        device: ``auto``, ``cpu``, ``cuda``... for network and detector.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where the device has units for
            it.
        detector: How faces are found; it is loaded with the first photo.
        max_pixels: Height times width of the largest photo that is read.
        backend: What computes the network and the detector's: ``torch``,
            ``onnxruntime``, ``openvino``, or ``auto``: the fastest that is installed
            and known to give the same.

    Attributes:
        header: What the model file says of itself.
        model_fingerprint: The fingerprint of weights and preprocessing.
        embedding_size: Numbers in an embedding.
        template: The crops that the model takes.
        detector: How faces are found.
        started: What computes the network, where, and with which numbers.

    Raises:
        ParameterError: If the device is not there, the precision, the detector or the
            backend is unknown or cannot compute this network, or ``max_pixels`` is
            below 1.
        ModelFileError: If the backend is not installed.
    """

    def __init__(
        self,
        model: LoadedModel,
        device: str = "auto",
        precision: Precision = "auto",
        detector: Detector = "mtcnn",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        backend: Backend = "auto",
    ) -> None:
        if precision not in ("auto", "bf16", "fp32"):
            raise ParameterError(
                f"precision must be auto, bf16 or fp32, got {precision!r}"
            )
        self.header: ModelHeader = model.header
        self.model_fingerprint = model.fingerprint
        self.embedding_size = model.feature_size
        self.template = model.template
        check_backend(backend)
        self._device = device_name(device)
        self._backend = backend
        self.started = model.network.start(
            model.header, self._device, precision, backend
        )
        check_detector(detector)
        check_max_pixels(max_pixels)
        self._max_pixels = max_pixels
        self.detector: Detector = detector

    def __repr__(self) -> str:
        return (
            f"Embedder(network={self.header.network}, "
            f"embedding_size={self.embedding_size}, computed by {self.started}, "
            f"model={self.model_fingerprint[:12]})"
        )

    def embed_crops(
        self,
        crops: Crops,
        batch_size: int = 64,
        advance: Advance = ignore_progress,
    ) -> Float32[np.ndarray, "crops dim"]:
        """Features of crops, merged with those of their mirror images.

        Args:
            crops: RGB; those of a store are read batch by batch.
            batch_size: Crops at a time, at least 1; changes the speed only.
            advance: Progress, one unit a crop.

        Returns:
            Not normalised: PCA wants the features as they are. The mirror rule of the
            model file decides: ``sum`` and ``none`` give ``embedding_size`` dimensions
            of the network, ``concat`` twice as many.
        """
        if batch_size < 1:
            raise ParameterError(f"batch_size must be >= 1, got {batch_size}")
        embeddings = np.empty((len(crops), self.embedding_size), np.float32)
        for start in range(0, len(crops), batch_size):
            chunk = np.asarray(crops[start : start + batch_size])
            embeddings[start : start + len(chunk)] = self._features(chunk)
            advance(len(chunk))
        return embeddings

    def _features(
        self, crops: UInt8[np.ndarray, "crops high wide 3"]
    ) -> Float32[np.ndarray, "crops dim"]:
        mirror = self.header.mirror
        views = self.started.compute(crops, mirror != "none")
        if mirror == "concat":
            return np.concatenate(views, axis=1)
        merged: np.ndarray = views.sum(axis=0)
        return merged

    def align(
        self,
        photos: Iterable[GivenPhoto],
        face: FaceRule = DEFAULT_FACE,
        by_landmarks: bool = False,
        channels: ArrayChannels = "rgb",
    ) -> list[AlignedPhoto]:
        """Find faces in photos and cut them out.

        Args:
            photos: Photos of any kinds; ``facever.faces.given_photo.as_source`` lists
                them.
            face: Which faces to take of a photo that has several.
            by_landmarks: Use the landmarks that the photos' sources list, not the
                detector.
            channels: The order of colours in arrays.

        Returns:
            What became of each photo, in their order; a photo that cannot be read or
            gives no face says why.

        Raises:
            ParameterError: If something is no photo, or the rule is unknown.
        """
        aligner = PhotoAligner(
            detect=None if by_landmarks else self._detect,
            by_landmarks=by_landmarks,
            face=face,
            max_pixels=self._max_pixels,
            template=self.template,
        )
        return aligner.align(list(as_sources(photos, channels, self._max_pixels)))

    def read(
        self,
        photos: Iterable[GivenPhoto],
        face: FaceRule = DEFAULT_FACE,
        by_landmarks: bool = False,
        channels: ArrayChannels = "rgb",
    ) -> list[EmbeddedPhoto]:
        """Find faces in photos, cut them out and embed them.

        Args:
            photos: As for ``align``; their crops are held in memory together.
            face: Which faces to take of a photo that has several.
            by_landmarks: As for ``align``.
            channels: The order of colours in arrays.

        Returns:
            The faces of each photo, in their order; a photo that cannot be read, gives
            no face, or has a face whose embedding is zero or not finite, says why.

        Raises:
            ParameterError: If something is no photo, or the rule is unknown.
        """
        aligned = self.align(photos, face, by_landmarks, channels)
        if not aligned:
            return []
        features = self.embed_crops(np.concatenate([photo.crops for photo in aligned]))
        ends = np.cumsum([len(photo.crops) for photo in aligned])
        return [
            _embedded(photo, own)
            for photo, own in zip(aligned, np.split(features, ends[:-1]), strict=True)
        ]

    def faces(
        self, photo: GivenPhoto, channels: ArrayChannels = "rgb"
    ) -> list[EmbeddedFace]:
        """Every face of a photo.

        Args:
            photo: A photo of any kind, as for ``align``.
            channels: The order of colours in an array.

        Returns:
            The faces, largest first; none where no face is found.

        Raises:
            PhotoError: If the photo cannot be read; the message names it.
            DataError: If an embedding is zero or not finite; the message names the
                photo.
            ParameterError: If it is no photo.
        """
        [found] = self.read([photo], "all", channels=channels)
        if found.reason != NO_FACE:
            found.check()
        return [
            EmbeddedFace(face.landmarks, face.box, face.score, crop, embedding)
            for face, crop, embedding in zip(
                found.faces, found.crops, found.embeddings, strict=True
            )
        ]

    @overload
    def embed(
        self,
        photos: GivenPhoto | Iterable[GivenPhoto],
        *,
        channels: ArrayChannels = "rgb",
        on_error: Literal["raise"] = "raise",
    ) -> Float32[np.ndarray, "*photos dim"]: ...

    @overload
    def embed(
        self,
        photos: GivenPhoto | Iterable[GivenPhoto],
        *,
        channels: ArrayChannels = "rgb",
        on_error: Literal["skip"],
    ) -> KeptEmbeddings: ...

    def embed(
        self,
        photos: GivenPhoto | Iterable[GivenPhoto],
        *,
        channels: ArrayChannels = "rgb",
        on_error: OnError = "raise",
    ) -> Float32[np.ndarray, "*photos dim"] | KeptEmbeddings:
        """The embedding of the prominent face of a photo, or of each of many.

        Args:
            photos: A photo of any kind, as for ``align``; or many, which may come from
                a generator: few are held in memory at a time.
            channels: The order of colours in arrays.
            on_error: ``raise``: the first photo without an embedding is an error.
                ``skip``: the others are embedded, and it is listed with its reason.

        Returns:
            Embeddings of unit length, so that a dot product is the cosine: ``[D]`` for
            one photo, ``[N, D]`` for many. With ``skip`` always a ``KeptEmbeddings``,
            which says which photo each row belongs to.

        Raises:
            PhotoError: If a photo cannot be read; the message names it.
            DataError: If no face is found in a photo, or its embedding is zero or not
                finite; the message names it.
            ParameterError: If something is no photo, with ``skip``, too.
        """
        if on_error not in ("raise", "skip"):
            raise ParameterError(f"on_error must be raise or skip, got {on_error!r}")
        one = is_one_photo(photos)
        rows: list[Float32[np.ndarray, " dim"]] = []
        kept: list[int] = []
        failed: dict[int, str] = {}
        many = cast(Iterable[GivenPhoto], [photos] if one else photos)
        for place, photo in enumerate(self._read_in_turn(many, channels)):
            try:
                photo.check()
            except (PhotoError, DataError) as error:
                if on_error == "raise":
                    raise
                failed[place] = str(error)
            else:
                kept.append(place)
                rows.append(photo.embeddings[0])
        embeddings = np.array(rows, np.float32).reshape(-1, self.embedding_size)
        if on_error == "skip":
            return KeptEmbeddings(embeddings, kept, failed)
        return embeddings[0] if one else embeddings

    def verify(
        self,
        first: GivenPhoto,
        second: GivenPhoto,
        threshold: float | None = None,
        face: OneFace = DEFAULT_FACE,
        *,
        far: float | None = None,
        channels: ArrayChannels = "rgb",
    ) -> Verification:
        """Whether two photos show the same person.

        Args:
            first: A photo of any kind, as for ``align``.
            second: The other.
            threshold: The cosine above which it is the same person, in [-1, 1]; by
                default the model's own.
            face: Which face to compare of a photo that has several; see
                ``choose_faces``.
            far: In place of a threshold, the false accept rate of one that the model
                knows: the share of pairs of different people that it accepts.
            channels: The order of colours in arrays.

        Returns:
            The answer, with the cosine, what the threshold accepts, and which faces
            were compared; printed, it is in words.

        Raises:
            PhotoError: If a photo cannot be read; the message names it.
            DataError: If no face is found in a photo, or its embedding is zero or not
                finite; the message names it.
            ParameterError: If something is no photo, the threshold is no cosine, the
                model knows no threshold of that rate, or the rule is no choice of one
                face.
        """
        if face not in get_args(OneFace):
            rules = ", ".join(get_args(OneFace))
            raise ParameterError(f"face must be one of {rules}, got {face!r}")
        threshold, far = choose_threshold(self.header, threshold, far)
        read = self.read([first, second], face, channels=channels)
        for photo in read:
            photo.check()
        left, right = (photo.embeddings[0] for photo in read)
        is_own = threshold == self.header.threshold
        cosine = float(np.clip(left @ right, -1, 1))
        return Verification(
            same=None if threshold is None else cosine > threshold,
            cosine=cosine,
            threshold=threshold,
            far=far,
            first=_compared(read[0]),
            second=_compared(read[1]),
            set_on=self.header.threshold_set_on if is_own else None,
            checked_on=self.header.threshold_checked_on if is_own else None,
        )

    def _read_in_turn(
        self, photos: Iterable[GivenPhoto], channels: ArrayChannels
    ) -> Iterator[EmbeddedPhoto]:
        """The prominent face of each photo; few photos are in memory at a time."""
        sources = as_sources(photos, channels, self._max_pixels)
        while batch := list(islice(sources, _BATCH_PHOTOS)):
            yield from self.read(batch)

    @cached_property
    def _detect(self) -> Detect | None:
        return make_detector(self.detector, self._device, self._backend)


def _embedded(
    photo: AlignedPhoto, features: Float32[np.ndarray, "faces dim"]
) -> EmbeddedPhoto:
    """A photo with its embeddings; it has failed if one of them has no direction."""
    embeddings = unit_or_zero(np.where(np.isfinite(features), features, 0))
    whole = np.isfinite(features).all(axis=1) & embeddings.any(axis=1)
    if whole.all():
        return EmbeddedPhoto(**vars(photo), embeddings=embeddings)
    failed = photo.without_faces(NO_EMBEDDING)
    return EmbeddedPhoto(**vars(failed), embeddings=embeddings[:0])


def _compared(photo: EmbeddedPhoto) -> ComparedPhoto:
    return ComparedPhoto(photo.source, photo.num_found, photo.faces[0])


def load(
    model: str | Path,
    device: str = "auto",
    precision: Precision = "auto",
    detector: Detector = "mtcnn",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    backend: Backend = "auto",
) -> Embedder:
    """An ``Embedder`` from a model file, or of a ready model.

    Args:
        model: A model file, such as ``facever train`` writes, or a ready model's name.
        device: ``auto``, ``cpu``, ``cuda``...
        precision: ``auto``, ``bf16`` or ``fp32``.
        detector: How faces are found in photos; see ``facever.choices.Detector``.
        max_pixels: Height times width of the largest photo that is read.
        backend: What computes; see ``Embedder``.

    Returns:
        An embedder that is ready to ``embed`` and ``verify`` photos.

    Raises:
        ModelFileError: If the file is missing, damaged or foreign, or the backend is
            not installed.
        ParameterError: If the device is not there, ``max_pixels`` is below 1, or the
            backend cannot compute this network.
    """
    return Embedder(load_model(model), device, precision, detector, max_pixels, backend)
