import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from facever.data.crops import CropStore
from facever.errors import DataError, FileError, MismatchError, ParameterError
from facever.faces.alignment import align_faces
from facever.faces.geometry import TEMPLATE
from facever.stages.align import align

FILES = ["crops.npy", "failures.csv", "records.csv", "store.json"]


def make_photos(folder, num_photos, seed=0):
    """Photos of noise with a landmark list; every tenth is broken in some way."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(num_photos):
        source = f"P{number % 7}/{number:04}.png"
        path = folder / "photos" / source
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 256, (40 + number % 5, 50, 3), dtype=np.uint8)
        Image.fromarray(picture).save(path)
        points = TEMPLATE / 3 + rng.normal(size=(5, 2))
        if number % 30 == 9:
            path.write_bytes(b"")
        elif number % 30 == 19:
            points[:] = 5.0
        elif number % 30 == 29:
            continue
        lines.append("\t".join([source, *(f"{value:.2f}" for value in points.ravel())]))
    (folder / "landmarks.txt").write_text("\n".join(lines) + "\n")
    return folder / "photos", folder / "landmarks.txt"


def read_files(folder):
    assert sorted(os.listdir(folder)) == FILES
    return {name: (folder / name).read_bytes() for name in FILES}


def test_landmark_mode(tmp_path, capsys):
    photos, landmarks = make_photos(tmp_path, 60)
    (photos / "P0" / "notes.txt").touch()
    summary = align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    store = CropStore.open(tmp_path / "crops")
    assert summary.num_photos == summary.num_new == 60
    assert summary.num_crops == len(store) == 54
    assert (summary.num_without_face, summary.num_unreadable) == (0, 6)
    assert store.sources == sorted(store.sources)
    assert store.identities == [f"P{number}" for number in range(7)]
    # Photo 9 is in folder 9 % 7 = 2 and so on.
    assert store.failures["P2/0009.png"] == "empty file"
    assert "fall on one point" in store.failures["P5/0019.png"]
    assert store.failures["P1/0029.png"] == "no landmarks are listed"
    for row in (0, 20, 53):
        photo = np.asarray(Image.open(photos / store.sources[row]))
        expected = align_faces(photo, store.landmarks[row][None])[0]
        np.testing.assert_array_equal(store.crops[row], expected)
    printed = capsys.readouterr().out
    assert "54 crops of 60 photos, 0 without a face, 6 unreadable" in printed
    assert "failures.csv" in printed
    assert "1 other file (1 .txt)" in printed


def test_workers_change_nothing(tmp_path):
    photos, landmarks = make_photos(tmp_path, 100)
    for workers in (1, 2):
        align(photos, tmp_path / str(workers), landmarks=landmarks, workers=workers)
    assert read_files(tmp_path / "1") == read_files(tmp_path / "2")


def test_a_second_run_does_no_work(tmp_path, capsys, monkeypatch):
    photos, landmarks = make_photos(tmp_path, 20)
    align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    before = read_files(tmp_path / "crops")
    monkeypatch.setattr("facever.stages.align.align_batches", None)
    summary = align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    assert summary.num_new == 0
    assert summary.num_photos == 20
    assert "nothing new to align" in capsys.readouterr().out
    assert read_files(tmp_path / "crops") == before


def test_only_new_photos_are_aligned(tmp_path):
    photos, landmarks = make_photos(tmp_path, 70)
    wanted = {f"P{number % 7}/{number:04}.png" for number in range(0, 70, 3)}
    first = align(
        photos, tmp_path / "crops", landmarks=landmarks, workers=1, only=wanted
    )
    assert first.num_new == first.num_photos == len(wanted)
    second = align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    assert second.num_new == 70 - len(wanted)
    align(photos, tmp_path / "whole", landmarks=landmarks, workers=1)
    assert read_files(tmp_path / "crops") == read_files(tmp_path / "whole")


def test_ready_crops_are_stored_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    pictures = {
        name: rng.integers(0, 256, (112, 96, 3), dtype=np.uint8) for name in "ab"
    }
    (tmp_path / "photos").mkdir()
    for name, picture in pictures.items():
        Image.fromarray(picture).save(tmp_path / "photos" / f"{name}.png")
    Image.new("RGB", (112, 96)).save(tmp_path / "photos" / "lying.png")
    align(tmp_path / "photos", tmp_path / "crops", detector="crops", workers=1)
    store = CropStore.open(tmp_path / "crops")
    assert store.sources == ["a.png", "b.png"]
    np.testing.assert_array_equal(store.crops, [pictures["a"], pictures["b"]])
    assert np.isnan(store.landmarks).all()
    assert "not a 96x112 crop: 112x96" in store.failures["lying.png"]
    assert store.settings["detector"] == "crops"


CHILD = """
import sys
from pathlib import Path
from facever.stages.align import align
if __name__ == "__main__":
    photos, out, landmarks, workers = sys.argv[1:]
    align(Path(photos), Path(out), landmarks=Path(landmarks), workers=int(workers))
