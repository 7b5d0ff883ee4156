import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.errors import DataError, GalleryError, MismatchError, ParameterError
from facever.gallery.folder.gallery import Gallery

MODEL = "a" * 64
OTHER_MODEL = "b" * 64


def rows(*vectors: list[float]) -> np.ndarray:
    return np.array(vectors, dtype=np.float32)


def test_matches_by_hand(tmp_path: Path) -> None:
    # (3, 4) has length 5, so its cosine with (1, 0) is 3/5 and with (0, 2) 4/5.
    with Gallery.create(tmp_path / "people", 2) as gallery:
        ids = gallery.add(["Ann", "Bob"], rows([1, 0], [0, 2]), ["ann.jpg", "bob.jpg"])
        [matches] = gallery.search(rows([3, 4]), k=5)

    assert [match.name for match in matches] == ["Bob", "Ann"]
    assert [match.source for match in matches] == ["bob.jpg", "ann.jpg"]
    assert [match.id for match in matches] == [ids[1], ids[0]]
    assert [match.cosine for match in matches] == pytest.approx([0.8, 0.6], abs=1e-7)


def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    details = {"network": "resnet27", "mirror": "sum", "mean": 127.5}
    with Gallery.create(tmp_path / "people", 2, MODEL, details) as gallery:
        ids = gallery.add(
            ["Zoë", "Ann", "Ann"], rows([1, 0], [0, 1], [1, 1]), ["1", "2", "3"]
        )

    with Gallery(tmp_path / "people", MODEL) as gallery:
        assert len(gallery) == 3
        assert list(gallery.names().items()) == [("Ann", 2), ("Zoë", 1)]
        assert gallery.find("Zoë", "1") == ids[0]
        assert gallery.find("Zoë", "2") is None
        [[best]] = gallery.search(rows([9, 1]), k=1)
        assert (best.name, best.id) == ("Zoë", ids[0])
        info = gallery.info()
    assert (info.num_people, info.num_embeddings, info.embedding_size) == (2, 3, 2)
    assert (info.model_fingerprint, info.model_details) == (MODEL, details)


def test_a_source_is_enrolled_once_under_a_name(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "people", 2) as gallery:
        [first] = gallery.add(["Ann"], rows([1, 0]), ["1"])
        again = gallery.add(
            ["Ann", "Bob", "Ann", "Ann"],
            rows([0, 1], [0, 1], [1, 1], [1, 1]),
            ["1", "1", "2", "2"],
        )

        assert again[0] == first
        assert again[2] == again[3]
        assert len({first, again[1], again[2]}) == 3
        assert gallery.names() == {"Ann": 2, "Bob": 1}
        [matches] = gallery.search(rows([1, 0]), k=9)
        # The embedding that was enrolled first has stayed.
        assert {match.id: round(match.cosine, 3) for match in matches} == {
            first: 1.0,
            again[1]: 0.0,
            again[2]: 0.707,
        }


def test_finds_what_was_enrolled_since_the_last_search(tmp_path: Path) -> None:
    with (
        Gallery.create(tmp_path / "people", 2) as gallery,
        Gallery(tmp_path / "people") as other,
    ):
        for count, name in enumerate(["Ann", "Bob", "Cy"], start=1):
            gallery.add([name], rows([count, 1]), ["1"])
            for each in (gallery, other):
                [matches] = each.search(rows([count, 1]), k=9)
                assert (matches[0].name, len(matches)) == (name, count)


def test_an_empty_gallery_has_no_matches(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "people", 2) as gallery:
        assert gallery.search(rows([1, 0], [0, 1]), k=3) == [[], []]
        assert gallery.add([], np.empty((0, 2), np.float32), []) == []
        assert gallery.names() == {}
        gallery.add(["Ann"], rows([1, 0]), ["1"])
        assert gallery.search(np.empty((0, 2), np.float32), k=3) == []


