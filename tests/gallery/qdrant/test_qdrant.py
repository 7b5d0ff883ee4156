"""A gallery in Qdrant: its errors, its requests, and its answers on real embeddings."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from facever.errors import (
    DataError,
    FileError,
    GalleryError,
    MismatchError,
    ParameterError,
)
from facever.gallery import opening
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Entry, Filter, Origin
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import Threshold
from facever.gallery.opening import create_gallery, gallery_exists, open_gallery
from facever.gallery.qdrant.collection import Collection, connect
from facever.gallery.qdrant.gallery import QdrantGallery
from facever.stages.gallery import enroll as stage
from facever.stages.gallery import exchange as gallery_exchange
from facever.stages.gallery import search as gallery_search
from facever.stages.gallery import upkeep as gallery_upkeep
from facever.stages.gallery.threshold import choose_threshold

URL = "qdrant+memory:///people"
MODEL, OTHER = "a" * 64, "b" * 64


class Server(BaseHTTPRequestHandler):
    """The part of Qdrant's REST API that a gallery asks, over the in-process mode."""

    local: QdrantClient
    seen: list[tuple[str, str, Any]]
    key: str | None = None

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        parts = urlsplit(self.path)
        _, _, name, *rest = map(unquote, parts.path.split("/"))
        self.seen.append((f"{self.command} {'/'.join(rest)}", parts.query, body))
        status, result = 200, None
        if self.key not in (None, self.headers.get("api-key")):
            status = 401
        elif not self.local.collection_exists(name) and rest != ["exists"]:
            if self.command == "PUT" and not rest:
                result = self.create(name, body)
            else:
                status = 404
        else:
            result = self.carry_out(f"{self.command} {'/'.join(rest)}", name, body)
        content = {"time": 0, "status": "ok", "result": result}
        text = json.dumps(content if status == 200 else {"status": {"error": "no"}})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_PUT = do_POST = do_PATCH = answer

    def create(self, name: str, body: Any) -> bool:
        vectors = models.VectorParams(**body["vectors"])
        return self.local.create_collection(name, vectors, metadata=body["metadata"])

    def carry_out(self, what: str, name: str, body: Any) -> Any:
        local = self.local
        where = body.get("filter") and models.Filter(**body["filter"])
        if what == "GET exists":
            return {"exists": local.collection_exists(name)}
        if what == "GET ":
            return local.get_collection(name).model_dump(mode="json")
        if what == "PATCH ":
            return local.update_collection(name, metadata=body["metadata"])
        if what == "POST points/count":
            return {"count": local.count(name, where).count}
        if what == "POST points":
            found = local.retrieve(name, body["ids"], True, body["with_vector"])
            return [point.model_dump(mode="json") for point in found]
        if what == "POST points/scroll":
            points, after = local.scroll(
                name, where, body["limit"], None, body.get("offset"), True
            )
            return {
                "points": [point.model_dump(mode="json") for point in points],
                "next_page_offset": after,
            }
        if what == "POST points/query/batch":
            searches = [models.QueryRequest(**search) for search in body["searches"]]
            assert all(search.params.exact for search in searches if search.params)
            found = local.query_batch_points(name, searches)
            return [answer.model_dump(mode="json") for answer in found]
        if what == "PUT points":
            points = [models.PointStruct(**point) for point in body["points"]]
            local.upsert(name, points)
        elif what == "POST points/delete":
            local.delete(name, models.PointIdsList(**body))
        elif what == "POST points/batch":
            operations = [
                models.SetPayloadOperation(**operation)
                for operation in body["operations"]
            ]
            local.batch_update_points(name, operations)
            return [{"operation_id": 0, "status": "completed"}] * len(operations)
        else:
            assert what == "PUT index"
        return {"operation_id": 0, "status": "completed"}

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def server() -> Iterator[tuple[str, type[Server]]]:
    """The address of a server, and the server."""
    values = {"local": QdrantClient(":memory:"), "seen": []}
    handler = type("Own", (Server,), values)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"qdrant+http://127.0.0.1:{listening.server_port}/people", handler
        listening.shutdown()
        thread.join()


