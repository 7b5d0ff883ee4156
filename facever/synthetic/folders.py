"""Identity folders of drawn photos, their landmark list and an LFW-form pairs file."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from facever.errors import FileError, ParameterError
from facever.files import naming_write_errors, whole_file
from facever.progress import Advance, ignore_progress
from facever.synthetic.drawing import draw_face

_QUALITY = 95
_PHOTOS_PER_WORKER = 250
_MAX_IDENTITY = 10**5
_MAX_PHOTOS = 10**4 - 1


def identity_name(identity: int) -> str:
    """The folder name of a person, such as ``person_00012``."""
    return f"person_{identity:05d}"


def write_photos(
    folder: Path,
    seed: int,
    first_identity: int,
    num_identities: int,
    photos_each: int,
    advance: Advance = ignore_progress,
) -> None:
    """Draw a population into identity folders, on all processor cores.

    Photo number n, from 1, of person i is ``draw_face(seed, i, n)`` and lies in
    ``person_0000i/person_0000i_000n.jpg``. ``landmarks.txt`` gets a line for each: the
    path relative to the folder, then x1 y1 ... x5 y5 in pixels, tab separated. It is
    written last, so a folder that has it is complete.

    Args:
        folder: The folder to write to, made if it is missing.
        seed: Seed of the population, in [0, 2**32).
        first_identity: Number of the first person, not negative.
        num_identities: Number of people from there on, at least 1; the last one is
            below 100,000.
        photos_each: Number of photos of each person, in [1, 9999].
        advance: Function that is told the progress, one unit for each photo drawn.

    Raises:
        ParameterError: If a number is out of its range.
        FileError: If the folder cannot be made or a photo cannot be written.
    """
    _check(seed, first_identity, num_identities, photos_each)
    _make_folder(folder)
    (folder / "landmarks.txt").unlink(missing_ok=True)
    people = range(first_identity, first_identity + num_identities)
    num_workers = num_identities * photos_each // _PHOTOS_PER_WORKER
    num_workers = min(num_workers, num_identities, os.cpu_count() or 1)
    if num_workers > 1:
        parts = _draw_in_processes(folder, seed, photos_each, people, num_workers)
    else:
        parts = (_write_person(folder, seed, photos_each, person) for person in people)
    lines: list[str] = []
    for part in parts:
        lines += part
        advance(len(part))
    with whole_file(folder / "landmarks.txt") as temporary:
        temporary.write_bytes("".join(lines).encode())


def _draw_in_processes(
    folder: Path, seed: int, photos_each: int, people: range, num_workers: int
) -> Iterator[list[str]]:
    """The lines of one person after the other, drawn by several processes at once."""
    # Not multiprocessing: its workers import the caller's script again, and with it all
    # that the script imports. These import this module alone and need no main guard.
    program = f"from {__name__} import draw_share; draw_share()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    command += [str(folder), str(seed), str(photos_each)]
    workers = [
        subprocess.Popen(
            [*command, str(first), str(people.stop), str(num_workers)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for first in people[:num_workers]
    ]
    try:
        for index in range(len(people)):
            # Worker k draws every num_workers-th person from the k-th on.
            told = workers[index % num_workers].stdout
            assert told is not None
            lines = list(islice(told, photos_each))
            if len(lines) < photos_each:
                raise FileError(
                    f"drawing into {folder} stopped before it was done: the reason is "
                    "printed above"
                )
            yield lines
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def draw_share() -> None:
    """Draw a worker's share of the persons, as the arguments of its process say."""
    folder, *numbers = sys.argv[1:]
    seed, photos_each, first, stop, step = map(int, numbers)
    cv2.setNumThreads(1)
    for identity in range(first, stop, step):
        try:
            lines = _write_person(Path(folder), seed, photos_each, identity)
        except FileError as error:
            sys.exit(str(error))
        print("".join(lines), end="", flush=True)


def _write_person(
    folder: Path, seed: int, photos_each: int, identity: int
) -> list[str]:
    name = identity_name(identity)
    _make_folder(folder / name)
    lines = []
    for number in range(1, photos_each + 1):
        drawn = draw_face(seed, identity, number)
        source = f"{name}/{name}_{number:04d}.jpg"
        bgr = drawn.photo[:, :, ::-1]
        _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        path = folder / source
        with naming_write_errors(path):
            path.write_bytes(code.tobytes())
        places = "\t".join(f"{value:.3f}" for value in drawn.landmarks.ravel())
        lines.append(f"{source}\t{places}\n")
    return lines


