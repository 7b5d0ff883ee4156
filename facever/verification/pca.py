"""PCA for each fold, fitted on the photos of the other folds alone."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float64, Int64
from threadpoolctl import ThreadpoolController

from facever.errors import ParameterError, TooFewImagesError

# Directions of less than this share of the largest variance are rounding alone, which
# is about 1e-14 of it: whitening leaves them small.
_NO_VARIANCE = 1e-12


@dataclass(frozen=True)
class Projection:
    """A fitted PCA: subtract the mean, keep the directions of greatest variance.

    Attributes:
        mean: Mean of the training photos' embeddings.
        components: Orthogonal directions, one a column, of falling variance: of length
            1, or, whitened, of 1 / standard deviation. None keeps all dimensions as
            they are.
    """

    mean: Float64[np.ndarray, " dim"]
    components: Float64[np.ndarray, "dim components"] | None

    def __call__(
        self,
        embeddings: Float64[np.ndarray, "images dim"],
        out: Float64[np.ndarray, "images components"] | None = None,
    ) -> Float64[np.ndarray, "images components"]:
        """Coordinates of the embeddings along the components.

        Args:
            embeddings: The embeddings, one row for each image.
            out: An array for the result, if there is one to use again: fresh memory
                costs as much as half of the product.
        """
        coordinates: Float64[np.ndarray, "images components"]
        if self.components is None:
            coordinates = np.subtract(embeddings, self.mean, out=out)
        else:
            coordinates = np.matmul(embeddings, self.components, out=out)
            coordinates -= self.mean @ self.components
        return coordinates


def default_num_components(embedding_size: int) -> int:
    """Half of the embedding size, at least 1.

    The paper compares "the cosine similarity of two representations after PCA" and
    prints no number. Keeping all dimensions would only centre the embeddings (a
    rotation leaves the cosine alone), and a number picked by its LFW accuracy would be
    fitted to the test, so half is a rule that reduces every network's embeddings alike
    and was set before any accuracy was seen.

    References:
        Wu et al., Include-and-Exclude loss, 2018, section 4.2.
    """
    return max(1, embedding_size // 2)


def home_folds(
    left: Int64[np.ndarray, " pairs"],
    right: Int64[np.ndarray, " pairs"],
    fold: Int64[np.ndarray, " pairs"],
    num_images: int,
) -> Int64[np.ndarray, " {num_images}"]:
    """The one fold whose pairs name an image, or -1 if several folds do.

    Args:
        left: Index of the first image of each pair, -1 if it is missing.
        right: Index of the second image of each pair, -1 if it is missing.
        fold: Fold of each pair.
        num_images: Number of images; each is in some pair.

    Returns:
        One fold an image. The images to train on for a fold are those of another home.
    """
    image = np.concatenate([left, right])
    named_in = np.concatenate([fold, fold])[image >= 0]
    image = image[image >= 0]
    first = np.full(num_images, fold.max() + 1, dtype=np.int64)
    last = np.full(num_images, -1, dtype=np.int64)
    np.minimum.at(first, image, named_in)
    np.maximum.at(last, image, named_in)
    return np.where(first == last, first, -1)


def fold_projections(
    embeddings: Float64[np.ndarray, "images dim"],
    home: Int64[np.ndarray, " images"],
    num_folds: int,
    num_components: int | None,
    whiten: bool = False,
) -> Iterator[Projection]:
    """One PCA a fold, fitted on the images that other folds' pairs name.

    Each image trains once, however many pairs name it. The covariance without a fold
    is the whole sum of squares and products less that of the images whose only home is
    the fold, so all folds together cost one pass over the images.

    Args:
        embeddings: The embeddings, one row for each image.
        home: The home fold of each image, from ``home_folds``.
        num_folds: Number of folds.
        num_components: Number of dimensions to keep; None only subtracts the mean.
        whiten: Whether to scale the components to variance 1; those with less than
            1e-12 of the largest variance, as if they had that much.

    Returns:
        The projections to test fold 0, then 1, and so on, each fitted when asked for.

    Raises:
        ParameterError: If ``num_components`` is not in ``1 .. dim``.
        TooFewImagesError: If ``num_components`` is not below the number of a fold's
            training images.
    """
    num_training = len(home) - np.bincount(home[home >= 0], minlength=num_folds)
    # Centred on the mean of all folds only to keep the subtraction below accurate.
    center = embeddings.mean(axis=0)
    centered = embeddings - center
    of_home = [centered[home == fold] for fold in range(-1, num_folds)]
    sums = np.stack([images.sum(axis=0) for images in of_home])
    means = (sums.sum(axis=0) - sums[1:]) / num_training[:, None]
    if num_components is None:
        return (Projection(center + mean, None) for mean in means)
    _check_components(num_components, embeddings.shape[1], num_training)
    products = np.stack([images.T @ images for images in of_home])
    product_of_all = products.sum(axis=0)

    def fit(fold: int) -> Projection:
        mean, count = means[fold], int(num_training[fold])
        scatter = product_of_all - products[1 + fold] - count * np.outer(mean, mean)
        components = _directions(scatter, count, num_components, whiten)
        return Projection(center + mean, components)

    return map(fit, range(num_folds))


def _directions(
    scatter: Float64[np.ndarray, "dim dim"],
    num_images: int,
    num_components: int,
    whiten: bool,
) -> Float64[np.ndarray, "dim components"]:
    values, directions = np.linalg.eigh(scatter)
    components: np.ndarray = directions[:, : -num_components - 1 : -1]
    if whiten:
        variances = values[: -num_components - 1 : -1] / (num_images - 1)
        # Where all images are equal, there is nothing to scale.
        floor = _NO_VARIANCE * variances[0] or 1.0
        components = components / np.sqrt(np.maximum(variances, floor))
    return components


def one_thread_each() -> AbstractContextManager[object]:
    """A context in which a matrix product takes one thread of this process.

    For folds that are computed side by side, and because a matrix of an embedding's
    size is done before a second thread has woken up; which then goes on spinning for
    some time, in the way of ours.
    """
    limit: AbstractContextManager[object] = _thread_pools().limit(
        limits=1, user_api="blas"
    )
    return limit


@cache
def _thread_pools() -> ThreadpoolController:
    """Finding the libraries takes longer than a fold's PCA."""
    return ThreadpoolController()


def _check_components(
    num_components: int, dim: int, num_training: Int64[np.ndarray, " folds"]
) -> None:
    if not 1 <= num_components <= dim:
        raise ParameterError(
            f"PCA components must be between 1 and {dim} (the embedding size), got "
            f"{num_components}"
        )
    if num_components >= num_training.min():
        raise TooFewImagesError(
            f"PCA to {num_components} components needs more than {num_components} "
            f"training images in every fold; fold {num_training.argmin() + 1} has "
            f"{num_training.min()}; keep fewer (--pca-components) or none (--no-pca)"
        )
