"""Changes, filters and searches beside a dictionary and brute force."""

import shutil
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from facever.errors import FileError, GalleryError, ParameterError
from facever.gallery import people
from facever.gallery.base import AnyGallery
from facever.gallery.entries import Entry, Filter, Match, Origin, check_by
from facever.gallery.folder import index_building, index_rows, searching
from facever.gallery.folder.gallery import Gallery
from facever.gallery.meta import GalleryMeta, Threshold, new_meta
from facever.gallery.opening import GALLERIES, create_gallery, open_gallery
from facever.gallery.postgres.gallery import PostgresGallery
from facever.gallery.qdrant.collection import connect
from facever.gallery.qdrant.gallery import QdrantGallery

NAMES = st.sampled_from(["Ann", "Bob", "Zoë", "o'Neil; --", "[red]", "王"])
SOURCES = st.sampled_from(["1.jpg", "2.jpg", "3.jpg", "Ann/1.jpg"])
# Small whole numbers: many equal directions, opposite ones, and ties.
VECTORS = st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any)
VALUES = st.sampled_from([1, 1.5, True, "1", "red", None])
FIELDS = st.dictionaries(st.sampled_from(['te"am', "$.x", "üb"]), VALUES, max_size=2)
FILTERS = st.builds(
    Filter,
    st.lists(NAMES, max_size=2),
    FIELDS.map(lambda f: {k: v for k, v in f.items() if v is not None}),
)


class Row:
    """An enrolled photo as the model remembers it."""

    def __init__(self, name: str, source: str, vector: list[int], fields: dict) -> None:
        self.name, self.source, self.fields = name, source, fields
        self.vector = np.array(vector, np.float64) / np.linalg.norm(vector)

    def meets(self, where: Filter) -> bool:
        return (not where.names or self.name in where.names) and all(
            key in self.fields and same(self.fields[key], value)
            for key, value in where.fields.items()
        )


