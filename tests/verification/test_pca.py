import numpy as np
import pytest
from sklearn.decomposition import PCA

from facever.errors import ParameterError
from facever.verification.pca import (
    default_num_components,
    fold_projections,
    home_folds,
)


def places(images, pairs):
    place = {source: index for index, source in enumerate(images)}
    left = np.array([place[source] for source in pairs.left])
    right = np.array([place[source] for source in pairs.right])
    return left, right


def training_images(pairs, tested: int) -> list[str]:
    """Each photo that a pair of another fold names, once."""
    names = zip(pairs.left, pairs.right, pairs.fold.tolist(), strict=True)
    return sorted({name for *both, fold in names if fold != tested for name in both})


def used(embeddings, images, pairs):
    rows = {image: row for row, image in enumerate(images)}
    sources = pairs.sources
    return embeddings[[rows[source] for source in sources]], sources


@pytest.mark.parametrize("num_components", [1, 3, 8])
def test_each_fold_is_scikit_learns_pca_of_the_other_folds(
    draw, num_components: int
) -> None:
    embeddings, images, pairs = draw(seed=3)
    vectors, sources = used(embeddings, images, pairs)
    left, right = places(sources, pairs)
    home = home_folds(left, right, pairs.fold, len(sources))
    shared = np.count_nonzero(home == -1)
    assert 0 < shared < len(sources)
    found = list(fold_projections(vectors, home, pairs.num_folds, num_components))
    assert len(found) == pairs.num_folds
    for fold, projection in enumerate(found):
        names = training_images(pairs, fold)
        oracle = PCA(num_components, svd_solver="full")
        oracle.fit(vectors[[sources.index(name) for name in names]])
        np.testing.assert_allclose(projection.mean, oracle.mean_, atol=1e-12)
        expected = oracle.transform(vectors)
        signs = np.sign(np.sum(projection.components * oracle.components_.T, axis=0))
        np.testing.assert_allclose(projection(vectors) * signs, expected, atol=1e-9)


@pytest.mark.parametrize("num_components", [1, 3, 8])
def test_whitening_is_scikit_learns(draw, num_components: int) -> None:
    embeddings, images, pairs = draw(seed=5)
    vectors, sources = used(embeddings, images, pairs)
    home = home_folds(*places(sources, pairs), pairs.fold, len(sources))
    found = fold_projections(vectors, home, pairs.num_folds, num_components, True)
    for fold, projection in enumerate(found):
        names = training_images(pairs, fold)
        training = vectors[[sources.index(name) for name in names]]
        oracle = PCA(num_components, whiten=True, svd_solver="full").fit(training)
        signs = np.sign(np.sum(projection.components * oracle.components_.T, axis=0))
        np.testing.assert_allclose(
            projection(vectors) * signs, oracle.transform(vectors), atol=1e-9
        )
        # What whitening means: variance 1, and no covariance.
        covariance = np.cov(projection(training), rowvar=False)
        np.testing.assert_allclose(covariance, np.eye(num_components), atol=1e-9)


def test_a_direction_without_variance_is_not_blown_up() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 5))
    vectors[:, 4] = 2 * vectors[:, 0]
    home = np.arange(40) % 4
    for projection in fold_projections(vectors, home, 4, 5, True):
        coordinates = projection(vectors)
        assert np.isfinite(coordinates).all()
        np.testing.assert_allclose(coordinates[:, 4], 0, atol=1e-6)
        np.testing.assert_allclose(coordinates[:, :4].std(axis=0), 1, atol=0.4)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e6])
def test_whitening_knows_no_unit(scale: float) -> None:
    vectors = np.random.default_rng(1).normal(size=(60, 5)) * [9, 3, 1, 1e-3, 1e-5]
    vectors[:, 4] = vectors[:, 0]  # One direction without variance.
    home = np.arange(60) % 3
    plain = list(fold_projections(vectors, home, 3, 5, True))
    scaled = list(fold_projections(scale * vectors, home, 3, 5, True))
    for before, after in zip(plain, scaled, strict=True):
        expected, found = before(vectors)[:, :4], after(scale * vectors)[:, :4]
        signs = np.sign(np.sum(expected * found, axis=0))
        np.testing.assert_allclose(found * signs, expected, atol=1e-6)
        np.testing.assert_allclose(after(scale * vectors)[:, 4], 0, atol=1e-6)


def test_whitening_equal_images_scales_nothing() -> None:
    for projection in fold_projections(np.ones((9, 3)), np.arange(9) % 3, 3, 2, True):
        np.testing.assert_array_equal(projection(np.ones((9, 3))), 0)


def test_without_components_only_the_other_folds_mean_is_subtracted(draw) -> None:
    embeddings, images, pairs = draw(seed=6)
    vectors, sources = used(embeddings, images, pairs)
    home = home_folds(*places(sources, pairs), pairs.fold, len(sources))
    found = list(fold_projections(vectors, home, pairs.num_folds, None))
    assert len(found) == pairs.num_folds
    for fold, projection in enumerate(found):
        names = training_images(pairs, fold)
        total = sum(vectors[sources.index(name)] for name in names)
        np.testing.assert_allclose(projection.mean, total / len(names), atol=1e-12)
        assert projection.components is None
        expected = [vector - total / len(names) for vector in vectors]
        np.testing.assert_allclose(projection(vectors), expected, atol=1e-12)
    # Fewer training images than dimensions are enough for a mean.
    few = fold_projections(vectors[:3], np.array([0, 1, 1]), 2, None)
    np.testing.assert_allclose(next(few).mean, vectors[1:3].mean(axis=0))


def test_the_tested_fold_does_not_move_its_pca(draw) -> None:
    embeddings, images, pairs = draw(seed=4)
    vectors, sources = used(embeddings, images, pairs)
    home = home_folds(*places(sources, pairs), pairs.fold, len(sources))
    before = list(fold_projections(vectors, home, pairs.num_folds, 3))
    for tested in range(pairs.num_folds):
        spoiled = vectors.copy()
        spoiled[home == tested] += np.random.default_rng(0).normal(size=8) * 5
        after = list(fold_projections(spoiled, home, pairs.num_folds, 3))
        for fold, (old, new) in enumerate(zip(before, after, strict=True)):
            same_space = np.allclose(
                old.components @ old.components.T,
                new.components @ new.components.T,
                atol=1e-8,
            ) and np.allclose(old.mean, new.mean, atol=1e-8)
            assert same_space == (fold == tested)


def test_home_folds_by_hand() -> None:
    # Image 0 is in folds 0 and 1, image 1 twice in 0, 2 in 1, and a partner is missing.
    home = home_folds(
        np.array([0, 1, 0, 2]), np.array([1, 1, 2, -1]), np.array([0, 0, 1, 1]), 3
    )
    assert home.tolist() == [-1, 0, 1]


@pytest.mark.parametrize(("size", "kept"), [(512, 256), (128, 64), (3, 1), (1, 1)])
def test_default_is_half(size: int, kept: int) -> None:
    assert default_num_components(size) == kept


@pytest.mark.parametrize("num_components", [0, -1, 9])
def test_components_out_of_range(num_components: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8))
    home = np.arange(40) % 4
    with pytest.raises(ParameterError, match=rf"1 and 8 .*, got {num_components}$"):
        next(fold_projections(vectors, home, 4, num_components))


def test_too_few_training_images() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 8))
    home = np.array([0, 0, 0, 0, 1, 1])
    with pytest.raises(ParameterError, match="fold 1 has 2"):
        next(fold_projections(vectors, home, 2, 2))
