"""BLUFR: all pairs and open-set identification on LFW, in ten trials.

Each trial parts the people of LFW: 1,500 to train on, 4,249 to test. *Verification*:
the true accept rate at FAR 0.1 % over all pairs of the test photos (about 47 million).
*Identification*: one photo each of 1,000 test people is the gallery, their other photos
are the genuine probes, and all photos of the other 3,249 people the impostor probes;
the rate of genuine probes identified at rank 1 and FPIR 1 %. Reported is the mean over
the trials minus their sample standard deviation.

Whatever learns from LFW (a PCA, say) may learn from a trial's training photos alone.

Our rates are exact, at thresholds that never exceed their target, and ties count
against them (see ``identification``). The authors' toolkit rounds the number of false
accepts to the nearest, up to half a pair or probe above the target, and its threshold
is the lowest impostor score that is accepted; ours is the next lower one, the highest
that is not.

References:
    Liao, Lei, Yi and Li, A Benchmark Study of Large-scale Unconstrained Face
    Recognition, IJCB 2014, and its toolkit, version 1.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from jaxtyping import Float, Float32, Float64, Int64

from facever.errors import DataError, FileError, ParameterError
from facever.verification.identification import (
    IdentityList,
    TpirAtFpir,
    evaluate_identification,
    find_rows,
    unit_rows,
)
from facever.verification.roc import TarAtFar

TARGET_FAR = 1e-3
TARGET_FPIR = 1e-2

_NUM_TRIALS = 10
_NUM_TRAINING_PEOPLE = 1_500
_NUM_GALLERY_PEOPLE = 1_000
_FIELDS = ("imageList", "labels", "trainIndex", "galIndex", "probIndex")

# Scores held at once: 16 MiB of float32.
_BLOCK_SCORES = 2**22


@dataclass(frozen=True)
class BlufrTrial:
    """One way to part the people of LFW.

    Attributes:
        training: Photos that may be learned from, of people who are in no other part.
        gallery: One photo of each enrolled person.
        probes: Photos to search for, of enrolled people and of others.
    """

    training: list[str]
    gallery: IdentityList
    probes: IdentityList

    @property
    def test(self) -> IdentityList:
        """The photos whose pairs are all compared: the gallery and the probes."""
        return IdentityList(
            self.gallery.images + self.probes.images,
            self.gallery.identities + self.probes.identities,
        )


@dataclass(frozen=True)
class BlufrTrials:
    """The trials and where they are from.

    Attributes:
        trials: Ten of them.
        origin: The file, or how they were drawn and that they are not the official
            ones; to be shown with every number.
    """

    trials: list[BlufrTrial]
    origin: str


@dataclass(frozen=True)
class BlufrTrialResult:
    """What one trial says.

    Attributes:
        verification: True accept rate at ``TARGET_FAR`` over all pairs.
        identification: Rank-1 identification rate at ``TARGET_FPIR``.
        missing: Test photos without an embedding. Their pairs are rejected, and
            counted; for gallery and probes see ``identification``.
    """

    verification: TarAtFar
    identification: TpirAtFpir
    missing: list[str]


@dataclass(frozen=True)
class BlufrEvaluation:
    """What all trials say.

    Attributes:
        origin: Of the trials; see ``BlufrTrials``.
        results: One a trial.
        verification_rates: True accept rate of each trial.
        identification_rates: Rank-1 identification rate of each trial.
    """

    origin: str
    results: list[BlufrTrialResult]
    verification_rates: Float64[np.ndarray, " trials"]
    identification_rates: Float64[np.ndarray, " trials"]

    @property
    def reported_verification(self) -> float:
        """Mean minus sample standard deviation of the verification rates."""
        return _mean_minus_deviation(self.verification_rates)

    @property
    def reported_identification(self) -> float:
        """Mean minus sample standard deviation of the identification rates."""
        return _mean_minus_deviation(self.identification_rates)


def read_blufr_trials(path: Path) -> BlufrTrials:
    """Read the official trials: ``blufr_lfw_config.mat`` of the authors' toolkit.

    Args:
        path: A MATLAB file (older than 7.3) with ``imageList`` (file names without
            folders), ``labels`` (who is in each), and, a cell for each trial,
            ``trainIndex``, ``galIndex`` and ``probIndex`` (places in the list, from 1).

    Raises:
        FileError: If the file is missing or no such MATLAB file.
        DataError: If a field is missing or malformed, or a place is not in the list.
    """
    expected = f"expected blufr_lfw_config.mat with the fields {', '.join(_FIELDS)}"
    if not path.is_file():
        raise FileError(f"no file at {path}; {expected}")
    try:
        fields = scipy.io.loadmat(path, variable_names=_FIELDS)
    except Exception as error:  # A damaged file makes scipy raise nearly anything.
        raise FileError(f"{path} is no MATLAB file: {error}; {expected}") from None
    lacking = [name for name in _FIELDS if name not in fields]
    if lacking:
        raise DataError(f"{path} has no {' and no '.join(lacking)}; {expected}")
    try:
        names = [cell.item() for cell in fields["imageList"].ravel()]
        # Aaron_Eckhart_0001.jpg lies in the folder Aaron_Eckhart.
        sources = [f"{name.rpartition('_')[0]}/{name}" for name in names]
        labels = [str(label) for label in fields["labels"].ravel()]
        photo_at = dict(enumerate(zip(sources, labels, strict=True), start=1))
        training, galleries, probes = (
            [[photo_at[place] for place in c.ravel().tolist()] for c in cells.ravel()]
            for cells in (fields[name] for name in _FIELDS[2:])
        )
        trials = [
            BlufrTrial(
                [source for source, _ in t], _identity_list(g), _identity_list(p)
            )
            for t, g, p in zip(training, galleries, probes, strict=True)
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is malformed ({reason}); {expected}") from None
    return BlufrTrials(trials, origin=f"trials of {path.name}")


def draw_blufr_trials(photos: IdentityList, seed: int) -> BlufrTrials:
    """Draw trials of the published sizes, which are NOT the official trials.

    Numbers on them say how well a model does at BLUFR's task; they do not stand beside
    published ones. They are drawn with numpy's default generator; the order of the
    photos makes no difference.

    Args:
        photos: All of LFW's photos and people.
        seed: Of the ten trials.

    Raises:
        DataError: If too few people are left for a gallery, each with two photos.
    """
    photos_of: dict[str, list[str]] = {}
    for identity, image in sorted(zip(photos.identities, photos.images, strict=True)):
        photos_of.setdefault(identity, []).append(image)
    generator = np.random.default_rng(seed)
    trials = [_draw_trial(photos_of, generator) for _ in range(_NUM_TRIALS)]
    return BlufrTrials(
        trials, origin=f"NOT the official trials: drawn with seed {seed}"
    )


def evaluate_blufr(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    trials: BlufrTrials,
) -> BlufrEvaluation:
    """Evaluate all trials with the same embeddings.

    Args:
        embeddings: One row an image; those that no trial names are ignored.
        images: Source of each row; its extension does not matter.
        trials: At least two.

    Raises:
        DataError: As ``evaluate_blufr_trial``, if there are fewer than two trials, or
            one has too few impostors for its targets.
    """
    if len(trials.trials) < 2:
        raise DataError(
            "BLUFR's mean minus standard deviation needs at least 2 trials, got "
            f"{len(trials.trials)} ({trials.origin})"
        )
    results = [evaluate_blufr_trial(embeddings, images, t) for t in trials.trials]
    for number, result in enumerate(results, start=1):
        note = result.verification.note or result.identification.note
        if note:
            raise DataError(f"trial {number} of {trials.origin}: {note}")
    return BlufrEvaluation(
        origin=trials.origin,
        results=results,
        verification_rates=np.array([r.verification.tar for r in results], np.float64),
        identification_rates=np.array(
            [r.identification.tpir for r in results], np.float64
        ),
    )


def evaluate_blufr_trial(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    trial: BlufrTrial,
) -> BlufrTrialResult:
    """Evaluate one trial; its embeddings may come from its own training photos.

    Raises:
        DataError: As ``all_pairs_tar_at_far`` and ``evaluate_identification``.
    """
    identification = evaluate_identification(
        embeddings, images, trial.gallery, trial.probes, [TARGET_FPIR]
    )
    return BlufrTrialResult(
        verification=all_pairs_tar_at_far(embeddings, images, trial.test, TARGET_FAR),
        identification=identification.tpir[0],
        missing=identification.missing_gallery + identification.missing_probes,
    )


def all_pairs_tar_at_far(
    embeddings: Float[np.ndarray, "images dim"],
    images: Sequence[str],
    photos: IdentityList,
    target_far: float,
) -> TarAtFar:
    """True accept rate at a false accept rate, exact over all pairs of photos.

    With n impostor pairs, k of them may be accepted (the largest k with
    ``k / n <= target_far``): the threshold is the impostor score of rank k + 1. Pairs
    of a photo without an embedding are rejected, and counted among the others.

    Held are, beside a float32 copy of the embeddings, 100 MiB, all genuine scores and
    the k + 1 highest impostor scores, never all scores.

    Args:
        embeddings: One row an image, of any length but zero.
        images: Source of each row; its extension does not matter.
        photos: Whose pairs are compared by cosine (a float32 product).
        target_far: False accept rate in (0, 1).

    Returns:
        The rates; a note instead where there are fewer than ``1 / target_far`` impostor
        pairs. The threshold is -inf where all pairs with a score may be accepted.

    Raises:
        ParameterError: If ``target_far`` is outside (0, 1).
        DataError: If no pair is genuine, no photo has an embedding, ``images`` does not
            fit ``embeddings``, or an embedding is not finite or all zero.
    """
    if not 0 < target_far < 1:
        raise ParameterError(f"a false accept rate must be in (0, 1), got {target_far}")
    _, codes, counts = np.unique(
        photos.identities, return_inverse=True, return_counts=True
    )
    num_genuine = int(np.sum(counts * (counts - 1) // 2))
    num_impostor = len(photos) * (len(photos) - 1) // 2 - num_genuine
    if num_genuine == 0:
        raise DataError(
            f"all pairs of {len(photos)} photos are impostors; list 2 of one person"
        )
    if num_impostor == 0 or 1 / num_impostor > target_far:
        note = (
            f"FAR {target_far:g} needs at least {int(np.ceil(1 / target_far)):,} "
            f"impostor pairs, there are {num_impostor:,}"
        )
        return TarAtFar(target_far, None, None, None, note)
    allowed = int(target_far * num_impostor)
    # The product is rounded: the quotient decides, as for every other rate.
    allowed += int((allowed + 1) / num_impostor <= target_far)
    allowed -= int(allowed / num_impostor > target_far)

    rows = find_rows(embeddings, images, photos.images)
    units = unit_rows(embeddings, images, rows[rows >= 0])
    genuine, highest = _compare_all(units, codes[rows >= 0], allowed + 1)
    threshold = highest[0]
    return TarAtFar(
        target_far=target_far,
        far=int(np.count_nonzero(highest > threshold)) / num_impostor,
        tar=int(np.count_nonzero(genuine > threshold)) / num_genuine,
        threshold=float(threshold),
        note="",
    )


def _compare_all(
    units: Float32[np.ndarray, "photos dim"],
    codes: Int64[np.ndarray, " photos"],
    num_kept: int,
) -> tuple[Float32[np.ndarray, " genuine"], Float32[np.ndarray, " kept"]]:
    """All genuine scores and the highest impostor scores, the lowest of them first.

    Where there are fewer impostor pairs than are to be kept, -inf fills up.
    """
    genuine = []
    highest = np.full(num_kept, -np.inf, np.float32)
    place = np.arange(len(units))
    start = 0
    while start < len(units):
        block = slice(start, start + max(1, _BLOCK_SCORES // (len(units) - start)))
        scores = units[block] @ units[start:].T
        same = codes[block, None] == codes[start:]
        later = place[block, None] < place[start:]
        genuine.append(scores[same & later])
        higher = scores[(scores > highest[0]) & later & ~same]
        highest = np.append(highest, higher)
        highest = np.partition(highest, len(higher))[len(higher) :]
        start = block.stop
    return np.concatenate(genuine), highest


def _identity_list(photos: Sequence[tuple[str, str]]) -> IdentityList:
    return IdentityList([source for source, _ in photos], [who for _, who in photos])


def _draw_trial(
    photos_of: dict[str, list[str]], generator: np.random.Generator
) -> BlufrTrial:
    people = generator.permutation(list(photos_of)).tolist()
    training, test = people[:_NUM_TRAINING_PEOPLE], people[_NUM_TRAINING_PEOPLE:]
    # The people are in random order already.
    enrolled = [p for p in test if len(photos_of[p]) > 1][:_NUM_GALLERY_PEOPLE]
    if len(enrolled) < _NUM_GALLERY_PEOPLE:
        raise DataError(
            f"a trial needs {_NUM_TRAINING_PEOPLE:,} people to train on and, beside "
            f"them, {_NUM_GALLERY_PEOPLE:,} with two photos; of {len(people):,} people "
            f"{len(enrolled):,} were left"
        )
    in_gallery = {photos_of[p][generator.integers(len(photos_of[p]))] for p in enrolled}
    tested = [(image, person) for person in test for image in photos_of[person]]
    return BlufrTrial(
        training=[image for person in training for image in photos_of[person]],
        gallery=_identity_list([photo for photo in tested if photo[0] in in_gallery]),
        probes=_identity_list(
            [photo for photo in tested if photo[0] not in in_gallery]
        ),
    )


def _mean_minus_deviation(rates: Float64[np.ndarray, " trials"]) -> float:
    return float(rates.mean() - rates.std(ddof=1))
