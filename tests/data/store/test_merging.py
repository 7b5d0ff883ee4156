import os
import random
import resource
import signal
import time
import zlib
from itertools import pairwise

import numpy as np
import pytest

from facever.data.store.crop_store import CropStore
from facever.data.store.verifying import find_damage
from facever.errors import DataError, FileError, MismatchError
from facever.stages.store.changes import merge_stores

LISTING = [(f"{name}/{number}.jpg", name) for name in "CABED" for number in range(3)]
FAILURES = {"C/0.jpg": "empty file", "B/1.jpg": "no face", "D/2.jpg": "no face"}


@pytest.fixture
def whole(tmp_path, write_crops):
    return write_crops(tmp_path / "whole", LISTING, 2, FAILURES)


@pytest.fixture
def shards(tmp_path, write_crops):
    # The second has no crop at all, the third an identity of the first, too.
    ends = [0, 7, 8, 11, 15]
    return [
        write_crops(tmp_path / f"shard{start}", LISTING[start:stop], 2, FAILURES)
        for start, stop in pairwise(ends)
    ]


def test_shards_in_order_are_one_run(tmp_path, whole, shards, content_of):
    merge_stores(shards, tmp_path / "merged")
    assert content_of(tmp_path / "merged") == content_of(whole)
    assert not find_damage(tmp_path / "merged")


def test_appending_one_by_one_is_one_run(tmp_path, whole, shards, content_of):
    out = tmp_path / "merged"
    for shard in shards:
        merge_stores([shard], out)
    assert content_of(out) == content_of(whole)
    stamp = os.stat(out / "crops.npy").st_mtime_ns
    # Again, with itself in the list: nothing is new.
    merge_stores([out, *shards], out)
    assert os.stat(out / "crops.npy").st_mtime_ns == stamp


def test_the_first_store_comes_first(tmp_path, shards, crop_of):
    merge_stores([shards[2], shards[0]], tmp_path / "merged")
    store = CropStore.open(tmp_path / "merged")
    parts = [CropStore.open(shards[2]), CropStore.open(shards[0])]
    assert store.sources == parts[0].sources + parts[1].sources
    np.testing.assert_array_equal(store.crops[0], crop_of("B/2.jpg"))
    np.testing.assert_array_equal(
        store.landmarks, np.concatenate([part.landmarks for part in parts])
    )
    identities = {name for part in parts for name in part.identities}
    assert identities >= {"A", "B", "C", "E"}
    assert store.identities == sorted(identities)


def test_photos_that_are_the_same_in_both_are_taken_once(
    tmp_path, whole, write_crops, content_of
):
    one = write_crops(tmp_path / "one", LISTING[:9], 2, FAILURES)
    other = write_crops(tmp_path / "other", LISTING[4:], 2, FAILURES)
    merge_stores([one, other], tmp_path / "merged")
    assert content_of(tmp_path / "merged") == content_of(whole)


def test_a_photo_that_failed_once_leaves_the_ledger(tmp_path, write_crops):
    one = write_crops(tmp_path / "one", LISTING, 1, FAILURES)
    other = write_crops(tmp_path / "other", LISTING[:1])
    merge_stores([one, other], tmp_path / "merged")
    store = CropStore.open(tmp_path / "merged")
    assert list(store.failures) == ["B/1.jpg", "D/2.jpg"]
    assert store.sources[-1] == "C/0.jpg"


@pytest.mark.parametrize("what", ["identity", "fewer", "more", "pixels", "score"])
def test_different_things_of_one_photo_are_refused(
    tmp_path, whole, write_crops, content_of, what
):
    photos = LISTING[3:4]
    if what == "identity":
        other = write_crops(tmp_path / "o", [(photos[0][0], "Z")], 2)
    else:
        num_faces = {"fewer": 1, "more": 3}.get(what, 2)
        other = write_crops(tmp_path / "o", photos, num_faces)
    if what == "pixels":
        crops = np.load(other / "crops.npy")
        crops[1, 50, 50, 1] ^= 1
        np.save(other / "crops.npy", crops)
        checksums = [zlib.crc32(crop.tobytes()) for crop in crops]
        np.save(other / "checksums.npy", np.array(checksums, np.uint32))
    if what == "score":
        path = other / "crops.csv"
        path.write_text(path.read_text().replace(",0.", ",1.", 1))
    before = content_of(whole)
    with pytest.raises(DataError, match=r"hold different .* of A/0.jpg"):
        merge_stores([other], whole)
    assert content_of(whole) == before