"""


def is_running(marker):
    """Whether a process with this text in its command line is alive."""
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                if marker.encode() in file.read():
                    return True
        except OSError:
            continue
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(tmp_path):
    photos, landmarks = make_photos(tmp_path, 900)
    align(photos, tmp_path / "whole", landmarks=landmarks, workers=1)
    expected = read_files(tmp_path / "whole")
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    out, moments, num_kills = tmp_path / "crops", random.Random(0), 0
    journal = out / ".partial" / "journal.jsonl"
    while num_kills < 8:
        arguments = [str(photos), str(out), str(landmarks), str(1 + num_kills % 4 // 3)]
        child = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        size = journal.stat().st_size if journal.exists() else 0
        while child.poll() is None:
            if journal.exists() and journal.stat().st_size > size:
                time.sleep(moments.uniform(0, 0.03))
                child.send_signal(signal.SIGKILL)
                num_kills += child.wait() == -signal.SIGKILL
                break
            time.sleep(0.001)
        else:
            assert child.returncode == 0
            break
    assert num_kills >= 3
    align(photos, out, landmarks=landmarks, workers=1)
    assert read_files(out) == expected
    # The workers of a killed run end with it.
    for _ in range(100):
        if not is_running(str(out)):
            break
        time.sleep(0.1)
    assert not is_running(str(out))


def test_other_settings_and_other_photos_are_refused(tmp_path):
    photos, landmarks = make_photos(tmp_path, 10)
    align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    with pytest.raises(MismatchError, match="detector 'landmarks' there, 'crops' now"):
        align(photos, tmp_path / "crops", detector="crops", workers=1)
    (photos / "P0" / "0000.png").unlink()
    with pytest.raises(DataError, match="not in the source, such as P0/0000.png"):
        align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)


@pytest.mark.usefixtures("types_unchecked")
def test_wrong_options_are_refused_before_anything_is_written(tmp_path):
    photos, landmarks = make_photos(tmp_path, 2)
    wrong = [
        ({"face": "big"}, "face must be one of largest, center, best, all, got 'big'"),
        ({"detector": "eyes"}, "detector must be one of mtcnn, crops, got 'eyes'"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"max_pixels": 0}, "max_pixels must be at least 1, got 0"),
        ({"detector": "crops", "landmarks": landmarks}, "cannot be combined"),
    ]
    for options, message in wrong:
        with pytest.raises(ParameterError, match=message):
            align(photos, tmp_path / "crops", **options)
    with pytest.raises(FileError, match="no landmark file"):
        align(photos, tmp_path / "crops", landmarks=tmp_path / "none.txt")
    with pytest.raises(FileError, match="no such folder or list"):
        align(tmp_path / "none", tmp_path / "crops")
    assert not (tmp_path / "crops").exists()


@pytest.mark.realdata
def test_real_photos(tmp_path, data_folder, capsys):
    from facever.faces.detection import MtcnnDetector

    names = ["no_face.png", "multiface.jpg", "rotated-90.jpg"]
    for name in names:
        (tmp_path / name).symlink_to(data_folder / "photos" / name)
    summary = align(tmp_path, tmp_path / "crops", face="all", workers=1)
    store = CropStore.open(tmp_path / "crops")
    assert store.failures["no_face.png"] == "no face found"
    assert summary.num_without_face >= 1
    assert store.sources[:3] == ["multiface.jpg", "multiface.jpg#2", "multiface.jpg#3"]
    assert MtcnnDetector.MAX_DETECTION_PIXELS >= 1_000_000
    assert "without a face" in capsys.readouterr().out