def fill(gallery: AnyGallery) -> list[str]:
    vectors = np.array([[1, 0], [0, 1], [3, 4]], np.float32)
    return gallery.add(["Ann", "Ann", "Bob"], vectors, ["1", "2", "1"])


def test_over_http_it_does_what_a_folder_does(
    server: tuple[str, type[Server]], tmp_path: Path
) -> None:
    url, handler = server
    assert not gallery_exists(url)
    found = []
    for place in (tmp_path / "people", url):
        with create_gallery(place, 2, MODEL, {"network": "tiny"}) as gallery:
            ids = fill(gallery)
            gallery.update(ids[:1], fields={"team": "red", "né.e": 1.0})
            gallery.update_person("Bob", "Cy")
            gallery.set_threshold(Threshold(0.9, "far", 1e-3, 3))
        with open_gallery(place, MODEL) as gallery:
            assert gallery.find("Cy", "1") == ids[2]
            query = np.array([[2.0, 0], [0, 1]])
            answers = [
                gallery.search(query, 2, by, where)
                for by in ("photo", "best", "mean")
                for where in (None, Filter(["Ann"]), Filter(fields={"né.e": 1}))
            ]
            found.append(
                [
                    [
                        [(m.name, m.source, m.cosine) for m in matches]
                        for matches in some
                    ]
                    for some in answers
                ]
            )
            assert [m and m.name for m in gallery.identify(query)] == ["Ann", "Ann"]
            gallery.remove(ids[:1])
            assert gallery.remove_person("Cy") == 1
            assert gallery.names() == {"Ann": 1}
            info = gallery.info()
            assert (info.model_details, info.threshold and info.threshold.cosine) == (
                {"network": "tiny"},
                0.9,
            )
            assert gallery.verify() == 1
            [(entries, units)] = gallery.read()
            assert (entries[0].id, units.tolist()) == (ids[1], [[0, 1]])
    for one, other in zip(*found, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert [row[:2] for row in mine] == [row[:2] for row in theirs]
            assert [row[2] for row in mine] == pytest.approx([r[2] for r in theirs])
    writes = ("PUT points", "POST points/delete", "POST points/batch")
    queries = [query for what, query, _ in handler.seen if what in writes]
    assert len(queries) == 5
    assert set(queries) == {"wait=true&ordering=strong"}


def test_the_command_takes_a_url_for_a_folder(
    server: tuple[str, type[Server]], tmp_path: Path
) -> None:
    url, _ = server
    rng = np.random.default_rng(0)
    images = [f"P{row // 4}/{row % 4}.jpg" for row in range(40)]
    vectors = rng.normal(size=(10, 8)).repeat(4, axis=0) + rng.normal(size=(40, 8)) / 5
    np.savez(
        tmp_path / "faces.npz",
        embeddings=vectors.astype(np.float32),
        images=np.array(images),
    )

    faces = tmp_path / "faces.npz"
    assert stage.add(url, None, faces).num_added == 40
    assert stage.add(url, None, faces).num_known == 40
    found = gallery_search.search(url, None, faces)
    assert [matches[0].source for matches in found.found.values()] == images
    updated = gallery_upkeep.update(url, name="P3", new_name="Zoë", fields=["team=red"])
    assert updated.num_updated == 4
    assert gallery_upkeep.remove(url, name="P1").num_removed == 4
    assert gallery_upkeep.list_people(url).names["Zoë"] == 4
    assert len(gallery_upkeep.list_entries(url, fields=["team=red"]).photos) == 4
    choose_threshold(url, fpir=0.1)
    assert gallery_upkeep.info(url).info.threshold is not None
    with pytest.raises(ParameterError, match="leave out --audit"):
        gallery_upkeep.info(url, audit=True)
    with pytest.raises(ParameterError, match="has no index to rebuild"):
        gallery_upkeep.rebuild(url)
    assert gallery_upkeep.verify(url).num_embeddings == 36
    gallery_exchange.export(url, tmp_path / "out.parquet")
    gallery_exchange.import_entries(tmp_path / "out.parquet", tmp_path / "copy")
    with Gallery(tmp_path / "copy") as copy, open_gallery(url) as gallery:
        assert copy.entries() == gallery.entries()
    command = [sys.executable, "-m", "facever", "gallery", "list", url, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert json.loads(done.stdout)["Zoë"] == 4, done.stderr


def test_a_wrong_key_is_told(
    server: tuple[str, type[Server]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = server
    handler.key = "secret"
    with pytest.raises(FileError, match=r"refuses the key; .* QDRANT_API_KEY"):
        open_gallery(url)
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    with pytest.warns(UserWarning, match="insecure"), create_gallery(url, 2) as gallery:
        assert len(gallery) == 0


def test_no_server_is_one_line() -> None:
    with pytest.raises(FileError, match="no Qdrant server answers there") as caught:
        open_gallery("qdrant+http://127.0.0.1:1/people")
    assert "\n" not in str(caught.value)


def test_another_server_is_one_line(tmp_path: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>\nhello\n</html>")

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        with pytest.raises(FileError, match="no Qdrant server answers") as caught:
            open_gallery(f"qdrant+http://127.0.0.1:{listening.server_port}/people")
        listening.shutdown()
        thread.join()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://host:6333/people",
        "qdrant://host/people",
        "qdrant+http://host:6333",
        "qdrant+http:///people",
        "qdrant+http://host:x/people",
        "qdrant+http://host/a/b",
        "qdrant+http://host/people?x=1",
        "qdrant+memory://host/people",
    ],
)
def test_refuses_other_urls(url: str) -> None:
    with pytest.raises(ParameterError, match="HOST:PORT/COLLECTION"):
        open_gallery(url)
    with pytest.raises(ParameterError, match="hold no user or password"):
        open_gallery("qdrant+http://me:secret@host/people")


def test_what_is_removed_while_it_is_read_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("facever.gallery.qdrant.gallery._ROWS_A_READ", 1)
    with create_gallery("qdrant+memory:///people", 2) as gallery:
        ids = fill(gallery)
        blocks = gallery.read()
        [(first, _)] = [next(blocks)]
        gallery.remove(ids[1:2])
        left = [entry.id for entries, _ in blocks for entry in entries]
    assert [entry.id for entry in first] + left == [ids[0], ids[2]]


def test_refuses_what_is_no_gallery_or_there_already() -> None:
    collection = connect(URL)
    with pytest.raises(FileError, match="no such gallery; make one"):
        QdrantGallery(collection)
    QdrantGallery.create_in(collection, 2)
    with pytest.raises(GalleryError, match="there is a gallery already"):
        QdrantGallery.create_in(collection, 2)
    client = QdrantClient(":memory:")
    vectors = models.VectorParams(size=2, distance=models.Distance.COSINE)
    client.create_collection("people", vectors, metadata={"somebody": "else's"})
    foreign = Collection(client, "people", URL, in_process=True)
    for attempt in (
        lambda: QdrantGallery(foreign),
        lambda: QdrantGallery.create_in(foreign, 2),
    ):
        with pytest.raises(FileError, match="is not a gallery"):
            attempt()
    with pytest.raises(
        ParameterError, match="embedding_size must be at least 1, got 0"
    ):
        create_gallery(URL, 0)
    with pytest.raises(ParameterError, match=r"index must be exact .* got 'hnsw'"):
        create_gallery(URL, 2, index="hnsw")


def test_refuses_a_gallery_of_the_future_or_damaged() -> None:
    collection = connect(URL)
    QdrantGallery.create_in(collection, 2)
    key, text = next(iter(collection.size_and_metadata()[1].items()))
    values = json.loads(text)
    for change, kind, message in (
        ({"format": 9}, GalleryError, "has format 9, .* reads format 1"),
        ({"format": "x"}, FileError, "metadata is unreadable"),
        ({"embedding_size": 3}, FileError, "are not of 3 numbers"),
    ):
        collection.set_metadata({key: json.dumps(values | change)})
        with pytest.raises(kind, match=message):
            QdrantGallery(collection)


def test_refuses_other_models_and_sizes() -> None:
    collection = connect(URL)
    fill(QdrantGallery.create_in(collection, 2, MODEL))
    with pytest.raises(MismatchError, match=r"made for model aaaa.* for model bbbb"):
        QdrantGallery(collection, OTHER)
    untold = QdrantGallery(collection)
    assert untold.names() == {"Ann": 2, "Bob": 1}
    with pytest.raises(MismatchError, match="nothing says whose these are"):
        untold.search(np.ones((1, 2)))
    gallery = QdrantGallery(collection, MODEL)
    with pytest.raises(MismatchError, match="have 2 numbers, got 3"):
        gallery.add(["Cy"], np.ones((1, 3)), ["1"])
    with pytest.raises(DataError, match="zero or not finite"):
        gallery.add(["Cy", "Cy"], np.array([[1, 1], [0, 0.0]]), ["1", "2"])
    assert len(gallery) == 3
    with pytest.raises(GalleryError, match="no threshold"):
        gallery.identify(np.ones((1, 2)))


def test_an_id_stays_with_its_photo_whatever_takes_its_name() -> None:
    gallery = create_gallery(URL, 2)
    [first, *_] = fill(gallery)
    gallery.update([first], name="Cy")
    [second] = gallery.add(["Ann"], np.ones((1, 2)), ["1"], None, [Origin("/a.jpg")])
    assert first != second
    assert gallery.find("Cy", "1") == first
    assert gallery.origin(second) == Origin("/a.jpg")
    assert gallery.origin(first) is None
    # Two processes that add one photo at a time give it one id.
    other = create_gallery(URL, 2)
    assert len({*fill(other), *fill(other)}) == 3


def test_verify_finds_what_no_gallery_writes() -> None:
    for change, message in (
        ({"name": ""}, "the payload of point"),
        ({"terms": ["x"]}, "the payload of point"),
        ({"name": "Bob"}, "Bob has 1 enrolled twice"),
    ):
        collection = connect(URL)
        gallery = QdrantGallery.create_in(collection, 2)
        first = fill(gallery)[0]
        assert gallery.verify() == 3
        point = str(collection.get([first])[0].id)
        collection.set_payloads([([point], change)])
        with pytest.raises(FileError, match=message):
            gallery.verify()


def test_takes_no_id_that_it_could_not_have_given() -> None:
    gallery = create_gallery(URL, 2)
    entry = Entry("17", "Ann", "1", "2026-01-01T00:00:00+00:00", {})
    with pytest.raises(GalleryError, match="must be a UUID's 32 digits, got '17'"):
        gallery.insert([entry], np.array([[1, 0]], np.float32))


def test_without_the_client_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"pip install 'facever\[qdrant\]'"):
        open_gallery("qdrant+http://localhost/people")


def test_a_folder_needs_no_client() -> None:
    code = (
        "import sys, facever.cli, facever.stages.gallery.upkeep; "
        "print('qdrant_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.realdata
def test_answers_as_a_folder_does_on_all_of_lfw(
    data_folder: Path, tmp_path: Path
) -> None:
    file = np.load(data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz")
    embeddings, sources = file["embeddings"], [str(image) for image in file["images"]]
    names = [source.split("/")[0] for source in sources]
    rng = np.random.default_rng(0)
    rows = rng.choice(len(names), 200, replace=False)
    noise = rng.normal(size=(200, 128)) / 128**0.5
    lengths = np.linalg.norm(embeddings[rows], axis=1, keepdims=True)
    queries = embeddings[rows] + noise * lengths
    found = []
    for place in (tmp_path / "people", URL):
        with create_gallery(place, 128) as gallery:
            started = time.perf_counter()
            gallery.add(names, embeddings, sources)
            added = time.perf_counter()
            found.append([match for [match] in gallery.search(queries, k=1)])
            searched = time.perf_counter()
        print(
            f"{place}: added {added - started:.2f} s, 200 in {searched - added:.2f} s"
        )
    photos = [[(match.name, match.source) for match in matches] for matches in found]
    assert photos[0] == photos[1]
    np.testing.assert_allclose(
        *[[match.cosine for match in matches] for matches in found], atol=1e-6
    )
