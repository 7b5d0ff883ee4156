"""What can be asked: looking at photos, and, where it is allowed, changing people."""

import asyncio
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, HTTPException, Query, Request, UploadFile

from facever.errors import DataError, NotEnrolledError, ParameterError, UploadError
from facever.gallery.answering import answer, is_same, threshold_in_use
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Filter
from facever.gallery.meta import Threshold
from facever.serving.admission import Admission
from facever.serving.answers import (
    EnrolledAnswer,
    EntryAnswer,
    GalleryAnswer,
    PeopleAnswer,
    PersonAnswer,
    PhotoAnswer,
    Problem,
    RemovedAnswer,
    SearchAnswer,
    VerifyAnswer,
    describe_photo,
)
from facever.serving.face_reader import FaceReader, ReadPhoto
from facever.serving.gallery_thread import GalleryThread, Search
from facever.serving.guard import API
from facever.serving.uploads import MAX_BYTES, Upload
from facever.version import __version__

_Photo = Annotated[UploadFile, File(description="JPEG, PNG, WebP, AVIF, GIF or BMP")]
_Face = Annotated[int, Form(ge=0, description="Which face, counted from the largest")]
_Name = Annotated[str, Query(min_length=1, description="Name of a person")]
_Responses = dict[int | str, dict[str, Any]]
_ANY: _Responses = {
    status: {"model": Problem, "description": why}
    for status, why in {
        400: "A form that cannot be read",
        401: "The token is missing or wrong",
        403: "Sent by another web page, or a change while the gallery is read-only",
        409: "The gallery refuses",
        422: "A wrong value, no face or one of too low quality on the photo, or a "
        "damaged photo",
    }.items()
}
_PHOTO: _Responses = {
    413: {"model": Problem, "description": "Too many bytes or pixels"},
    415: {"model": Problem, "description": "No photo"},
    503: {
        "model": Problem,
        "description": "Too many requests at a time: ask again after Retry-After",
    },
}
_MISSING: _Responses = {404: {"model": Problem, "description": "Not enrolled"}}