def test_a_gallery_can_be_made_in_an_empty_folder_and_below_new_ones(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    Gallery.create(tmp_path / "empty", 2).close()
    Gallery.create(tmp_path / "new" / "er" / "people?#%20", 2).close()
    assert len(Gallery(str(tmp_path / "new" / "er" / "people?#%20"))) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


@pytest.mark.parametrize("vector", [[0, 0], [np.nan, 1], [np.inf, 1]])
def test_refuses_embeddings_without_direction(
    tmp_path: Path, vector: list[float]
) -> None:
    with Gallery.create(tmp_path / "people", 2) as gallery:
        message = "embedding 1 of 2 is all zero or not finite; leave out"
        with pytest.raises(DataError, match=message):
            gallery.add(["Ann", "Bob"], rows([1, 0], vector), ["1", "2"])
        with pytest.raises(DataError, match=message):
            gallery.search(rows([1, 0], vector))
        assert len(gallery) == 0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_keeps_the_direction_of_very_short_and_long_embeddings(
    tmp_path: Path, scale: float
) -> None:
    with Gallery.create(tmp_path / "people", 2) as gallery:
        gallery.add(["Ann"], rows([3 * scale, 4 * scale]), ["1"])
        [[match]] = gallery.search(rows([1, 0]))
        assert match.cosine == pytest.approx(0.6)


def test_refuses_embeddings_of_another_size(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "people", 2) as gallery:
        with pytest.raises(MismatchError, match="have 2 numbers, got 3"):
            gallery.add(["Ann"], rows([1, 0, 0]), ["1"])
        with pytest.raises(MismatchError, match="have 2 numbers, got 3"):
            gallery.search(rows([1, 0, 0]))


def test_refuses_another_model_and_an_untold_one(tmp_path: Path) -> None:
    Gallery.create(tmp_path / "bound", 2, MODEL).close()
    with pytest.raises(MismatchError, match=r"model aaaaaaaaaaaa and .* bbbbbbbbbbbb;"):
        Gallery(tmp_path / "bound", OTHER_MODEL)
    with Gallery(tmp_path / "bound") as gallery:
        assert gallery.info().model_fingerprint == MODEL
        with pytest.raises(MismatchError, match="nothing says whose these are"):
            gallery.add(["Ann"], rows([1, 0]), ["1"])
        with pytest.raises(MismatchError, match="nothing says whose these are"):
            gallery.search(rows([1, 0]))


def test_refuses_to_guess_the_model_of_an_unbound_gallery(tmp_path: Path) -> None:
    Gallery.create(tmp_path / "unbound", 2).close()
    with pytest.raises(MismatchError, match="of an unknown model, so it can only"):
        Gallery(tmp_path / "unbound", MODEL)


def test_refuses_arguments_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError, match="embedding_size must be at least 1, got 0"
    ):
        Gallery.create(tmp_path / "people", 0)
    assert list(tmp_path.iterdir()) == []
    with Gallery.create(tmp_path / "people", 2) as gallery:
        with pytest.raises(ParameterError, match="k must be at least 1, got 0"):
            gallery.search(rows([1, 0]), k=0)
        with pytest.raises(ParameterError, match="of one length, got 2, 1, 1, 2 and 2"):
            gallery.add(["Ann", "Bob"], rows([1, 0]), ["1"])
        for text in ("", " \n", "M\udcfcller"):
            shown = re.escape(ascii(text))
            with pytest.raises(ParameterError, match=f"the name of row 1 .* {shown}"):
                gallery.add(["Ann", text], rows([1, 0], [1, 0]), ["1", "2"])
            with pytest.raises(ParameterError, match=f"the source of row 0 .* {shown}"):
                gallery.add(["Ann", "Bob"], rows([1, 0], [1, 0]), [text, "2"])
        assert len(gallery) == 0


NAMES = st.sampled_from(["Ann", "Bob", "Zoë", "o'Neil; --", "[red]", "王"])
# Small whole numbers: many equal directions, opposite ones, and ties.
VECTORS = st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any)
ADDS = st.tuples(
    st.just("add"),
    st.lists(st.tuples(NAMES, VECTORS, st.sampled_from("1234")), max_size=4),
)
SEARCHES = st.tuples(
    st.just("search"),
    st.tuples(st.lists(VECTORS, min_size=1, max_size=3), st.integers(1, 6)),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.one_of(ADDS, SEARCHES, st.just(("reopen", None))), max_size=9))