def _make_folder(folder: Path) -> None:
    with naming_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_pairs(
    path: Path,
    seed: int,
    first_identity: int,
    num_identities: int,
    photos_each: int,
    num_folds: int = 10,
    pairs_per_fold: int = 300,
) -> None:
    """Draw lots for a verification protocol over photos of ``write_photos``.

    The file has the form of LFW's pairs.txt: a line with the number of folds and of
    pairs, then for each fold its pairs of the same person (name, number, number) and
    the same number of different persons (name, number, name, number). No person is in
    two folds and no pair is there twice.

    Args:
        path: The file to write.
        seed: Seed of the lots, in [0, 2**32).
        first_identity: Number of the first person, not negative.
        num_identities: Number of people from there on, at least two for each fold.
        photos_each: Number of photos of each person, in [2, 9999].
        num_folds: Number of folds, at least 2.
        pairs_per_fold: Number of pairs of the same person in a fold, and of pairs of
            different persons; at least 1, and no more than its persons have.

    Raises:
        ParameterError: If a number is out of its range.
        FileError: If the file cannot be written.
    """
    _check(seed, first_identity, num_identities, photos_each)
    if photos_each < 2:
        raise ParameterError(
            f"photos_each must be in [2, {_MAX_PHOTOS}] for pairs, got {photos_each}"
        )
    if num_folds < 2:
        raise ParameterError(f"num_folds must be at least 2, got {num_folds}")
    smallest = num_identities // num_folds
    if smallest < 2:
        raise ParameterError(
            f"num_identities must be at least two a fold, {2 * num_folds} for "
            f"{num_folds} folds, got {num_identities}"
        )
    same = smallest * photos_each * (photos_each - 1) // 2
    different = smallest * (smallest - 1) // 2 * photos_each**2
    if not 1 <= pairs_per_fold <= min(same, different):
        raise ParameterError(
            f"pairs_per_fold must be in [1, {min(same, different)}] for {smallest} "
            f"persons a fold with {photos_each} photos each, got {pairs_per_fold}"
        )
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((3, seed))))
    people = first_identity + rng.permutation(num_identities)
    lines = [f"{num_folds}\t{pairs_per_fold}"]
    for fold in np.array_split(people, num_folds):
        lines += _draw_pairs(np.sort(fold), photos_each, pairs_per_fold, rng)
    with whole_file(path) as temporary:
        temporary.write_bytes(("\n".join(lines) + "\n").encode())


def _draw_pairs(
    people: np.ndarray, photos_each: int, num_pairs: int, rng: np.random.Generator
) -> list[str]:
    """Lots without return from a numbered list of all pairs of the fold."""
    names = [identity_name(int(person)) for person in people]
    first, second = np.triu_indices(photos_each, 1)
    lots = rng.choice(len(names) * len(first), num_pairs, replace=False)
    lines = []
    for lot in np.sort(lots):
        person, pair = divmod(int(lot), len(first))
        lines.append(f"{names[person]}\t{first[pair] + 1}\t{second[pair] + 1}")
    left, right = np.triu_indices(len(names), 1)
    lots = rng.choice(len(left) * photos_each**2, num_pairs, replace=False)
    for lot in np.sort(lots):
        pair, photos = divmod(int(lot), photos_each**2)
        one, other = divmod(photos, photos_each)
        lines.append(
            f"{names[left[pair]]}\t{one + 1}\t{names[right[pair]]}\t{other + 1}"
        )
    return lines


def _check(
    seed: int, first_identity: int, num_identities: int, photos_each: int
) -> None:
    if not 0 <= seed < 2**32:
        raise ParameterError(f"seed must be in [0, 2**32), got {seed}")
    if not 0 <= first_identity < _MAX_IDENTITY:
        raise ParameterError(
            f"first_identity must be in [0, {_MAX_IDENTITY}), got {first_identity}"
        )
    most = _MAX_IDENTITY - first_identity
    if not 1 <= num_identities <= most:
        raise ParameterError(
            f"num_identities must be in [1, {most}] from identity {first_identity} on, "
            f"got {num_identities}"
        )
    if not 1 <= photos_each <= _MAX_PHOTOS:
        raise ParameterError(
            f"photos_each must be in [1, {_MAX_PHOTOS}], got {photos_each}"
        )