def test_other_settings_are_refused(tmp_path, whole, write_crops):
    other = write_crops(tmp_path / "o", LISTING[:1], settings={"face": "largest"})
    with pytest.raises(MismatchError, match="face 'largest' there, 'all' now"):
        merge_stores([whole, other], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_damage_is_not_copied(tmp_path, shards, content_of):
    path = shards[2] / "crops.npy"
    content = bytearray(path.read_bytes())
    content[128 + 3 * 32_256] ^= 1
    path.write_bytes(content)
    source = CropStore.open(shards[2]).sources[3]
    before = content_of(shards[0])
    with pytest.raises(DataError, match=rf"row 3 \({source}\) is damaged"):
        merge_stores([shards[2]], shards[0])
    assert content_of(shards[0]) == before


def test_places_that_cannot_be_written_to(tmp_path, shards):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot write .*file"):
        merge_stores(shards, tmp_path / "file")
    with pytest.raises(FileError, match=r"not a crop store \(it holds "):
        merge_stores(shards, tmp_path)
    (tmp_path / "align" / ".partial").mkdir(parents=True)
    with pytest.raises(FileError, match="unfinished facever align: run that again"):
        merge_stores(shards, tmp_path / "align")
    with pytest.raises(FileError, match="no crop store at"):
        merge_stores([tmp_path / "none"], tmp_path / "new")
    with pytest.raises(FileError, match="is not a crop store"):
        merge_stores([tmp_path / "new"], tmp_path / "new")


def test_a_full_disk_leaves_the_store_as_it_was(
    tmp_path, shards, content_of, monkeypatch
):
    before = content_of(shards[0])
    written, last = 0, 0
    real = os.fsync

    def full(handle):
        nonlocal written
        written += 1
        if written == last:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr("os.fsync", full)
    for count in range(1, 7):
        written, last = 0, count
        with pytest.raises(FileError, match=r"No space left.*make room and run"):
            merge_stores(shards[1:], shards[0])
        assert content_of(shards[0]) == before
    monkeypatch.undo()
    assert not find_damage(shards[0])


def test_files_that_may_not_grow_leave_the_store_as_it_was(
    tmp_path, shards, content_of
):
    before = content_of(shards[0])
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # In the middle of the third crop.
        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
        try:
            merge_stores(shards[1:], shards[0])
        except FileError as error:
            os._exit(7 if "File too large; nothing in it was" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert content_of(shards[0]) == before
    assert not find_damage(shards[0])


def run_and_kill(shards, out, seconds):
    """Merge in a child that is killed after so many seconds; whether it was."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        merge_stores(shards, out)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


@pytest.mark.parametrize("append", [False, True])
def test_killed_at_50_random_moments(tmp_path, whole, shards, content_of, append):
    started = time.monotonic()
    merge_stores(shards, tmp_path / "timed")
    longest = 1.5 * (time.monotonic() - started)
    rng = random.Random(append)
    outcomes = set()
    for turn in range(25):
        out = tmp_path / f"merged{turn}"
        if append:
            merge_stores(shards[:2], out)
        before = content_of(out)
        killed = run_and_kill(shards, out, rng.uniform(0, longest))
        try:
            store = CropStore.open(out)
        except FileError:
            store = None
        if append and store and not killed:
            assert content_of(out) == content_of(whole)
        if append and store and len(store) < 24:
            kept = {n: c for n, c in content_of(out).items() if n[0] != "."}
            assert kept == before
        outcomes.add((killed, store and len(store)))
        merge_stores(shards, out)
        assert content_of(out) == content_of(whole)
    # At least once before the end.
    assert any(killed for killed, _ in outcomes)


def steps_until_killed(shards, out, step):
    """Merge in a child that kills itself before its step-th change of a name."""
    real = os.replace
    done = 0

    def counted(*paths):
        nonlocal done
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*paths)

    child = os.fork()
    if child == 0:
        os.replace = counted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        merge_stores(shards, out)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("append", [False, True])
def test_killed_at_every_rename(tmp_path, whole, shards, content_of, append):
    for step in range(1, 8):
        out = tmp_path / f"merged{step}"
        if append:
            merge_stores(shards[:2], out)
        # One rename for all files, one for each of five; the last step is beyond.
        code = steps_until_killed(shards, out, step)
        assert code == (-signal.SIGKILL if step < 7 else 0)
        if 1 < step < 7:
            with pytest.raises(FileError, match="half replaced: run the same"):
                CropStore.open(out)
        merge_stores(shards, out)
        assert content_of(out) == content_of(whole)
