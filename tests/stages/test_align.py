import io
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from facever.data.recordio.writer import write_record_photos
from facever.data.store.crop_store import CropStore, photo_of
from facever.errors import DataError, FileError, MismatchError, ParameterError
from facever.faces.landmark_fit import residuals
from facever.faces.templates import CARD_POINTS, DEFAULT_TEMPLATE
from facever.stages.align import Shard, align
from facever.stages.store.changes import merge_stores

FILES = ["checksums.npy", "crops.csv", "crops.npy", "failures.csv", "store.json"]


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
        points = CARD_POINTS / 3 + rng.normal(size=(5, 2))
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
    assert (summary.num_without_face, summary.num_without_landmarks) == (0, 2)
    assert summary.num_unusable == 4
    assert store.sources == sorted(store.sources)
    assert store.identities == [f"P{number}" for number in range(7)]
    # Photo 9 is in folder 9 % 7 = 2 and so on.
    assert store.failures["P2/0009.png"] == "empty file"
    assert "fall on one point" in store.failures["P5/0019.png"]
    assert store.failures["P1/0029.png"] == "no landmarks are listed"
    np.testing.assert_allclose(store.residuals, residuals(store.landmarks), atol=1e-4)
    # Whether there are other faces is not known.
    assert np.isnan(store.num_faces).all()
    assert np.isnan(store.by_rule).all()
    for row in (0, 20, 53):
        photo = np.asarray(Image.open(photos / store.sources[row]))
        expected = DEFAULT_TEMPLATE.align(photo, store.landmarks[row][None])[0]
        np.testing.assert_array_equal(store.crops[row], expected)
    printed = str(summary)
    assert capsys.readouterr().out == ""
    assert (
        "54 crops of 60 photos, 0 without a face, 2 without landmarks, 4 unusable"
        in printed
    )
    assert "failures.csv" in printed
    assert "1 other file (1 .txt)" in printed


def test_crops_that_lie_outside_the_photo_are_counted(tmp_path):
    """Of 96 columns, 28 are less than three tenths, and 29 are more."""
    lines = []
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, shift in (("a", 0), ("b", 28), ("c", 29)):
        picture = np.zeros((112, 96, 3), np.uint8)
        Image.fromarray(picture).save(photos / f"{name}.png")
        points = (CARD_POINTS - [shift, 0]).ravel()
        lines.append("\t".join([f"{name}.png", *map(repr, points.tolist())]))
    (tmp_path / "landmarks.txt").write_text("\n".join(lines))
    landmarks = tmp_path / "landmarks.txt"
    summary = align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    assert summary.outside == ["c.png"]
    said = "30% of the crop lies outside the photo in 1 of 3 photos, such as c.png"
    assert said in str(summary)
    again = align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    assert again.outside == []
    assert "outside the photo" not in str(again)


def test_that_no_photo_gave_a_crop_is_an_error(tmp_path):
    photos, landmarks = make_photos(tmp_path, 20)
    (photos / "P0/0000.png").write_bytes(b"")
    landmarks.write_text(landmarks.read_text().splitlines()[0])
    ledger = (
        r"none of 20 photos gave a crop \(0 without a face, 18 without landmarks, "
        r"2 unusable\); failures"
    )
    with pytest.raises(DataError, match=ledger):
        align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    store = CropStore.open(tmp_path / "crops")
    assert store.failures["P1/0001.png"] == "no landmarks are listed"


def test_landmarks_of_a_larger_copy_or_of_nobody_stop_before_anything_is_written(
    tmp_path,
):
    photos, landmarks = make_photos(tmp_path, 8)
    rows = [line.split("\t") for line in landmarks.read_text().splitlines()]
    larger = [[name, *(str(3 * float(v)) for v in values)] for name, *values in rows]
    landmarks.write_text("\n".join("\t".join(row) for row in larger))
    with pytest.raises(
        DataError, match=r"outside the photo, such as P0/0000.png of 50x"
    ):
        align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    landmarks.write_text("\n".join("\t".join(["X", *row[1:]]) for row in rows[:1]))
    with pytest.raises(
        DataError, match="none of the 8 photos: it says 'X', the photos "
    ):
        align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    assert not (tmp_path / "crops").exists()