def same(one: Any, other: Any) -> bool:
    """Python takes True for 1; JSON does not."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


class GalleryMachine(RuleBasedStateMachine):
    """A gallery that two handles change and search."""

    ids = Bundle("ids")
    index = "exact"

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        # Small galleries are searched by their index, too, which misses nothing here.
        self.patch.setattr(index_building, "MIN_TRAINING", 4)
        self.patch.setattr(index_building, "_UNSAVED", 1)
        self.patch.setattr(searching, "_FEW", 0)
        self.patch.setattr(people, "MEAN_CANDIDATES", 100)
        self.folder = Path(tempfile.mkdtemp())
        self.handles = [self.create(), self.open()]
        self.model: dict[str, Row] = {}

    def create(self) -> AnyGallery:
        return Gallery.create(self.folder / "people", 3, index=self.index)

    def open(self) -> AnyGallery:
        return Gallery(self.folder / "people")

    def teardown(self) -> None:
        self.handles[0].verify()
        for handle in self.handles:
            handle.close()
        self.patch.undo()
        shutil.rmtree(self.folder)

    @rule(
        target=ids,
        which=st.integers(0, 1),
        rows=st.lists(st.tuples(NAMES, SOURCES, VECTORS, FIELDS), max_size=4),
    )
    def add(self, which: int, rows: list) -> Any:
        names, sources, vectors, fields = ([row[i] for row in rows] for i in range(4))
        embeddings = np.array(vectors, np.float32).reshape(-1, 3)
        ids = self.handles[which].add(names, embeddings, sources, fields)
        known = {(row.name, row.source): key for key, row in self.model.items()}
        for entry_id, values in zip(ids, rows, strict=True):
            key = known.setdefault(values[:2], entry_id)
            assert key == entry_id
            self.model.setdefault(entry_id, Row(*values))
        return multiple(*ids)

    @rule(which=st.integers(0, 1), entry_id=consumes(ids))
    def remove(self, which: int, entry_id: str) -> None:
        if entry_id in self.model:
            self.handles[which].remove([entry_id])
            del self.model[entry_id]
        else:
            with pytest.raises(GalleryError, match="no photo with the id"):
                self.handles[which].remove([entry_id])

    @rule(which=st.integers(0, 1), name=NAMES)
    def remove_person(self, which: int, name: str) -> None:
        gone = [key for key, row in self.model.items() if row.name == name]
        if gone:
            assert self.handles[which].remove_person(name) == len(gone)
        else:
            with pytest.raises(GalleryError, match="nobody is enrolled as"):
                self.handles[which].remove_person(name)
        for key in gone:
            del self.model[key]

    @rule(
        which=st.integers(0, 1),
        entry_id=ids,
        name=st.one_of(st.none(), NAMES),
        fields=FIELDS,
    )
    def update(self, which: int, entry_id: str, name: Any, fields: dict) -> None:
        if entry_id not in self.model:
            return
        row = self.model[entry_id]
        clash = any(
            (other.name, other.source) == (name, row.source)
            for key, other in self.model.items()
            if key != entry_id
        )
        if clash:
            with pytest.raises(GalleryError, match="enrolled already, as"):
                self.handles[which].update([entry_id], name, fields)
            return
        self.handles[which].update([entry_id], name, fields)
        row.name = name or row.name
        for key, value in fields.items():
            row.fields = {k: v for k, v in row.fields.items() if k != key}
            if value is not None:
                row.fields[key] = value

    @rule(which=st.integers(0, 1), old=NAMES, new=NAMES)
    def rename(self, which: int, old: str, new: str) -> None:
        moved = [row for row in self.model.values() if row.name == old]
        taken = {row.source for row in self.model.values() if row.name == new}
        clash = old != new and any(row.source in taken for row in moved)
        if not moved or clash:
            with pytest.raises(GalleryError):
                self.handles[which].update_person(old, new)
            return
        assert self.handles[which].update_person(old, new) == len(moved)
        for row in moved:
            row.name = new

    @rule(
        which=st.integers(0, 1),
        queries=st.lists(VECTORS, min_size=1, max_size=2),
        k=st.integers(1, 6),
        by=st.sampled_from(["photo", "best", "mean"]),
        where=FILTERS,
    )
    def search(self, which: int, queries: list, k: int, by: Any, where: Filter) -> None:
        found = self.handles[which].search(np.array(queries, np.float64), k, by, where)
        for query, matches in zip(queries, found, strict=True):
            unit = np.array(query, np.float64) / np.linalg.norm(query)
            own = {
                key: float(np.clip(row.vector @ unit, -1, 1))
                for key, row in self.model.items()
                if row.meets(where)
            }
            people: dict[str, list[float]] = {}
            for key, cosine in own.items():
                who = key if by == "photo" else self.model[key].name
                people.setdefault(who, []).append(cosine)
            merge = np.mean if by == "mean" else np.max
            scores = {who: float(merge(cosines)) for who, cosines in people.items()}
            whose = [m.id if by == "photo" else m.name for m in matches]
            assert len(set(whose)) == len(whose) == min(k, len(scores))
            cosines = [match.cosine for match in matches]
            # Ties may come in any order: each match has its own score, and the scores
            # are the highest there are.
            np.testing.assert_allclose(cosines, [scores[w] for w in whose], atol=1e-6)
            highest = sorted(scores.values(), reverse=True)[:k]
            np.testing.assert_allclose(cosines, highest, atol=1e-6)
            for match in matches:
                row = self.model[match.id]
                assert (match.name, match.source) == (row.name, row.source)
                nearest = max(c for i, c in own.items() if self.is_of(i, match, by))
                assert own[match.id] == pytest.approx(nearest, abs=1e-6)

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.handles[which].close()
        self.handles[which] = self.open()
        self.search(which, [(1, 2, 3)], 6, "photo", Filter())

    def is_of(self, key: str, match: Any, by: str) -> bool:
        return key == match.id if by == "photo" else self.model[key].name == match.name

    @rule(which=st.integers(0, 1), where=FILTERS)
    def list_entries(self, which: int, where: Filter) -> None:
        found = {entry.id for entry in self.handles[which].entries(where)}
        assert found == {key for key, row in self.model.items() if row.meets(where)}

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for handle in self.handles:
            found = {
                entry.id: (entry.name, entry.source, entry.fields)
                for entry in handle.entries()
            }
            assert found == {
                key: (row.name, row.source, row.fields)
                for key, row in self.model.items()
            }


class MappedMachine(GalleryMachine):
    """Searched exactly in a mapped file."""

    def __init__(self) -> None:
        super().__init__()
        self.patch.setattr(index_building, "_MIN_EXACT_IN_FILE", 1)
        self.patch.setattr(index_rows, "FEW", 1)


class QdrantMachine(GalleryMachine):
    """A collection in this process, which both handles share: it goes with its client.

    So a handle that is closed must not close it.
    """

    def create(self) -> AnyGallery:
        self.collection = connect("qdrant+memory:///people")
        self.patch.setattr(QdrantGallery, "close", lambda gallery: None)
        return QdrantGallery.create_in(self.collection, 3)

    def open(self) -> AnyGallery:
        return QdrantGallery(self.collection)


class PostgresMachine(GalleryMachine):
    """A gallery on a real server, over two connections."""

    server: ClassVar[str]

    def create(self) -> AnyGallery:
        self.place = f"{self.server}&gallery={uuid.uuid4().hex}"
        return create_gallery(self.place, 3, index=self.index)

    def open(self) -> AnyGallery:
        return open_gallery(self.place)


class MemoryGallery(AnyGallery):
    """The least that a back end defines: everything else is the base's own."""

    made: ClassVar[dict[Any, "Kept"]] = {}

    def __init__(self, place: Any, model_fingerprint: str | None = None) -> None:
        self.kept = self.made[place]
        super().__init__(place, model_fingerprint)

    @classmethod
    def open(cls, place: Any, model_fingerprint: str | None = None) -> "MemoryGallery":
        return cls(place, model_fingerprint)

    @classmethod
    def create(
        cls,
        place: Any,
        embedding_size: int,
        model_fingerprint: str | None = None,
        model_details: Any = None,
        index: str = "exact",
    ) -> "MemoryGallery":
        details = model_details or {}
        meta = new_meta(1, embedding_size, model_fingerprint, details, index)
        cls.made[place] = Kept(meta)
        return cls(place, model_fingerprint)

    @classmethod
    def exists(cls, place: Any) -> bool:
        return place in cls.made

    def close(self) -> None: ...

    def entries(self, where: Filter | None = None) -> list[Entry]:
        where = where or Filter()
        return [
            entry
            for entry, *_ in self.kept.rows.values()
            if (not where.names or entry.name in where.names)
            and (not where.ids or entry.id in where.ids)
            and (not where.photos or (entry.name, entry.source) in where.photos)
            and all(
                key in entry.fields and same(entry.fields[key], value)
                for key, value in where.fields.items()
            )
        ]

    def read(self, where: Filter | None = None) -> Any:
        entries = self.entries(where)
        units = [self.kept.rows[entry.id][1] for entry in entries]
        yield (
            entries,
            np.array(units, np.float32).reshape(-1, self.kept.meta.embedding_size),
        )

    def origin(self, entry_id: str) -> Origin | None:
        return self.kept.rows[entry_id][2] if entry_id in self.kept.rows else None

    def _meta(self) -> GalleryMeta:
        return self.kept.meta

    def _set_meta(self, meta: GalleryMeta) -> None:
        self.kept.meta = meta

    def _insert(self, entries: Any, units: Any, origins: Any, advance: Any = 0) -> None:
        for entry, unit, origin in zip(entries, units, origins, strict=True):
            self.kept.rows[entry.id] = entry, unit, origin

    def _remove(self, ids: Any) -> None:
        for entry_id in ids:
            del self.kept.rows[entry_id]

    def _update(self, entries: Any) -> None:
        for entry in entries:
            self.kept.rows[entry.id] = entry, *self.kept.rows[entry.id][1:]

    def _nearest(self, units: Any, k: int, where: Filter) -> list[list[Match]]:
        found = []
        for unit in units:
            matches = [
                Match(e.name, float(self.kept.rows[e.id][1] @ unit), e.source, e.id)
                for e in self.entries(where)
            ]
            found.append(sorted(matches, key=lambda match: -match.cosine)[:k])
        return found