def test_behaves_like_a_dictionary_of_arrays(
    tmp_path_factory: pytest.TempPathFactory, steps: list
) -> None:
    path = tmp_path_factory.mktemp("galleries") / "people"
    gallery = Gallery.create(path, 3)
    model: dict[tuple[str, str], tuple[str, list[float]]] = {}
    for kind, values in steps:
        if kind == "reopen":
            gallery.close()
            gallery = Gallery(path)
        elif kind == "add":
            names, vectors, sources = (
                [row[column] for row in values] for column in range(3)
            )
            embeddings = np.array(vectors, np.float32).reshape(-1, 3)
            ids = gallery.add(names, embeddings, sources)
            for name, vector, source, row_id in zip(
                names, vectors, sources, ids, strict=True
            ):
                model.setdefault((name, source), (row_id, vector))
                assert model[name, source][0] == row_id
        else:
            queries, k = values
            found = gallery.search(np.array(queries, np.float64), k)
            for query, matches in zip(queries, found, strict=True):
                check_matches(model, query, k, matches)
    assert len({row_id for row_id, _ in model.values()}) == len(model) == len(gallery)
    expected = {name: 0 for name, _ in sorted(model)}
    for name, _ in model:
        expected[name] += 1
    assert gallery.names() == expected
    gallery.close()


def check_matches(model: dict, query: list[float], k: int, matches: list) -> None:
    cosines = {
        (name, source, row_id): float(
            np.dot(query, vector)
            / np.sqrt(np.dot(query, query) * np.dot(vector, vector))
        )
        for (name, source), (row_id, vector) in model.items()
    }
    keys = [(match.name, match.source, match.id) for match in matches]
    assert len(set(keys)) == len(keys) == min(k, len(model))
    scores = [match.cosine for match in matches]
    assert scores == sorted(scores, reverse=True)
    # Ties may come in any order: each match has its own cosine, and the cosines are
    # the largest there are.
    np.testing.assert_allclose(scores, [cosines[key] for key in keys], atol=1e-6)
    largest = sorted(cosines.values(), reverse=True)[:k]
    np.testing.assert_allclose(scores, largest, atol=1e-6)


@pytest.mark.realdata
def test_finds_people_of_lfw_as_brute_force_does(
    data_folder: Path, tmp_path: Path
) -> None:
    file = np.load(data_folder / "embeddings" / "lfw-mobilefacenet-128d.npz")
    embeddings, images = file["embeddings"], file["images"]
    photos: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        photos.setdefault(str(image).split("/")[0], []).append(row)
    people = [name for name in photos if len(photos[name]) >= 2]
    first = [photos[name][0] for name in people]
    second = [photos[name][1] for name in people]

    with Gallery.create(tmp_path / "lfw", 128) as gallery:
        started = time.perf_counter()
        gallery.add(people, embeddings[first], [str(image) for image in images[first]])
        added = time.perf_counter()
        found = gallery.search(embeddings[second], k=10)
        searched = time.perf_counter()

    wide = embeddings.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    exact = wide[second] @ wide[first].T
    largest = -np.sort(-exact, axis=1)[:, :10]
    scores = np.array([[match.cosine for match in matches] for matches in found])
    np.testing.assert_allclose(scores, largest, atol=1e-6)
    best = [people[column] for column in exact.argmax(axis=1)]
    assert [matches[0].name for matches in found] == best
    rank_one = float(
        np.mean([m[0].name == p for m, p in zip(found, people, strict=True)])
    )
    print(
        f"{len(people)} people: rank-1 {rank_one:.4f}, added in "
        f"{added - started:.3f} s, searched in {searched - added:.3f} s"
    )
    assert rank_one == np.mean(
        [name == p for name, p in zip(best, people, strict=True)]
    )
    assert rank_one > 0.9


def test_nobody_is_left_to_migrate(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "people", 2) as gallery:
        ids = gallery.add(["Ann"], np.ones((1, 2)), ["1"])
        with pytest.raises(GalleryError, match="nothing was migrated"):
            gallery.replace_model({}, ids, "m" * 64, {})
        assert len(gallery) == 1
