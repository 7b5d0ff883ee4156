from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facever.data.sources.frame_rule import FrameRule, parse_frame_rule
from facever.errors import DataError, FileError, ParameterError
from facever.verification.protocols import choose_frames, find_frames, read_ytf_splits

VIDEOS = ["Ann_Lee/0", "Ann_Lee/2", "Bob/1", "Cy/0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Frames as YTF has them: numbers without zeros in front. Cy has none."""
    for video, numbers in (
        ("Ann_Lee/0", range(95, 105)),
        ("Ann_Lee/2", (7,)),
        ("Bob/1", range(8, 12)),
    ):
        (tmp_path / video).mkdir(parents=True)
        for number in numbers:
            (tmp_path / video / f"{video[-1]}.{number}.jpg").touch()
    (tmp_path / "Bob" / "1" / "notes.txt").touch()
    (tmp_path / "Bob" / "1" / ".0.1.jpg").touch()
    (tmp_path / "Eve" / "0").mkdir(parents=True)
    (tmp_path / "Eve" / "0" / "0.1.jpg").touch()
    return tmp_path


def test_all_frames_in_the_order_of_time(folder: Path) -> None:
    frames = find_frames(folder, VIDEOS, parse_frame_rule("all"))
    assert frames.frames == (
        [f"Ann_Lee/0/0.{number}.jpg" for number in range(95, 105)]
        + ["Ann_Lee/2/2.7.jpg"]
        + [f"Bob/1/1.{number}.jpg" for number in (8, 9, 10, 11)]
    )
    assert frames.video.tolist() == [0] * 10 + [1] + [2] * 4
    assert frames.num_found.tolist() == [10, 1, 4, 0]
    assert frames.num_taken.tolist() == [10, 1, 4, 0]


@pytest.mark.parametrize(
    ("rule", "numbers_of_ann", "numbers_of_bob"),
    [
        ("first:3", [95, 96, 97], [8, 9, 10]),
        ("first:6", [95, 96, 97, 98, 99, 100], [8, 9, 10, 11]),
        ("every:3", [95, 98, 101, 104], [8, 11]),
        ("every:1", list(range(95, 105)), [8, 9, 10, 11]),
        ("every:99", [95], [8]),
        ("random:99", list(range(95, 105)), [8, 9, 10, 11]),
    ],
)
def test_frame_rules(
    folder: Path, rule: str, numbers_of_ann: list[int], numbers_of_bob: list[int]
) -> None:
    frames = find_frames(folder, VIDEOS, parse_frame_rule(rule))
    numbers = [int(frame.split(".")[-2]) for frame in frames.frames]
    assert numbers == [*numbers_of_ann, 7, *numbers_of_bob]
    assert frames.num_found.tolist() == [10, 1, 4, 0]
    assert frames.num_taken.tolist() == [len(numbers_of_ann), 1, len(numbers_of_bob), 0]


@given(st.integers(0, 40), st.integers(1, 45), st.integers(0, 2**40))
def test_random_frames_are_some_of_them(number: int, wanted: int, seed: int) -> None:
    taken = parse_frame_rule(f"random:{wanted}", seed).take("A/0", number).tolist()
    assert len(taken) == min(number, wanted)
    assert taken == sorted(set(taken))
    assert set(taken) <= set(range(number))


def test_a_random_choice_hangs_on_seed_and_video_alone(folder: Path) -> None:
    rule = FrameRule("random", 4, seed=3)
    together = find_frames(folder, VIDEOS, rule)
    alone = find_frames(folder, ["Bob/1", "Ann_Lee/0"], rule)
    of_ann = [frame for frame in together.frames if frame.startswith("Ann_Lee/0")]
    assert of_ann == [frame for frame in alone.frames if frame.startswith("Ann_Lee/0")]
    draws = [FrameRule("random", 4, seed).take("A/0", 100) for seed in range(20)]
    assert len({tuple(draw) for draw in draws}) == 20
    videos = [FrameRule("random", 4, 0).take(f"A/{n}", 100) for n in range(20)]
    assert len({tuple(draw) for draw in videos}) == 20
    # Every frame is as likely as another: 2,000 draws of 5 of 20, 500 +- 4 deviations.
    counts = np.bincount(
        np.concatenate([FrameRule("random", 5, s).take("A/0", 20) for s in range(2000)])
    )
    assert abs(counts - 500).max() < 4 * np.sqrt(2000 * 0.25 * 0.75)


def test_rules_say_what_they_are() -> None:
    for text in ("all", "first:3", "every:10"):
        assert str(parse_frame_rule(text)) == text
    assert str(parse_frame_rule("random:5", 7)) == "random:5 with seed 7"


@pytest.mark.parametrize(
    "text",
    "|every|first|all:3|last:3|first:0|every:-1|random:1.5|first:3:4|First:3|first: 3|"
    "random:|:3|first:²".split("|"),
)
def test_unknown_rules(text: str) -> None:
    with pytest.raises(ParameterError, match="a frame rule must be all, first:N"):
        parse_frame_rule(text)


def test_negative_seed() -> None:
    with pytest.raises(ParameterError, match="seed of a frame rule must be >= 0"):
        parse_frame_rule("random:3", -1)


def test_no_frames_at_all(folder: Path) -> None:
    with pytest.raises(FileError, match=r"no frames in .* as .*/Cy/0/<frame>\.jpg"):
        find_frames(folder, ["Cy/0"], FrameRule("all"))
    (folder / "Cy").touch()
    with pytest.raises(FileError, match="cannot read"):
        find_frames(folder, ["Cy/0"], FrameRule("all"))


def test_frames_from_a_list() -> None:
    sources = ["A/0/10.jpg", "A/0/9.jpg", "A/01/1.jpg", "A/0/009.jpg", "B/0/1.jpg"]
    frames = choose_frames(sources, ["B/0", "A/0"], FrameRule("all"))
    assert frames.frames == ["B/0/1.jpg", "A/0/009.jpg", "A/0/9.jpg", "A/0/10.jpg"]
    assert frames.video.tolist() == [0, 1, 1, 1]


def test_frames_of_one_name() -> None:
    with pytest.raises(DataError, match=r"only by their extension: 'A/0/1\.png'"):
        choose_frames(["A/0/1.png", "A/0/1.jpg"], ["A/0"], FrameRule("all"))


def test_failed_frames_are_counted(folder: Path) -> None:
    frames = find_frames(folder, VIDEOS, FrameRule("first", 3))
    # Bob's last frame failed, Ann's only one of video 2 too; two images are not taken.
    images = ["Bob/1/1.8.png", "Ann_Lee/0/0.104", "Eve/0/0.1.jpg", "Bob/1/1.9.jpg"]
    images += ["Ann_Lee/0/0.97.jpg", "Ann_Lee/0/0.95.jpg", "Ann_Lee/0/0.96.jpg"]
    rows, video, failed = frames.match(images)
    assert rows.tolist() == [0, 3, 4, 5, 6]
    assert video.tolist() == [2, 2, 0, 0, 0]
    assert failed.tolist() == [0, 1, 1, 0]


def test_nothing_embedded(folder: Path) -> None:
    frames = find_frames(folder, VIDEOS, FrameRule("all"))
    rows, video, failed = frames.match([])
    assert rows.size == video.size == 0
    assert failed.tolist() == [10, 1, 4, 0]


def test_a_frame_listed_twice(folder: Path) -> None:
    frames = find_frames(folder, VIDEOS, FrameRule("all"))
    with pytest.raises(
        DataError, match=r"once, got 'Bob/1/1\.8\.png' in the rows 0 and 2"
    ):
        frames.match(["Bob/1/1.8.jpg", "Bob/1/1.9.jpg", "Bob/1/1.8.png"])


@pytest.mark.realdata
def test_official_videos_in_their_layout(data_folder: Path, tmp_path: Path) -> None:
    pairs = read_ytf_splits(data_folder / "ytf" / "splits.txt")
    videos = pairs.sources
    assert len(videos) == 3226
    for place, video in enumerate(videos[:50]):
        (tmp_path / video).mkdir(parents=True)
        for number in range(99, 99 + place % 4):
            (tmp_path / video / f"{video[-1]}.{number}.jpg").touch()
    frames = find_frames(tmp_path, videos, FrameRule("every", 2))
    assert frames.num_found.tolist() == [place % 4 for place in range(50)] + [0] * 3176
    assert frames.frames[-1].endswith(".99.jpg")
