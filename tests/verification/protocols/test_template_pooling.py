import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.errors import DataError
from facever.verification.protocols import template_pooling
from facever.verification.protocols.template_lists import TemplateList
from facever.verification.protocols.template_pooling import pool_templates

DIM = 5


def draw(seed: int, num_lines: int = 40) -> tuple[np.ndarray, TemplateList]:
    """Photos of which some are in two templates, of few templates and media."""
    rng = np.random.default_rng(seed)
    num_photos = max(1, num_lines - 5)
    photo = np.concatenate(
        [rng.permutation(num_photos), rng.integers(num_photos, size=5)]
    )[:num_lines]
    ids, template = np.unique(
        rng.choice([3, 8, 9, 40, 41], num_lines), return_inverse=True
    )
    _, first = np.unique([template, photo], axis=1, return_index=True)
    photo, template = photo[first], template[first]
    kept = np.unique(template)
    listed = TemplateList(
        [f"{number:03}.jpg" for number in range(num_photos)],
        ids[kept],
        photo,
        np.searchsorted(kept, template),
        rng.integers(4, size=len(photo)),
    )
    return rng.normal(size=(num_photos, DIM)).astype(np.float32), listed


def insightface(
    features: np.ndarray, templates: np.ndarray, media: np.ndarray
) -> np.ndarray:
    """The published computation, in NumPy: a row for each template, ascending."""
    found = []
    for template in np.unique(templates):
        of_template = features[templates == template]
        media_of_template = media[templates == template]
        of_media = [
            np.mean(of_template[media_of_template == medium], axis=0)
            for medium in np.unique(media_of_template)
        ]
        found.append(np.sum(of_media, axis=0))
    sums = np.array(found)
    return sums / np.sqrt(np.sum(sums**2, axis=-1, keepdims=True))


@given(st.integers(0, 1000), st.booleans(), st.sampled_from([1, 7, 1000]))
def test_as_insightface_computes_it(seed: int, weighted: bool, block: int) -> None:
    embeddings, listed = draw(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(embeddings))
    weights = rng.uniform(0.1, 1, len(embeddings)) if weighted else None
    features = embeddings[listed.photo].astype(np.float64)
    if weights is not None:
        features *= weights[listed.photo, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template_pooling, "_BLOCK_LINES", block)
        # The embeddings lie in any order.
        found = pool_templates(embeddings[order], np.argsort(order), listed, weights)
    assert found.present.all()
    np.testing.assert_allclose(
        found.units,
        insightface(features, listed.template, listed.medium),
        rtol=1e-5,
        atol=1e-6,
    )


@given(st.integers(0, 1000))
def test_order_of_lines_and_numbers_of_media_change_nothing(seed: int) -> None:
    embeddings, listed = draw(seed)
    rows = np.arange(len(embeddings))
    found = pool_templates(embeddings, rows, listed).units
    rng = np.random.default_rng(seed + 1)
    order = rng.permutation(len(listed.photo))
    moved = TemplateList(
        listed.photos,
        listed.ids,
        listed.photo[order],
        listed.template[order],
        listed.medium[order],
    )
    np.testing.assert_array_equal(pool_templates(embeddings, rows, moved).units, found)
    renamed = TemplateList(
        listed.photos,
        listed.ids,
        listed.photo,
        listed.template,
        rng.permutation(100)[listed.medium],
    )
    np.testing.assert_allclose(
        pool_templates(embeddings, rows, renamed).units, found, atol=1e-6
    )


@given(st.integers(0, 1000), st.floats(0, 1))
def test_missing_photos_are_as_lines_that_are_not_there(
    seed: int, share: float
) -> None:
    embeddings, listed = draw(seed)
    rng = np.random.default_rng(seed)
    missing = rng.random(len(embeddings)) < share
    rows = np.where(missing, -1, np.arange(len(embeddings)))
    found = pool_templates(embeddings, rows, listed)
    there = ~missing[listed.photo]
    left = np.unique(listed.template[there])
    assert np.flatnonzero(found.present).tolist() == left.tolist()
    assert not found.units[~found.present].any()
    if left.size:
        np.testing.assert_allclose(
            found.units[left],
            insightface(
                embeddings[listed.photo[there]].astype(np.float64),
                listed.template[there],
                listed.medium[there],
            ),
            rtol=1e-5,
            atol=1e-6,
        )


def test_longer_embeddings_and_scores_weigh_more() -> None:
    listed = TemplateList(
        ["a", "b"], np.array([1]), np.arange(2), np.zeros(2, int), np.array([5, 6])
    )
    embeddings = np.array([[4.0, 0.0], [0.0, 3.0]])
    rows = np.arange(2)
    np.testing.assert_allclose(
        pool_templates(embeddings, rows, listed).units, [[0.8, 0.6]]
    )
    np.testing.assert_allclose(
        pool_templates(embeddings, rows, listed, np.array([0.0, 1.0])).units,
        [[0.0, 1.0]],
    )


def test_a_template_of_which_no_photo_weighs_anything_is_named() -> None:
    listed = TemplateList(
        ["a.jpg", "b.jpg", "c.jpg"],
        np.array([7, 9]),
        np.arange(3),
        np.array([0, 1, 1]),
        np.arange(3),
    )
    rows, embeddings = np.arange(3), np.eye(3)
    weights = np.array([1.0, 0.0, 0.0])
    with pytest.raises(DataError, match=r"template 9: .* b\.jpg, have the score 0"):
        pool_templates(embeddings, rows, listed, weights)
    # One that has no embedding at all is missing, whatever it weighs.
    rows[1:] = -1
    assert pool_templates(embeddings, rows, listed, weights).present.tolist() == [
        True,
        False,
    ]


def test_bad_embeddings_are_named() -> None:
    listed = TemplateList(
        ["a.jpg", "b.jpg"], np.array([7]), np.arange(2), np.zeros(2, int), np.arange(2)
    )
    rows = np.arange(2)
    with pytest.raises(DataError, match=r"b\.jpg.* is all zero or not finite"):
        pool_templates(np.array([[1.0, 0.0], [np.nan, 0.0]]), rows, listed)
    with pytest.raises(DataError, match="template 7"):
        pool_templates(np.array([[1.0, 0.0], [-1.0, 0.0]]), rows, listed)
