"""Videos whose frames say their own number, in black and white bars."""

import os
import shutil
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facever.data.sources import videos
from facever.data.sources.any_source import find_photos
from facever.data.sources.frame_rule import parse_frame_rule
from facever.data.sources.identities import describe_people, name_people
from facever.data.sources.videos import count_frames, take_frames
from facever.errors import FileError, ParameterError, PhotoError
from facever.faces.photo_source import PhotoSource

NUM_FRAMES = 40
BARS = 8


def picture_of(number: int) -> np.ndarray:
    """64 x 96 pixels, red above; the bars below are the number's bits."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:16] = (255, 0, 0)
    for bar in range(BARS):
        picture[16:, 12 * bar : 12 * bar + 12] = 255 * (number >> bar & 1)
    return picture


def number_in(frame: np.ndarray) -> int:
    assert frame.shape == (64, 96, 3)
    assert np.abs(frame[8, 48].astype(int) - (255, 0, 0)).max() < 40
    return sum((frame[40, 12 * bar + 6, 0] > 127) << bar for bar in range(BARS))


@pytest.fixture(scope="module")
def write(write_video: Callable[..., Path]) -> Callable[..., Path]:
    """Write a video whose frames say these numbers."""

    def write(path: Path, numbers: Iterable[int], codec: str = "MJPG") -> Path:
        return write_video(path, [picture_of(number) for number in numbers], codec)

    return write


@pytest.fixture(scope="module")
def clips(
    tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path]
) -> dict[str, Path]:
    """One clip of each kind of file."""
    folder = tmp_path_factory.mktemp("clips")
    codecs = {".avi": "MJPG", ".mp4": "mp4v", ".mov": "mp4v", ".mkv": "VP80"}
    return {
        suffix: write(folder / f"clip{suffix}", range(NUM_FRAMES), codec)
        for suffix, codec in codecs.items()
    }


@pytest.fixture
def edited(clips: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """A clip of which some bytes are others."""

    def edit(suffix: str, changes: dict[int, bytes]) -> Path:
        content = bytearray(clips[suffix].read_bytes())
        for at, new in changes.items():
            content[at : at + len(new)] = new
        path = tmp_path / f"edited{suffix}"
        path.write_bytes(content)
        return path

    return edit


def numbers_of(photos: Iterable[PhotoSource]) -> list[int]:
    return [number_in(photo.read(10_000)) for photo in photos]


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mov", ".mkv"])
def test_every_frame_in_the_order_of_time(clips: dict[str, Path], suffix: str) -> None:
    listing = find_photos(clips[suffix])
    assert [photo.source for photo in listing.photos] == [
        f"clip{suffix}/{number:06}.jpg" for number in range(1, NUM_FRAMES + 1)
    ]
    assert {photo.identity for photo in listing.photos} == {"clip"}
    assert numbers_of(listing.photos) == list(range(NUM_FRAMES))
    note = f"{NUM_FRAMES} of {NUM_FRAMES} frames of 1 video are taken: --frames all"
    assert listing.notes == (note,)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from([".avi", ".mkv"]), st.integers(0, 39))))
def test_frames_in_any_order_are_themselves(clips, wanted) -> None:
    """Forwards, backwards, again, and from video to video."""
    photos = {suffix: find_photos(clips[suffix]).photos for suffix in (".avi", ".mkv")}
    for suffix, number in wanted:
        assert number_in(photos[suffix][number].read(10_000)) == number


def test_threads_do_not_disturb_each_other(clips: dict[str, Path]) -> None:
    photos = find_photos(clips[".mkv"]).photos
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(numbers_of, [photos, photos[::3], photos[::7]]))
    every = list(range(NUM_FRAMES))
    assert found == [every, every[::3], every[::7]]


def test_forwards_is_decoded_once(clips: dict[str, Path], monkeypatch) -> None:
    """Also where a second reader follows a batch behind, as pictures are drawn."""
    photos = find_photos(clips[".avi"]).photos
    opened = []
    real = videos._open
    monkeypatch.setattr(
        videos, "_open", lambda *a, **k: opened.append(a[0]) or real(*a, **k)
    )
    monkeypatch.setattr(videos, "_players", videos._Players())
    for start in range(0, NUM_FRAMES, 8):
        for _ in range(2):
            numbers = numbers_of(photos[start : start + 8])
            assert numbers == list(range(start, start + 8))
    assert len(opened) == 2


def test_a_video_that_was_written_anew(tmp_path: Path, write) -> None:
    path = write(tmp_path / "a.avi", range(9))
    assert numbers_of(find_photos(path).photos[:2]) == [0, 1]
    write(path, range(100, 120))
    os.utime(path, ns=(1, 1))
    assert numbers_of(find_photos(path).photos[5:7]) == [105, 106]


def test_videos_among_the_photos_of_people(clips: dict[str, Path], tmp_path) -> None:
    for name in ("Ann/clip.avi", "Ann/day/x.MKV", "Bob.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips[Path(name).suffix.lower()], tmp_path / name)
    cv2.imwrite(str(tmp_path / "Ann/b.png"), picture_of(200))
    listing = find_photos(tmp_path, "every:20")
    assert [(p.source, p.identity) for p in listing.photos] == [
        ("Ann/b.png", "Ann"),
        ("Ann/clip.avi/000001.jpg", "Ann"),
        ("Ann/clip.avi/000021.jpg", "Ann"),
        ("Ann/day/x.MKV/000001.jpg", "Ann"),
        ("Ann/day/x.MKV/000021.jpg", "Ann"),
        ("Bob.mp4/000001.jpg", "Bob"),
        ("Bob.mp4/000021.jpg", "Bob"),
    ]
    assert numbers_of(listing.photos[1:]) == [0, 20] * 3
    assert not listing.skipped
    assert listing.notes == (
        "6 of 120 frames of 3 videos are taken: --frames every:20",
    )
    assert describe_people(listing)[0] == "2 people in 7 photos"
    # A frame lies where its video lies.
    named = name_people(listing, "parent").photos
    assert [photo.identity for photo in named] == ["Ann"] * 3 + ["day"] * 2 + [
        "Bob"
    ] * 2
    named = name_people(listing, r"(\w+)\.\w+$").photos
    assert [photo.identity for photo in named[:3]] == ["b", "clip", "clip"]


@pytest.mark.parametrize("rule", ["first:3", "every:7", "random:5", "all"])
def test_frames_are_taken_by_the_rule_of_ytf(clips: dict[str, Path], rule: str) -> None:
    listing = find_photos(clips[".avi"], rule)
    taken = parse_frame_rule(rule).take("clip.avi", NUM_FRAMES).tolist()
    assert [int(photo.source[9:15]) - 1 for photo in listing.photos] == taken
    assert numbers_of(listing.photos) == taken


def test_a_listing_without_videos_is_left_as_it_is(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture_of(1))
    listing = find_photos(tmp_path)
    assert take_frames(listing, parse_frame_rule("first:1")) is listing


def test_wrong_rules_are_refused(clips: dict[str, Path]) -> None:
    with pytest.raises(ParameterError, match="a frame rule must be all, first:N"):
        find_photos(clips[".avi"], "some")


def test_large_frames_go_to_the_ledger(clips: dict[str, Path]) -> None:
    [photo] = find_photos(clips[".avi"], "first:1").photos
    assert photo.read(96 * 64).shape == (64, 96, 3)
    # Whether it is opened for that or runs already.
    for players in (videos._players, videos._Players()):
        videos._players = players
        with pytest.raises(PhotoError, match="too large: 96x64 is over 6143 pixels"):
            photo.read(96 * 64 - 1)


def test_frames_that_are_too_large_for_all(clips: dict[str, Path], monkeypatch) -> None:
    monkeypatch.setattr(videos, "DEFAULT_MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(PhotoError, match="too large: 96x64"):
        count_frames(clips[".avi"])
    monkeypatch.undo()
    monkeypatch.setattr(videos, "_MAX_FRAMES", NUM_FRAMES - 1)
    with pytest.raises(PhotoError, match="too long: it has over 39 frames"):
        count_frames(clips[".avi"])


@pytest.mark.parametrize("claim", [2**31 - 1, 0, 44])
def test_the_number_that_a_file_claims_is_not_believed(clips, edited, claim) -> None:
    content = clips[".avi"].read_bytes()
    number = struct.pack("<I", claim)
    # In the main header and in that of the stream.
    places = [content.index(b"avih") + 8 + 16, content.index(b"strh") + 8 + 32]
    assert [content[at : at + 4] for at in places] == [struct.pack("<I", 40)] * 2
    listing = find_photos(edited(".avi", dict.fromkeys(places, number)))
    assert numbers_of(listing.photos) == list(range(NUM_FRAMES))
    said = [note for note in listing.notes if note.endswith(f" (40 of {claim})")]
    assert len(said) == (claim == 2**31 - 1)


def test_what_is_cut_off_gives_what_is_left_of_it(clips, tmp_path) -> None:
    content = clips[".avi"].read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(content[: content.index(b"idx1") * 2 // 3])
    listing = find_photos(path)
    num_left = len(listing.photos)
    assert 20 < num_left < 30
    assert numbers_of(listing.photos[:-1]) == list(range(num_left - 1))
    assert f"cut.avi ({num_left} of 40)" in listing.notes[0]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty file"),
        (b"ffconcat version 1.0\nfile good.avi\n", "not a video that can be read"),
        (b"#EXTM3U\n#EXTINF:10,\ngood.avi\n", "not a video that can be read"),
        (b"holiday\n" * 99, "not a video that can be read"),
        (b"\0\0\0\x1cftypisom" + b"\x07" * 999, "damaged, or of a kind of video"),
        (b"RIFF\0\0\0\0AVI " + bytes(999), "damaged, or of a kind of video"),
        (None, "damaged, or of a kind of video"),
    ],
)
def test_what_is_no_video_goes_to_the_ledger(
    clips, tmp_path, capfd, content, why
) -> None:
    """A list of other files is never followed."""
    shutil.copy(clips[".avi"], tmp_path / "good.avi")
    if content is None:  # The index of an .mp4 stands at its end.
        content = clips[".mp4"].read_bytes()[:2000]
    (tmp_path / "bad.mp4").write_bytes(content)
    bad, *good = find_photos(tmp_path).photos
    assert len(good) == NUM_FRAMES
    assert (bad.source, bad.identity) == ("bad.mp4", "bad")
    with pytest.raises(PhotoError, match=f"^{why}"):
        bad.read(10_000)
    assert capfd.readouterr().err == ""


def test_files_that_cannot_be_opened(clips, tmp_path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff.avi")
    shutil.copy(clips[".avi"], odd)
    with pytest.raises(PhotoError, match="its path is not UTF-8 text: rename it"):
        count_frames(odd)
    odd.rename(tmp_path / "file:ü %03d.avi")
    assert count_frames(tmp_path / "file:ü %03d.avi") == (NUM_FRAMES, NUM_FRAMES)
    [photo] = find_photos(tmp_path, "first:1").photos
    (tmp_path / "file:ü %03d.avi").unlink()
    with pytest.raises(PhotoError, match="cannot be opened: No such file"):
        photo.read(10_000)
    with pytest.raises(FileError, match="no such file or folder"):
        find_photos(tmp_path / "none.mp4")


def test_frames_that_a_file_has_no_more(tmp_path: Path, write) -> None:
    path = write(tmp_path / "a.avi", range(9))
    photos = find_photos(path).photos
    write(path, range(5))
    assert numbers_of(photos[:5]) == [0, 1, 2, 3, 4]
    with pytest.raises(PhotoError, match="frame 6: the video ends before it"):
        photos[5].read(10_000)


def test_phones_that_were_held_sideways(clips, edited) -> None:
    """A turn in the header by a quarter to the right is applied."""
    content = clips[".mp4"].read_bytes()
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, 64 * one, 0, 1 << 30)
    path = edited(".mp4", {content.index(b"tkhd") + 44: matrix})
    [photo] = find_photos(path, "first:1").photos
    frame = photo.read(10_000)
    assert frame.shape == (96, 64, 3)
    # The red bar, which was above, stands to the right.
    assert np.abs(frame[48, 56].astype(int) - (255, 0, 0)).max() < 40


def test_damage_raises_nothing_else(clips, tmp_path, capfd) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.avi"
    for suffix in (".avi", ".mkv"):
        content = clips[suffix].read_bytes()
        for _ in range(25):
            damaged = bytearray(content)
            for at in rng.integers(0, len(content), 5):
                damaged[at] = rng.integers(256)
            path.write_bytes(damaged[: rng.integers(1000, len(content))])
            for photo in find_photos(path).photos:
                try:
                    photo.read(10_000)
                except PhotoError:
                    continue
    assert capfd.readouterr().err == ""
