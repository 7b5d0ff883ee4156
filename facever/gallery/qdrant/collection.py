"""A collection of a Qdrant database, whose refusals come as facever's errors."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from qdrant_client import QdrantClient, models

from facever.errors import FileError, ParameterError
from facever.gallery.addresses import hide_password
from facever.gallery.qdrant.errors import KEY_VARIABLE, as_facever_errors

# One read of a block of embeddings, or a search through millions, takes seconds.
_SECONDS = 60
_ROWS_A_READ = 4096
# A request may have 32 MiB: a row of 512 numbers is about 11 KiB of JSON.
_ROWS_A_WRITE = 1000
_QUERIES_A_SEARCH = 64


class Collection:
    """Points with an embedding and a payload; for one thread.

    Every write waits until it has been carried out, and goes through the shard's
    leader, so that of two writers all replicas see the same order.
    """

    def __init__(
        self, client: QdrantClient, name: str, place: str, in_process: bool
    ) -> None:
        """Take over a client; nothing is asked of the server yet.

        Args:
            client: The client, which ``close`` closes.
            name: The collection's name.
            place: The URL, to name in errors.
            in_process: Whether there is no server, and so no indexes and parameters.
        """
        self.place = place
        self._client = client
        self._name = name
        self._in_process = in_process

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def exists(self) -> bool:
        """Whether there is a collection of this name, a gallery's or not."""
        with as_facever_errors(self.place):
            return self._client.collection_exists(self._name)

    def create(
        self, size: int, metadata: Mapping[str, Any], indexed: Sequence[str]
    ) -> None:
        """Make the collection.

        Args:
            size: Number of values in an embedding.
            metadata: Values that are kept with the collection.
            indexed: Keys of the payload that hold text and are filtered by.

        Raises:
            GalleryError: If there is a collection of this name already.
        """
        with as_facever_errors(self.place):
            # Embeddings are stored as they are, so that they come back bit by bit:
            # Qdrant's cosine scales them again. No graph: nothing would search it.
            self._client.create_collection(
                self._name,
                vectors_config=models.VectorParams(
                    size=size, distance=models.Distance.DOT
                ),
                hnsw_config=models.HnswConfigDiff(m=0),
                metadata=dict(metadata),
            )
            if not self._in_process:
                for key in indexed:
                    self._client.create_payload_index(
                        self._name, key, models.PayloadSchemaType.KEYWORD, wait=True
                    )

    def size_and_metadata(self) -> tuple[int | None, dict[str, Any]]:
        """The size of an embedding, None if it is not a gallery's, and the metadata."""
        with as_facever_errors(self.place):
            config = self._client.get_collection(self._name).config
        vectors = config.params.vectors
        if not isinstance(vectors, models.VectorParams):
            return None, {}
        dot = vectors.distance == models.Distance.DOT
        return vectors.size if dot else None, dict(config.metadata or {})

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Set some of the metadata's values."""
        with as_facever_errors(self.place):
            self._client.update_collection(self._name, metadata=dict(metadata))

    def put(self, points: Sequence[models.PointStruct]) -> None:
        """Write points, in place of those of the same ids, 1,000 a request."""
        for start in range(0, len(points), _ROWS_A_WRITE):
            with as_facever_errors(self.place):
                self._client.upsert(
                    self._name,
                    list(points[start : start + _ROWS_A_WRITE]),
                    wait=True,
                    ordering=models.WriteOrdering.STRONG,
                )

    def set_payloads(
        self, payloads: Sequence[tuple[Sequence[str], dict[str, Any]]]
    ) -> None:
        """Set keys of the payloads of points that are there, in one request.

        Args:
            payloads: Ids of points, and the keys to set for all of these.
        """
        with as_facever_errors(self.place):
            self._client.batch_update_points(
                self._name,
                [
                    models.SetPayloadOperation(
                        set_payload=models.SetPayload(payload=payload, points=list(ids))
                    )
                    for ids, payload in payloads
                ],
                wait=True,
                ordering=models.WriteOrdering.STRONG,
            )

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points, all in one request."""
        with as_facever_errors(self.place):
            self._client.delete(
                self._name,
                models.PointIdsList(points=list(ids)),
                wait=True,
                ordering=models.WriteOrdering.STRONG,
            )

    def count(self, where: models.Filter | None) -> int:
        """How many points meet a filter."""
        with as_facever_errors(self.place):
            return self._client.count(self._name, where, exact=True).count

    def get(self, ids: Sequence[str], vectors: bool = False) -> list[models.Record]:
        """The points of these ids that are there, in any order."""
        with as_facever_errors(self.place):
            return self._client.retrieve(self._name, list(ids), with_vectors=vectors)

    def read(
        self, where: models.Filter | None, keys: Sequence[str] | None = None
    ) -> Iterator[models.Record]:
        """The points that meet a filter, without embeddings, in the order of ids.

        Args:
            where: A filter; None for all points.
            keys: Keys of the payload, to read only these.
        """
        offset = None
        while True:
            with as_facever_errors(self.place):
                points, offset = self._client.scroll(
                    self._name,
                    where,
                    limit=_ROWS_A_READ,
                    offset=offset,
                    with_payload=True if keys is None else list(keys),
                )
            yield from points
            if offset is None:
                return

    def search(
        self,
        queries: Sequence[Sequence[float]],
        limit: int,
        where: models.Filter | None,
    ) -> list[list[models.ScoredPoint]]:
        """The points with the highest products with each query, by exact search."""
        exact = None if self._in_process else models.SearchParams(exact=True)
        requests = [
            models.QueryRequest(
                query=list(query),
                filter=where,
                limit=limit,
                params=exact,
                with_payload=True,
            )
            for query in queries
        ]
        found: list[list[models.ScoredPoint]] = []
        for start in range(0, len(requests), _QUERIES_A_SEARCH):
            with as_facever_errors(self.place):
                answers = self._client.query_batch_points(
                    self._name, requests[start : start + _QUERIES_A_SEARCH]
                )
            found += [answer.points for answer in answers]
        return found

    def damaged(self, reason: str) -> FileError:
        """The error to raise for content that no gallery would have written."""
        return FileError(
            f"{self.place}: the collection is damaged ({reason}); this changed "
            "nothing; restore it from a snapshot or enroll the photos into a new "
            "gallery"
        )


def connect(url: str) -> Collection:
    """The collection that a URL names; the server is not asked yet.

    Args:
        url: ``qdrant+http://host:6333/collection``, ``qdrant+https://...``; the port is
            6333 unless it is given. ``qdrant+memory:///collection`` is in this process
            alone and gone when it is closed. A server's key is read from the
            environment variable ``QDRANT_API_KEY``: an address is printed and logged.

    Raises:
        ParameterError: If the URL is of another form.
    """
    parts = urlsplit(url)
    name = unquote(parts.path.removeprefix("/"))
    scheme = parts.scheme.removeprefix("qdrant+")
    try:
        port = parts.port
    except ValueError:
        port = 0
    in_process = scheme == "memory"
    well = parts.scheme in ("qdrant+http", "qdrant+https", "qdrant+memory")
    if parts.username or parts.password:
        raise ParameterError(
            "a gallery's URL must hold no user or password; put the server's key into "
            f"the environment variable {KEY_VARIABLE}"
        )
    if (
        not well
        or not name
        or bool(parts.hostname) == in_process
        or "/" in name
        or port == 0
        or parts.query
        or parts.fragment
    ):
        raise ParameterError(
            "a gallery's URL must be qdrant+http://HOST:PORT/COLLECTION, or https, got "
            f"{hide_password(url)!a}"
        )
    if in_process:
        return Collection(QdrantClient(":memory:"), name, url, in_process)
    client = QdrantClient(
        url=f"{scheme}://{parts.netloc}",
        api_key=os.environ.get(KEY_VARIABLE),
        timeout=_SECONDS,
        # The check would warn on stderr; our first question ends in a clear error.
        check_compatibility=False,
    )
    return Collection(client, name, url, in_process)