def test_landmarks_of_a_smaller_copy_are_told_by_many_photos(tmp_path):
    lines = []
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        Image.new("RGB", (240, 240)).save(photos / f"{number}.png")
        points = np.add(CARD_POINTS, (10 + number, 0))
        lines.append(",".join([f"{number}.png", *map(str, points.ravel())]))
    listed = tmp_path / "landmarks.csv"
    listed.write_text("\n".join(lines))
    with pytest.raises(
        DataError, match=r"quarter .* a smaller copy, in 20 of 20 photos"
    ):
        align(photos, tmp_path / "crops", landmarks=listed, workers=1)
    listed.write_text("\n".join(lines[:19]))
    align(photos, tmp_path / "crops", landmarks=listed, workers=1)
    assert len(CropStore.open(tmp_path / "crops")) == 19


def test_who_is_in_a_photo_is_asked_and_told(tmp_path):
    for name in ("train/Ann/1.png", "train/Bo/2.png", "test/Ann/3.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 112)).save(path)
    way = {"detector": "crops", "workers": 1}
    with pytest.raises(
        DataError, match=r"test/, train/ would be 2 people with 3 photo"
    ):
        align(tmp_path / "photos", tmp_path / "crops", **way)
    summary = align(tmp_path / "photos", tmp_path / "crops", identity="parent", **way)
    assert CropStore.open(tmp_path / "crops").identities == ["Ann", "Bo"]
    assert "  2 people in 3 photos; 1 person has one photo" in summary.lines()


def test_single_wrong_landmarks_go_to_the_ledger(tmp_path):
    photos, landmarks = make_photos(tmp_path, 8)
    rows = [line.split("\t") for line in landmarks.read_text().splitlines()]
    rows[1][1:5] = rows[1][3:5] + rows[1][1:3]
    rows[2][1:] = [str(float(value) + 60) for value in rows[2][1:]]
    landmarks.write_text("\n".join(",".join([rf".\{n}", *row]) for n, *row in rows))
    summary = align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    assert CropStore.open(tmp_path / "crops").failures == {
        "P1/0001.png": "the left eye lies right of the right eye",
        "P2/0002.png": "landmarks lie outside the photo of 50x42 pixels",
    }
    assert summary.notes == (
        "7 people in 8 photos; 6 people have one photo",
        r"'.\\P0/0000.png' in the list of landmarks is taken for 'P0/0000.png', and so "
        "on",
    )


def test_workers_change_nothing(tmp_path):
    photos, landmarks = make_photos(tmp_path, 100)
    for workers in (1, 2):
        align(photos, tmp_path / str(workers), landmarks=landmarks, workers=workers)
    assert read_files(tmp_path / "1") == read_files(tmp_path / "2")


def test_a_second_run_does_no_work(tmp_path, monkeypatch):
    photos, landmarks = make_photos(tmp_path, 20)
    align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    before = read_files(tmp_path / "crops")
    monkeypatch.setattr("facever.stages.align.AlignWorkers", None)
    summary = align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    assert summary.num_new == 0
    assert summary.num_photos == 20
    assert "nothing new to align" in str(summary)
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
    assert "not an aligned crop: 112x96" in store.failures["lying.png"]
    assert store.settings["detector"] == "crops"


def test_the_frames_of_videos_are_aligned(tmp_path, write_video):
    """In several processes, which all run through the video, as in one."""
    frames = [np.full((112, 96, 3), 3 * number, np.uint8) for number in range(70)]
    photos = tmp_path / "photos"
    write_video(photos / "Ann/clip.avi", frames)
    write_video(photos / "Bob.avi", frames[::-1][:10])
    (photos / "Bob_2.mp4").write_bytes(b"no video")
    for workers in (1, 2):
        out = tmp_path / f"crops{workers}"
        done = align(photos, out, detector="crops", workers=workers)
    store = CropStore.open(out)
    assert read_files(tmp_path / "crops1") == read_files(out)
    assert store.sources[0] == "Ann/clip.avi/000001.jpg"
    assert store.sources[70:] == [f"Bob.avi/{n:06}.jpg" for n in range(1, 11)]
    assert store.labels.tolist() == [0] * 70 + [1] * 10
    assert store.identities == ["Ann", "Bob"]
    expected = [*range(0, 210, 3), *range(207, 177, -3)]
    # Half of the step to the next frame.
    assert np.abs(store.crops.mean((1, 2, 3)) - expected).max() < 1.5
    assert store.failures == {"Bob_2.mp4": "not a video that can be read"}
    assert "80 of 80 frames of 2 videos are taken: --frames all" in str(done)
    align(photos, tmp_path / "few", detector="crops", workers=1, frames="first:3")
    few = CropStore.open(tmp_path / "few")
    assert few.sources == [store.sources[row] for row in (0, 1, 2, 70, 71, 72)]


@pytest.mark.realdata
def test_a_clip_of_real_photos_gives_the_faces_of_the_photos(
    tmp_path, data_folder, write_video
):
    names = sorted((data_folder / "lfw-deepfunneled").glob("A*/*_0001.jpg"))[:6]
    frames = [np.asarray(Image.open(name).convert("RGB")) for name in names]
    (tmp_path / "photos").mkdir()
    for number, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(tmp_path / "photos" / f"{number:06}.png")
    clip = write_video(tmp_path / "clips" / "clip.avi", frames)
    align(tmp_path / "photos", tmp_path / "of-photos", workers=1)
    align(clip.parent, tmp_path / "of-clip", workers=1)
    ours = CropStore.open(tmp_path / "of-clip")
    expected = CropStore.open(tmp_path / "of-photos")
    assert ours.sources == [f"clip.avi/{n:06}.jpg" for n in range(1, 7)]
    # Motion JPEG changes pixels a little.
    eyes = np.linalg.norm(np.diff(expected.landmarks[:, :2], axis=1), axis=2)
    moved = np.linalg.norm(ours.landmarks - expected.landmarks, axis=2) / eyes
    assert moved.max() < 0.05


def test_what_a_source_leaves_out_is_said(tmp_path):
    with io.BytesIO() as file:
        Image.new("RGB", (96, 112)).save(file, "PNG")
        photos = [(label, file.getvalue()) for label in (0, 0, 1)]
    write_record_photos(tmp_path / "train.rec", photos)
    index = tmp_path / "train.idx"
    index.write_text(index.read_text().partition("\n")[2])
    found = align(tmp_path / "train.rec", tmp_path / "crops", detector="crops")
    assert found.num_crops == 2
    note = "1 photos are left out: train.idx does not list them"
    assert found.notes[-1] == note
    assert f"  {note}" in found.lines()


CHILD = """
import sys
from pathlib import Path
from facever.stages.align import Shard, align
from facever.stages.store.changes import merge_stores
if __name__ == "__main__":
    photos, out, landmarks, workers = sys.argv[1:]
    align(Path(photos), Path(out), landmarks=Path(landmarks), workers=int(workers))
"""


# Imports once and forks for each run: a process that has no threads yet may do that.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from facever.stages.align import Shard, align
from facever.stages.store.changes import merge_stores
photos, out = map(Path, sys.argv[1:3])
way = {"landmarks": Path(sys.argv[3])} if len(sys.argv) > 3 else {"detector": "crops"}
journal, moments, num_kills = out / ".partial" / "journal.jsonl", random.Random(0), 0
size_of = lambda: journal.stat().st_size if journal.exists() else 0
for _ in range(12):
    size, child = size_of(), os.fork()
    if child == 0:
        align(photos, out, workers=1, **way)
        os._exit(0)
    ended = 0
    while not ended and size_of() <= size:
        time.sleep(0.0005)
        ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        assert status == 0
        break
    time.sleep(moments.uniform(0, 0.04))
    os.kill(child, signal.SIGKILL)
    num_kills += os.waitpid(child, 0)[1] == signal.SIGKILL
print(num_kills)
"""


def children_of(parent):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and is_running(name):
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(") ")[2].split()
            if int(fields[1]) == parent:
                found.append(name)
    return found


def is_running(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def write_damaged_records(path):
    """Crops in a ``.rec`` file, some of which cannot be read."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (500, 112, 112, 3), dtype=np.uint8)
    photos = []
    for number, picture in enumerate(pictures):
        file = io.BytesIO()
        Image.fromarray(picture // 64).save(file, "PNG")
        photos.append((number // 5, file.getvalue()))
    write_record_photos(path, photos)
    content = bytearray(path.read_bytes())
    for at in range(5_000, len(content), len(content) // 9):
        content[at : at + 40] = bytes(40)
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["photos", "records"])
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(tmp_path, kind):
    if kind == "photos":
        photos, landmarks = make_photos(tmp_path, 500)
        way = {"landmarks": landmarks}
    else:
        photos, way = tmp_path / "train.rec", {"detector": "crops"}
        write_damaged_records(photos)
    align(photos, tmp_path / "whole", workers=1, **way)
    assert len(CropStore.open(tmp_path / "whole").failures) > 5
    out, script = tmp_path / "crops", tmp_path / "killer.py"
    script.write_text(KILLER)
    paths = [photos, out, *([way["landmarks"]] if kind == "photos" else [])]
    killer = subprocess.run(
        [sys.executable, str(script), *map(str, paths)],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert int(killer.stdout.split()[-1]) >= 3
    align(photos, out, workers=1, **way)
    assert read_files(out) == read_files(tmp_path / "whole")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_run_takes_its_workers_along(tmp_path):
    photos, landmarks = make_photos(tmp_path, 300)
    script, out = tmp_path / "child.py", tmp_path / "crops"
    script.write_text(CHILD)
    arguments = [str(photos), str(out), str(landmarks), "2"]
    child = subprocess.Popen([sys.executable, str(script), *arguments])
    while child.poll() is None and not (out / ".partial").exists():
        time.sleep(0.005)
    workers = children_of(child.pid)
    child.kill()
    child.wait()
    assert len(workers) >= 2
    give_up = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
    align(photos, out, landmarks=landmarks, workers=1)
    align(photos, tmp_path / "whole", landmarks=landmarks, workers=1)
    assert read_files(out) == read_files(tmp_path / "whole")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_a_signal_ends_the_command_and_its_workers_with_a_line(
    tmp_path, sent, code, said
):
    photos, landmarks = make_photos(tmp_path, 300)
    out = tmp_path / "crops"
    # A shell that runs the tests in the background has Ctrl-C ignored.
    main = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from facever.cli import main; main()"
    )
    command = [sys.executable, "-c", main, "align", photos, out, "--workers", "2"]
    with subprocess.Popen(
        [*command, "--landmarks", landmarks], stderr=subprocess.PIPE, text=True
    ) as run:
        while run.poll() is None and len(children_of(run.pid)) < 3:
            time.sleep(0.005)
        workers = children_of(run.pid)
        run.send_signal(sent)
        error = run.communicate()[1]
    assert run.returncode == code, error
    assert error.splitlines()[-1] == (
        f"facever: {said}; the same command goes on or begins again"
    )
    assert "Traceback" not in error
    give_up = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
    align(photos, out, landmarks=landmarks, workers=1)
    align(photos, tmp_path / "whole", landmarks=landmarks, workers=1)
    assert read_files(out) == read_files(tmp_path / "whole")


def test_other_settings_and_other_photos_are_refused(tmp_path):
    photos, landmarks = make_photos(tmp_path, 10)
    align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)
    with pytest.raises(MismatchError, match="detector 'landmarks' there, 'crops' now"):
        align(photos, tmp_path / "crops", detector="crops", workers=1)
    (photos / "P0" / "0000.png").unlink()
    with pytest.raises(DataError, match=r"not in the source, such as P0/0000.png"):
        align(photos, tmp_path / "crops", landmarks=landmarks, workers=1)


def blur_some(photos):
    """Every third photo is grey all over."""
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        if number % 3 == 0 and path.stat().st_size:
            Image.new("RGB", (50, 40), (9, 90, 9)).save(path)


def test_photos_of_low_quality_go_to_the_ledger(tmp_path, command):
    photos, landmarks = make_photos(tmp_path, 150)
    blur_some(photos)
    known = {"landmarks": landmarks, "workers": 1}
    align(photos, tmp_path / "all", **known)
    every = CropStore.open(tmp_path / "all")
    eyes = {
        source: np.hypot(*(points[1] - points[0]))
        for source, points in zip(every.sources, every.landmarks, strict=True)
    }
    edges = {
        source: cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
        for source, crop in zip(every.sources, every.crops, strict=True)
    }
    least = float(np.median([*eyes.values()]))
    sharp = float(np.quantile([*edges.values()], 0.4))
    words = [f"sharpness={sharp!r}", f"eye-distance={least!r}"]
    finished = command(
        *("align", photos, tmp_path / "some", "--landmarks", landmarks, "--workers", 2),
        *(word for each in words for word in ("--min-quality", each)),
    )
    assert finished.code == 0, finished.err
    store = CropStore.open(tmp_path / "some")
    good = [s for s in every.sources if eyes[s] >= least and edges[s] >= sharp]
    assert store.sources == good
    assert 0 < len(good) < len(every) / 2
    refused = {s: why for s, why in store.failures.items() if s in eyes}
    assert sorted([*good, *refused]) == every.sources
    for source, why in refused.items():
        name, value = "eye-distance", eyes[source]
        if value >= least:
            name, value = "sharpness", edges[source]
        assert why.startswith(f"quality too low: {name} is {value:.6g}, and at least")
    # What failed before fails as before, and the crops are the same.
    assert every.failures.items() <= store.failures.items()
    rows = [every.sources.index(source) for source in good]
    np.testing.assert_array_equal(every.crops[rows], store.crops[:])
    assert f"{len(refused)} of too low quality" in finished.out
    # Another order of the options is the same store; other cut-offs are none.
    cutoffs = {"eye-distance": least, "sharpness": np.longdouble(sharp)}
    again = align(photos, tmp_path / "some", **known, min_quality=cutoffs)
    assert (again.num_new, again.num_refused) == (0, len(refused))
    for others in ({}, {"sharpness": 1.0}, {**cutoffs, "sharpness": 2.0}):
        with pytest.raises(MismatchError, match="min_quality"):
            align(photos, tmp_path / "some", **known, min_quality=others)


def test_shards_of_photos_above_a_cutoff_are_one_run(tmp_path):
    photos, landmarks = make_photos(tmp_path, 150)
    blur_some(photos)
    way = {"landmarks": landmarks, "workers": 1, "min_quality": {"sharpness": 1.0}}
    align(photos, tmp_path / "whole", **way)
    parts = [tmp_path / f"part{number}" for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        align(photos, part, **way, shard=Shard(number, 2))
    merge_stores(parts, tmp_path / "merged")
    assert read_files(tmp_path / "merged") == read_files(tmp_path / "whole")
    align(photos, parts[0].with_name("other"), landmarks=landmarks, workers=1)
    with pytest.raises(MismatchError, match="min_quality"):
        merge_stores([*parts, tmp_path / "other"], tmp_path / "mixed")


def test_a_store_of_no_good_photo_says_why(tmp_path):
    photos, landmarks = make_photos(tmp_path, 9)
    with pytest.raises(DataError, match="9 of too low quality"):
        align(
            photos,
            tmp_path / "crops",
            landmarks=landmarks,
            workers=1,
            min_quality={"eye-distance": 1e3},
        )


@pytest.mark.usefixtures("types_unchecked")
def test_wrong_options_are_refused_before_anything_is_written(tmp_path):
    photos, landmarks = make_photos(tmp_path, 2)
    wrong = [
        (
            {"face": "big"},
            "face must be one of prominent, largest, center, best, all, got 'big'",
        ),
        ({"detector": "eyes"}, "mtcnn, mtcnn-sphereface, yunet, crops, got 'eyes'"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"max_pixels": 0}, "max_pixels must be at least 1, got 0"),
        ({"detector": "crops", "landmarks": landmarks}, "cannot be combined"),
        ({"min_quality": {"size": 1}}, "must name one of landmark-fit, .*; got 'size'"),
        ({"min_quality": {"sharpness": float("nan")}}, "finite number, got nan"),
        ({"min_quality": {"sharpness": 1}, "face": "all"}, "choose one face"),
        (
            {"min_quality": {"detector-score": 0.9}, "landmarks": landmarks},
            "cannot name detector-score with known landmarks",
        ),
        (
            {"min_quality": {"eye-distance": 9}, "detector": "crops"},
            "with detector crops, where it is not known: name sharpness",
        ),
    ]
    for options, message in wrong:
        with pytest.raises(ParameterError, match=message):
            align(photos, tmp_path / "crops", **options)
    with pytest.raises(FileError, match="no landmark file"):
        align(photos, tmp_path / "crops", landmarks=tmp_path / "none.txt")
    with pytest.raises(FileError, match="no such file or folder"):
        align(tmp_path / "none", tmp_path / "crops")
    assert not (tmp_path / "crops").exists()


@pytest.mark.realdata
def test_real_photos(tmp_path, data_folder):
    from facever.faces.mtcnn import MtcnnDetector

    names = ["no_face.png", "multiface.jpg", "rotated-90.jpg"]
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in names:
        (photos / name).symlink_to(data_folder / "photos" / name)
    summary = align(photos, tmp_path / "crops", face="all", workers=1)
    store = CropStore.open(tmp_path / "crops")
    assert store.failures["no_face.png"] == "no face found"
    assert summary.num_without_face >= 1
    assert store.sources[:3] == ["multiface.jpg", "multiface.jpg#2", "multiface.jpg#3"]
    several = np.array(
        [photo_of(source) == "multiface.jpg" for source in store.sources]
    )
    assert (store.num_faces[several] == several.sum()).all()
    # Each rule takes one of them, and the first is the largest.
    assert store.by_rule[several].sum(axis=0).tolist() == [1, 1, 1, 1]
    assert store.by_rule[0, 1] == 1
    # A group is no person: one of them is called as the photo, nobody is twice.
    prominent = int(store.by_rule[several, 0].argmax())
    who = [store.identity_of(row) for row in np.flatnonzero(several).tolist()]
    assert who == [
        "multiface" if face == prominent else f"multiface.jpg#{face + 1}"
        for face in range(len(who))
    ]
    assert f"{len(who) - 1} faces beside the one that --face prominent" in str(summary)
    assert (store.residuals < 0.5).all()
    assert MtcnnDetector.MAX_DETECTION_PIXELS >= 1_000_000
    assert "without a face" in str(summary)


def test_shards_merged_in_order_are_one_run(tmp_path):
    photos, landmarks = make_photos(tmp_path, 150)
    align(photos, tmp_path / "whole", landmarks=landmarks, workers=1)
    parts = []
    for number in (1, 2, 3):
        shard = Shard.parse(f"{number}/3")
        parts.append(tmp_path / f"part{number}")
        align(photos, parts[-1], landmarks=landmarks, workers=1, shard=shard)
    # Five batches of 32: one, two and two.
    counts = [len(store) + len(store.failures) for store in map(CropStore.open, parts)]
    assert counts == [32, 64, 54]
    merge_stores(parts, tmp_path / "merged")
    assert read_files(tmp_path / "merged") == read_files(tmp_path / "whole")


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/2/3"])
def test_a_shard_is_a_number_of_a_total(text):
    with pytest.raises(ParameterError, match="such as 2/8"):
        Shard.parse(text)


def test_more_shards_than_batches(tmp_path):
    photos, landmarks = make_photos(tmp_path, 40)
    with pytest.raises(ParameterError, match="40 photos make 2 batches of 32"):
        align(photos, tmp_path / "x", landmarks=landmarks, shard=Shard(1, 3))


@pytest.mark.realdata
def test_spherefaces_settings_ask_more_of_a_face(tmp_path, data_folder):
    """The group photo's two false faces score below 0.9."""
    group = data_folder / "photos"
    found = {}
    for detector in ("mtcnn", "mtcnn-sphereface"):
        out = tmp_path / detector
        align(group, out, face="all", detector=detector, workers=1)
        store = CropStore.open(out)
        found[detector] = store.scores
        assert store.settings["detector"] == detector
    assert 0.7 <= found["mtcnn"].min() < 0.9
    assert found["mtcnn-sphereface"].min() >= 0.9
