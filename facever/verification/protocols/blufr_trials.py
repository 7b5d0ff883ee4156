"""The ten trials of BLUFR: who is trained on, enrolled and searched for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from facever.errors import DataError, FileError
from facever.verification.protocols.identity_list import IdentityList

_NUM_TRIALS = 10
_NUM_TRAINING_PEOPLE = 1_500
_NUM_GALLERY_PEOPLE = 1_000
_FIELDS = ("imageList", "labels", "trainIndex", "galIndex", "probIndex")


@dataclass(frozen=True)
class BlufrTrial:
    """One way to divide the people of LFW.

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
        trials: The ten trials.
        origin: The file that they come from, or how they were drawn and that they are
            not the official ones; to be shown with every number.
    """

    trials: list[BlufrTrial]
    origin: str


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

    Numbers on them say how well a model does at BLUFR's task; they cannot be compared
    with published ones. They are drawn with numpy's default generator; the order of the
    photos makes no difference.

    Args:
        photos: All of LFW's photos and people.
        seed: Seed of the draw of all ten trials.

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
