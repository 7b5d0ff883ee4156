"""PCA for each fold, fitted on the photos of the other folds alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from facever.errors import ParameterError


@dataclass(frozen=True)
class Projection:
    """A fitted PCA: subtract the mean, keep the directions of greatest variance.

    Attributes:
        mean: Mean of the training photos' embeddings.
        components: Orthonormal directions, one a column, of falling variance.
    """

    mean: Float64[np.ndarray, " dim"]
    components: Float64[np.ndarray, "dim components"]

    def __call__(
        self, embeddings: Float64[np.ndarray, "images dim"]
    ) -> Float64[np.ndarray, "images components"]:
        """Coordinates of the embeddings along the components."""
        coordinates: Float64[np.ndarray, "images components"] = (
            embeddings @ self.components - self.mean @ self.components
        )
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
        right: Index of the second image.
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
    num_components: int,
) -> Iterator[Projection]:
    """One PCA a fold, fitted on the images that other folds' pairs name.

    Each image trains once, however many pairs name it. The covariance without a fold
    is the whole sum of squares and products less that of the images whose only home is
    the fold, so all folds together cost one pass over the images.

    Args:
        embeddings: One row an image.
        home: From ``home_folds``.
        num_folds: Number of folds.
        num_components: Dimensions to keep.

    Yields:
        The projection to test fold 0, then 1, and so on.

    Raises:
        ParameterError: If ``num_components`` is not in ``1 .. dim``, or is not below
            the number of a fold's training images.
    """
    dim = embeddings.shape[1]
    if not 1 <= num_components <= dim:
        raise ParameterError(
            f"PCA components must be between 1 and {dim} (the embedding size), got "
            f"{num_components}"
        )
    num_training = len(home) - np.bincount(home[home >= 0], minlength=num_folds)
    if num_components >= num_training.min():
        raise ParameterError(
            f"PCA to {num_components} components needs more than {num_components} "
            "training images in every fold; fold "
            f"{num_training.argmin() + 1} has {num_training.min()}; keep fewer or "
            "compare without PCA"
        )
    # Centred on the mean of all folds only to keep the subtraction below accurate.
    center = embeddings.mean(axis=0)
    centered = embeddings - center
    of_home = [centered[home == fold] for fold in range(-1, num_folds)]
    sums = np.stack([images.sum(axis=0) for images in of_home])
    products = np.stack([images.T @ images for images in of_home])
    sum_of_all, product_of_all = sums.sum(axis=0), products.sum(axis=0)
    for fold in range(num_folds):
        count = num_training[fold]
        mean = (sum_of_all - sums[1 + fold]) / count
        scatter = product_of_all - products[1 + fold] - count * np.outer(mean, mean)
        directions = np.linalg.eigh(scatter)[1]
        yield Projection(center + mean, directions[:, : -num_components - 1 : -1])