class Routes:
    """The answers to all questions of the API."""

    def __init__(self, people: GalleryThread, reader: FaceReader, write: bool) -> None:
        self._people = people
        self._reader = reader
        self._write = write
        self._admission = Admission()

    def router(self) -> APIRouter:
        """The addresses of these answers."""
        router = APIRouter(prefix=API.rstrip("/"), responses=_ANY)
        get, post, delete = router.get, router.post, router.delete
        get("/gallery", tags=["look"])(self.gallery)
        get("/people", tags=["look"])(self.people)
        get("/photos", tags=["look"])(self.photos)
        post("/search", tags=["look"], responses=_PHOTO)(self.search)
        post("/verify", tags=["look"], responses=_PHOTO)(self.verify)
        post("/photos", tags=["change"], responses=_PHOTO, status_code=201)(self.enroll)
        delete("/photos/{photo_id}", tags=["change"], responses=_MISSING)(self.remove)
        delete("/people", tags=["change"], responses=_MISSING)(self.remove_person)
        return router

    def gallery(self) -> GalleryAnswer:
        """What the gallery holds, and what may be sent."""
        info = self._people.ask(AnyGallery.info)
        return GalleryAnswer(
            name=self._people.name,
            num_people=info.num_people,
            num_faces=info.num_embeddings,
            writable=self._write,
            max_bytes=MAX_BYTES,
            max_pixels=self._reader.max_pixels,
            min_quality=self._reader.min_quality,
            num_refused=self._reader.num_refused,
            version=__version__,
            **self._threshold(info.threshold),
        )

    def people(
        self,
        like: Annotated[
            str, Query(description="Part of the name, in lower or upper case")
        ] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> PeopleAnswer:
        """Who is enrolled."""
        wanted = like.strip().casefold()
        found = [
            PersonAnswer(name=name, num_faces=count)
            for name, count in self._people.ask(AnyGallery.names).items()
            if wanted in name.casefold()
        ]
        return PeopleAnswer(num_people=len(found), people=found[:limit])

    def photos(self, name: _Name) -> list[EntryAnswer]:
        """The enrolled photos of a person; none of somebody who is not enrolled."""
        entries = self._people.ask(lambda gallery: gallery.entries(Filter([name])))
        return [EntryAnswer(**asdict(entry)) for entry in entries]

    async def search(
        self,
        request: Request,
        photo: _Photo,
        face: _Face = 0,
        k: Annotated[int, Form(ge=1, le=100, description="How many matches")] = 5,
        by: Annotated[
            Literal["photo", "best"],
            Form(description="photo: each photo is a match; best: each person"),
        ] = "best",
    ) -> SearchAnswer:
        """Who is on a photo: the most similar people, or nobody below the threshold."""

        async def search() -> SearchAnswer:
            read = await self._reader.read(partial(_received, photo), face)
            searching = self._people.search(Search(read.embedding, k, by))
            found = await asyncio.wrap_future(searching)
            threshold = self._threshold(found.threshold)
            return SearchAnswer(
                **describe_photo(read, face),
                **threshold,
                **answer(found.matches, threshold["threshold"]),
            )

        return await self._admission.answer(request, search)

    async def verify(
        self,
        request: Request,
        first: _Photo,
        second: _Photo,
        first_face: _Face = 0,
        second_face: _Face = 0,
    ) -> VerifyAnswer:
        """Whether two photos show one person, by the threshold of the gallery."""

        async def verify() -> VerifyAnswer:
            left, right = await self._read_both(first, second, first_face, second_face)
            asking = self._people.submit(AnyGallery.threshold)
            threshold = self._threshold(await asyncio.wrap_future(asking))
            cosine = min(1.0, max(-1.0, float(left.embedding @ right.embedding)))
            return VerifyAnswer(
                first=PhotoAnswer(**describe_photo(left, first_face)),
                second=PhotoAnswer(**describe_photo(right, second_face)),
                cosine=cosine,
                same=is_same(cosine, threshold["threshold"]),
                **threshold,
            )

        return await self._admission.answer(request, verify)

    async def enroll(
        self,
        request: Request,
        photo: _Photo,
        name: Annotated[str, Form(min_length=1, max_length=200)],
        face: _Face = 0,
    ) -> EnrolledAnswer:
        """Enroll a face under a name."""
        self._check_write()
        name = name.strip()
        if not name:
            raise ParameterError("name must not be blank: whose face is this?")

        async def enroll() -> EnrolledAnswer:
            read = await self._reader.read(partial(_received, photo), face)
            source = await asyncio.to_thread(lambda: _received(photo).source(face))

            def add(gallery: AnyGallery) -> tuple[str, bool]:
                known = gallery.find(name, source)
                [added] = gallery.add([name], read.embedding[None], [source])
                return added, known is not None

            adding = self._people.submit(add)
            entry_id, was_known = await asyncio.wrap_future(adding)
            return EnrolledAnswer(
                **describe_photo(read, face),
                id=entry_id,
                name=name,
                source=source,
                was_known=was_known,
            )

        return await self._admission.answer(request, enroll)

    def remove(self, photo_id: str) -> RemovedAnswer:
        """Remove an enrolled photo."""
        self._check_write()
        try:
            self._people.ask(lambda gallery: gallery.remove([photo_id]))
        except NotEnrolledError:
            raise HTTPException(404, "no photo with this id is enrolled") from None
        return RemovedAnswer(num_removed=1)

    def remove_person(self, name: _Name) -> RemovedAnswer:
        """Remove all photos of a person."""
        self._check_write()
        try:
            count = self._people.ask(lambda gallery: gallery.remove_person(name))
        except NotEnrolledError:
            raise HTTPException(404, "nobody is enrolled by this name") from None
        return RemovedAnswer(num_removed=count)

    async def _read_both(
        self, first: UploadFile, second: UploadFile, first_face: int, second_face: int
    ) -> tuple[ReadPhoto, ReadPhoto]:
        """Read two photos at a time."""
        left, right = await asyncio.gather(
            self._read("first", first, first_face),
            self._read("second", second, second_face),
            return_exceptions=True,
        )
        if isinstance(left, BaseException):
            raise left
        if isinstance(right, BaseException):
            raise right
        return left, right

    async def _read(self, which: str, photo: UploadFile, face: int) -> ReadPhoto:
        """Read one of two photos; an error says which."""
        try:
            return await self._reader.read(partial(_received, photo), face)
        except UploadError as error:
            raise UploadError(error.status, f"{which} photo: {error}") from None
        except (DataError, ParameterError) as error:
            raise type(error)(f"{which} photo: {error}") from None

    def _threshold(self, own: Threshold | None) -> dict[str, Any]:
        return threshold_in_use(own, self._reader.embedder.header, "best")

    def _check_write(self) -> None:
        if not self._write:
            raise HTTPException(
                403,
                "this server is read-only: start it with --write to change anything",
            )


def _received(photo: UploadFile) -> Upload:
    photo.file.seek(0)
    return Upload(photo.file.read(MAX_BYTES + 1), photo.filename or "")