class Kept:
    """What a gallery in memory holds, whoever opens it."""

    def __init__(self, meta: GalleryMeta) -> None:
        self.meta = meta
        self.rows: dict[str, tuple[Entry, np.ndarray, Origin | None]] = {}


class MemoryMachine(GalleryMachine):
    """A back end that defines no more than it must."""

    def create(self) -> AnyGallery:
        return MemoryGallery.create(self.folder, 3)

    def open(self) -> AnyGallery:
        return MemoryGallery.open(self.folder)


MACHINES = {
    index: type("Machine", (GalleryMachine,), {"index": index})
    for index in ("exact", "sq8", "ivf-flat")
} | {"mapped": MappedMachine, "qdrant": QdrantMachine, "memory": MemoryMachine}


@pytest.mark.parametrize("kind", MACHINES)
def test_behaves_like_a_dictionary_and_brute_force(kind: str) -> None:
    check_machine(MACHINES[kind])


@pytest.mark.parametrize("index", ["exact", "halfvec"])
def test_postgres_behaves_alike(index: str, postgres_server: str) -> None:
    here = {"index": index, "server": postgres_server}
    check_machine(type("Machine", (PostgresMachine,), here), max_examples=6)


def check_machine(machine: type[GalleryMachine], max_examples: int = 15) -> None:
    limits = settings(max_examples=max_examples, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(machine, settings=limits)


@pytest.fixture(params=["folder", "postgres", "qdrant", "memory"])
def gallery(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AnyGallery:
    places = {
        "folder": tmp_path / "people",
        "qdrant": "qdrant+memory:///people",
        "memory": "memory://people",
    }
    monkeypatch.setitem(GALLERIES, "memory", lambda: MemoryGallery)
    if request.param == "postgres":
        places["postgres"] = request.getfixturevalue("postgres_place")()
    gallery = create_gallery(places[request.param], 2)
    vectors = np.array([[1, 0], [0, 1], [3, 4]], np.float32)
    gallery.add(["Ann", "Ann", "Bob"], vectors, ["1", "2", "1"])
    return gallery


def test_people_are_scored_by_best_or_mean_by_hand(gallery: AnyGallery) -> None:
    # Cosines with (1, 0): Ann 1 and 0, Bob 3/5.
    query = np.array([[2.0, 0.0]])
    [best] = gallery.search(query, by="best")
    [mean] = gallery.search(query, by="mean")
    assert [(m.name, m.source) for m in best] == [("Ann", "1"), ("Bob", "1")]
    assert [m.cosine for m in best] == pytest.approx([1, 0.6])
    assert [(m.name, m.source) for m in mean] == [("Bob", "1"), ("Ann", "1")]
    assert [m.cosine for m in mean] == pytest.approx([0.6, 0.5])
    # Ann's mean over her second photo alone.
    gallery.update([mean[1].id], fields={"blurred": True})
    gallery.update([gallery.find("Ann", "2") or ""], fields={"blurred": False})
    [[only]] = gallery.search(query, by="mean", where=Filter(fields={"blurred": False}))
    assert (only.name, only.source, only.cosine) == ("Ann", "2", pytest.approx(0))


def test_finds_a_person_behind_many_photos_of_another(gallery: AnyGallery) -> None:
    near = np.array([[1, number / 1000] for number in range(150)])
    gallery.add(["Ann"] * 150, near, [f"more/{number}" for number in range(150)])
    [matches] = gallery.search(np.array([[1.0, 0.0]]), 2, by="best")
    assert [match.name for match in matches] == ["Ann", "Bob"]


def test_a_refused_change_changes_nothing(gallery: AnyGallery) -> None:
    before = gallery.entries()
    ids = [entry.id for entry in before]
    for refused in (
        lambda: gallery.remove([ids[0], "nobody's"]),
        lambda: gallery.update([ids[1], ids[0]], name="Bob"),
        lambda: gallery.update_person("Ann", "Bob"),
        lambda: gallery.remove_person("Cy"),
        lambda: gallery.insert(before[:1], np.array([[1, 0]], np.float32)),
        lambda: gallery.insert(
            [replace(before[0], id=uuid.uuid4().hex)], np.array([[1, 0]], np.float32)
        ),
        lambda: gallery.insert(
            [replace(before[0], id=uuid.uuid4().hex, name="Cy")],
            np.array([[2, 0]], np.float32),
        ),
    ):
        with pytest.raises(GalleryError):
            refused()
        assert gallery.entries() == before


def test_photos_get_other_embeddings_and_are_found_by_their_bytes(
    gallery: AnyGallery,
) -> None:
    ann = gallery.find("Ann", "2") or ""
    gallery.update([ann], fields={"year": 2001})
    for digest, vector in [("f00d", [0.6, -0.8]), ("cafe", [-3.0, 0.0])]:
        gallery.replace([ann], np.array([vector]), [Origin("/a.jpg", None, digest)])
        [[match]] = gallery.search(np.array([vector]), k=1)
        assert (match.id, match.name, match.source) == (ann, "Ann", "2")
        assert match.cosine == pytest.approx(1)
        [entry] = gallery.entries(Filter(ids=[ann]))
        assert entry.fields == {"year": 2001}
        assert (gallery.origin(ann) or Origin("")).digest == digest
    assert len(gallery) == 3
    gallery.add(["Cy"], np.ones((1, 2)), ["9"], None, [Origin("/9", "9", "cafe")])
    gallery.add(["Cy"], np.ones((1, 2)), ["10"], None, [Origin("/10")])
    assert {
        digest: sorted(photos)
        for digest, photos in gallery.photos_of({"cafe", "f00d"}).items()
    } == {"cafe": [("Ann", "2"), ("Cy", "9")]}
    assert gallery.photos_of(set()) == {}
    before = gallery.entries()
    with pytest.raises(GalleryError):
        gallery.replace([ann, "nobody's"], np.ones((2, 2)), [None, None])
    assert gallery.entries() == before


def test_entries_come_in_the_order_they_were_added(gallery: AnyGallery) -> None:
    names = [f"{(7 * number) % 20:02}" for number in range(20)]
    for name in names:
        gallery.add([name], np.ones((1, 2)), ["1"])
    assert [entry.name for entry in gallery.entries()] == ["Ann", "Ann", "Bob", *names]
    read = [entry for entries, _ in gallery.read() for entry in entries]
    assert read == gallery.entries()


def test_nobody_begins_at_the_threshold_itself(gallery: AnyGallery) -> None:
    query = np.array([[1.0, 0.0]])  # Ann's first photo: a cosine of 1, exactly.
    assert gallery.threshold() is None
    gallery.set_threshold(Threshold(1.0, "far", 0.1, 3))
    assert gallery.threshold() == gallery.info().threshold
    assert gallery.identify(query) == [None]
    gallery.set_threshold(Threshold(np.nextafter(1.0, 0.0), "far", 0.1, 3))
    [match] = gallery.identify(query)
    assert match is not None
    assert match.source == "1"


@pytest.mark.parametrize(
    "fields", [{"": 1}, {"x": float("nan")}, {"x": {1}}, {"x": "M\udcfc"}]
)
def test_refuses_fields_that_are_no_json(gallery: AnyGallery, fields: dict) -> None:
    with pytest.raises(ParameterError, match=r"field.* got "):
        gallery.add(["Cy"], np.ones((1, 2)), ["1"], [fields])
    with pytest.raises(ParameterError, match=r"field.* got "):
        gallery.update([gallery.find("Bob", "1") or ""], fields=fields)
    assert gallery.names() == {"Ann": 2, "Bob": 1}


def test_entries_go_over_to_another_gallery_bit_by_bit(
    gallery: AnyGallery, tmp_path: Path
) -> None:
    gallery.update([gallery.find("Ann", "2") or ""], fields={"team": ["red", 1]})
    [(entries, embeddings)] = gallery.read()
    other = Gallery.create(tmp_path / "other", 2)
    other.insert(entries, embeddings)
    [(copied, copies)] = other.read()
    assert copied == entries
    assert isinstance(copied[0], Entry)
    assert copies.tobytes() == embeddings.tobytes()


def test_refuses_an_unknown_way_to_score() -> None:
    with pytest.raises(ParameterError, match=r"by must be one of photo, best, mean, g"):
        check_by("median")


def test_a_back_end_needs_ten_methods_and_three_ways_to_be_made() -> None:
    assert len(AnyGallery.__abstractmethods__) <= 13


def test_a_gallery_says_what_it_cannot_do(gallery: AnyGallery) -> None:
    if isinstance(gallery, Gallery | PostgresGallery):
        assert gallery.abilities == {"audit", "migrate", "rebuild"}
        return
    for attempt, message in (
        (gallery.audit, "leave out --audit"),
        (gallery.rebuild, "has no index to rebuild"),
        (lambda: gallery.replace_model({}, [], "m", {}), "cannot change its model"),
    ):
        with pytest.raises(ParameterError, match=message):
            attempt()


def test_a_gallery_shows_its_place_and_model(gallery: AnyGallery) -> None:
    assert repr(gallery) == f"{type(gallery).__name__}({str(gallery.place)!r})"


def test_verify_finds_a_photo_that_is_enrolled_twice() -> None:
    gallery = MemoryGallery.create("twice", 2)
    gallery.add(["Ann", "Bob"], np.eye(2), ["1", "1"])
    assert gallery.verify() == 2
    gallery._update([replace(gallery.entries()[0], name="Bob")])
    with pytest.raises(FileError, match="Bob has 1 enrolled twice"):
        gallery.verify()
