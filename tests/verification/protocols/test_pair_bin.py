import io
import os
import pickle
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.model_selection import KFold

from facever.choices import TemplateName
from facever.errors import DataError, FaceverError, FileError
from facever.faces.templates import TEMPLATES
from facever.verification.evaluation import evaluate_pairs
from facever.verification.protocols import PairBin, PairList, read_bin, write_bin
from facever.verification.protocols.folds import consecutive_folds

# Reading takes thousands of tiny steps: too many to check the types of each.
pytestmark = pytest.mark.usefixtures("types_unchecked")

SAME = [True, False] * 10


def draw_photos(num_photos: int = 40, width: int = 112) -> np.ndarray:
    """Smooth RGB photos, so that a JPEG of them is near them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (num_photos, 4, 4, 3)).astype(np.uint8)
    return np.stack([cv2.resize(photo, (width, 112)) for photo in coarse])


def encode(photo: np.ndarray, kind: str = ".jpg") -> bytes:
    return cv2.imencode(kind, photo[:, :, ::-1])[1].tobytes()


def write(folder: Path, value: object, protocol: int = 4) -> Path:
    path = folder / "set.bin"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@given(
    st.lists(st.binary(min_size=1, max_size=30), min_size=44, max_size=44),
    st.lists(st.booleans(), min_size=11, max_size=11),
    st.integers(2, 5),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    photos: list[bytes],
    first: list[bool],
    protocol: int,
) -> None:
    # 22 pairs in 10 folds: 3, 3, 2, 2, ..., each with both kinds.
    same = [answer for one in first for answer in (one, not one)]
    same[:6] = [True, False, True, False, True, False]
    folder = tmp_path_factory.mktemp("bin")
    ours = folder / "ours.bin"
    write_bin(ours, photos, same)
    assert pickle.loads(ours.read_bytes()) == (photos, same)
    theirs = write(folder, (photos, same), protocol)
    arrays = [np.frombuffer(photo, np.uint8) for photo in photos]
    as_arrays = folder / "arrays.bin"
    as_arrays.write_bytes(pickle.dumps((arrays, same), protocol))
    for path in (ours, theirs, as_arrays):
        found = read_bin(path)
        assert found.photos == photos
        assert found.pairs.same.tolist() == same
        assert found.pairs.left == [f"{place:06d}" for place in range(0, 44, 2)]
        assert found.pairs.right == [f"{place:06d}" for place in range(1, 44, 2)]
        assert np.bincount(found.pairs.fold).tolist() == [3, 3, 2, 2, 2, 2, 2, 2, 2, 2]


def as_python_2(value: object) -> bytes:
    """What Python 2 writes in protocol 0: text in quotes, numbers in digits."""
    if isinstance(value, bytes):
        return f"S{repr(value)[1:]}\n".encode()
    if isinstance(value, bool):
        return b"I01\n" if value else b"I00\n"
    if isinstance(value, int):
        return f"I{value}\n".encode()
    begin, each, end = (
        (b"(lp7\n", b"a", b"") if isinstance(value, list) else (b"(", b"", b"t")
    )
    return begin + b"".join(as_python_2(item) + each for item in value) + end


TRUTHS = {
    "bools": lambda same: same,
    "numbers": lambda same: [int(answer) for answer in same],
    "signs": lambda same: [1 if answer else -1 for answer in same],
    "NumPy's bools": lambda same: [np.bool_(answer) for answer in same],
    "NumPy's numbers": lambda same: [np.int64(answer) for answer in same],
    "a tuple": tuple,
    "an array of bools": np.array,
    "an array of numbers": lambda same: np.array(same).astype(np.int32),
    "a column": lambda same: np.array(same)[:, None],
    "an array of floats": lambda same: np.array(same).astype(np.float32),
    "a slice": lambda same: np.array(same).repeat(2)[::2],
}


@pytest.mark.parametrize("truth", TRUTHS)
@settings(max_examples=12)
@given(
    content=st.lists(st.binary(max_size=9), min_size=8, max_size=60),
    order=st.randoms(use_true_random=False),
    photos_as=st.sampled_from([bytes, lambda photo: np.frombuffer(photo, np.uint8)]),
    protocol=st.integers(-1, 5),
)
def test_every_form_is_the_same_set(
    tmp_path_factory: pytest.TempPathFactory,
    truth: str,
    content: list[bytes],
    order: random.Random,
    photos_as: Callable[[bytes], object],
    protocol: int,
) -> None:
    """Truth in any form, any number and order of pairs, every protocol.

    The folds of other projects' rules are those of scikit-learn's KFold, and ours deal
    the pairs of each kind in turn where those do not serve.
    """
    photos = content[: len(content) // 2 * 2]
    num_pairs = len(photos) // 2
    same = [True, True, False, False]
    same += [order.random() < 0.5 for _ in range(num_pairs - 4)]
    order.shuffle(same)
    folder = tmp_path_factory.mktemp("forms")
    path = folder / "set.bin"
    if protocol < 0:
        path.write_bytes(as_python_2((photos, same)) + b".")
    else:
        value = [photos_as(photo) for photo in photos], TRUTHS[truth](same)
        path.write_bytes(pickle.dumps(value, protocol))
    found = read_bin(path)
    assert found.photos == photos
    assert found.pairs.same.tolist() == same
    splits = KFold(min(10, num_pairs)).split(same)
    in_order = np.empty(num_pairs, int)
    for number, (_, tested) in enumerate(splits):
        in_order[tested] = number
    counts = [np.bincount(in_order[np.array(same) == kind]) for kind in (True, False)]
    even = len(counts[0]) == len(counts[1]) == in_order.max() + 1
    even = even and min(map(min, counts)) > 0 and np.ptp(counts[0]) <= 1
    if even:
        assert found.pairs.rule_fold is None
        assert found.pairs.notes == ()
        np.testing.assert_array_equal(found.pairs.fold, in_order)
        return
    np.testing.assert_array_equal(found.pairs.rule_fold, in_order)
    num_folds = min(10, sum(same), num_pairs - sum(same))
    seen = {True: 0, False: 0}
    for answer, fold in zip(same, found.pairs.fold.tolist(), strict=True):
        assert fold == seen[answer] % num_folds
        seen[answer] += 1
    dealt, rules = found.pairs.notes
    assert f"dealt in turn into {num_folds} folds" in dealt
    assert f"own {in_order.max() + 1} folds" in rules


@pytest.mark.parametrize("kind", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize(
    ("template", "sizes"),
    [
        ("112x96", [(112, 96), (112, 112)]),
        ("112x112", [(112, 112)]),
        ("160x160", [(160, 160)]),
    ],
)
def test_kinds_and_sizes_of_photos(
    tmp_path: Path, kind: str, template: TemplateName, sizes: list[tuple[int, int]]
) -> None:
    wanted = TEMPLATES[template]
    for height, width in [(112, 96), (112, 112), (160, 160)]:
        photos = [np.full((height, width, 3), (200, 90, 30), np.uint8)] * 8
        path = write(tmp_path, ([encode(photo, kind) for photo in photos], SAME[:4]))
        found = read_bin(path)
        if (height, width) in sizes:
            crops = found.decode(template=wanted).crops
            assert crops.shape == (8, *wanted.shape)
            assert np.abs(crops.astype(int) - (200, 90, 30)).max() < 9
        else:
            with pytest.raises(DataError, match=f"photo 0: .* {width}x{height}"):
                found.decode(template=wanted)


def test_crops_come_back_as_they_were(tmp_path: Path) -> None:
    for width in (96, 112):
        photos = draw_photos(width=width)
        write_bin(tmp_path / "set.bin", photos, SAME)
        decoded = read_bin(tmp_path / "set.bin").decode()
        crops = photos if width == 96 else photos[:, :, 8:104]
        np.testing.assert_array_equal(decoded.crops, crops)
        assert decoded.sources == [f"{place:06d}" for place in range(40)]
        assert decoded.broken == {}


def test_jpeg_is_read_in_rgb(tmp_path: Path) -> None:
    photos = draw_photos()
    path = write(tmp_path, ([encode(photo) for photo in photos], SAME))
    crops = read_bin(path).decode().crops
    wrong = np.abs(crops.astype(int) - photos[:, :, 8:104]).mean()
    assert wrong < 4
    assert wrong < np.abs(crops.astype(int)[..., ::-1] - photos[:, :, 8:104]).mean() / 4


def test_grey_photos(tmp_path: Path) -> None:
    grey = draw_photos()[..., 0]
    encoded = [cv2.imencode(".png", photo)[1].tobytes() for photo in grey]
    crops = read_bin(write(tmp_path, (encoded, SAME))).decode().crops
    np.testing.assert_array_equal(crops, grey[:, :, 8:104, None].repeat(3, axis=3))


def test_ranges(tmp_path: Path) -> None:
    write_bin(tmp_path / "set.bin", draw_photos(), SAME)
    found = read_bin(tmp_path / "set.bin")
    whole, part = found.decode(), found.decode(13, 17)
    np.testing.assert_array_equal(part.crops, whole.crops[13:17])
    assert part.sources == whole.sources[13:17]
    assert found.decode(40, 50).crops.shape == (0, 112, 96, 3)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"no image",
        encode(draw_photos(1)[0])[:-100],
        encode(draw_photos(1)[0])[:-2],
        encode(draw_photos(1)[0])[:40],
        encode(draw_photos(1)[0], ".png")[:-100],
        b"GIF89a" + b"\0" * 100,
    ],
    ids=[
        "empty",
        "no image",
        "cut JPEG",
        "no end",
        "cut header",
        "cut PNG",
        "another kind",
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_broken_photo_is_missing(
    tmp_path: Path, broken: bytes, protocol: int
) -> None:
    photos = [encode(photo) for photo in draw_photos()]
    whole = read_bin(write(tmp_path, (photos, SAME)))
    photos[3] = broken
    found = read_bin(write(tmp_path, (photos, SAME), protocol))
    decoded = found.decode()
    assert list(decoded.broken) == ["000003"]
    assert "\n" not in decoded.broken["000003"]
    assert len(decoded.crops) == 39
    np.testing.assert_array_equal(
        decoded.crops, np.delete(whole.decode().crops, 3, axis=0)
    )
    # No fold moves, and the pair is counted.
    np.testing.assert_array_equal(found.pairs.fold, whole.pairs.fold)
    embeddings = decoded.crops[:, ::16, ::16].reshape(39, -1).astype(np.float64)
    evaluation = evaluate_pairs(embeddings, decoded.sources, found.pairs)
    assert evaluation.missing == ["000003"]
    assert np.flatnonzero(np.isneginf(evaluation.scores)).tolist() == [1]


def test_a_cut_photo_that_opencv_fills_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.full((112, 112, 3), 128, dtype=np.uint8)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: grey)
    photo = encode(draw_photos(1)[0])
    found = read_bin(write(tmp_path, ([photo, photo[:-100]] * 20, SAME)))
    [reason] = found.decode(0, 2).broken.values()
    assert reason.startswith("damaged or truncated")


@pytest.mark.parametrize("size", [(112, 111), (96, 112), (224, 224), (111, 96)])
def test_another_size_is_an_error(tmp_path: Path, size: tuple[int, int]) -> None:
    photos = [encode(photo) for photo in draw_photos()]
    photos[7] = encode(np.zeros((*size, 3), dtype=np.uint8))
    found = read_bin(write(tmp_path, (photos, SAME)))
    says = rf"set\.bin photo 7: not an aligned crop: {size[1]}x{size[0]} \(width"
    with pytest.raises(DataError, match=says):
        found.decode()
    assert len(found.decode(8).crops) == 32


def png_that_says(side: int) -> bytes:
    png = encode(np.zeros((112, 112, 3), dtype=np.uint8), ".png")
    header = png[12:16] + side.to_bytes(4, "big") * 2 + png[24:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]


def test_giant_images_are_not_decoded(tmp_path: Path) -> None:
    for side in (9_000, 30_000):
        found = read_bin(write(tmp_path, ([png_that_says(side)] * 40, SAME)))
        with pytest.raises(DataError, match=rf"photo 0: .* {side}x{side}"):
            found.decode()


def test_a_long_part_of_a_png_is_not_made_room_for(tmp_path: Path) -> None:
    png = encode(np.zeros((112, 112, 3), dtype=np.uint8), ".png")
    photo = png[:33] + b"\xff\xff\xff\xfftEXt" + png[33:]
    found = read_bin(write(tmp_path, ([photo] * 40, SAME)))
    tracemalloc.start()
    assert len(found.decode().broken) == 40
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_kinds_of_png(tmp_path: Path, mode: str) -> None:
    black = np.zeros((112, 112), dtype=np.uint16 if mode == "I;16" else np.uint8)
    image = Image.fromarray(black)
    with io.BytesIO() as file:
        (image if mode == "I;16" else image.convert(mode)).save(file, "PNG")
        photos = [file.getvalue()] * 40
    decoded = read_bin(write(tmp_path, (photos, SAME))).decode(0, 2)
    assert decoded.crops.shape == (2, 112, 96, 3)
    assert not decoded.crops.any()


@given(st.integers(10, 300))
def test_folds_are_those_of_kfold(num_pairs: int) -> None:
    fold = consecutive_folds(num_pairs)
    splits = KFold(n_splits=10, shuffle=False).split(np.zeros(num_pairs))
    for index, (_, tested) in enumerate(splits):
        assert np.flatnonzero(fold == index).tolist() == tested.tolist()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"x", "bools, one for two photos, got bytes of 1"),
        ([], "got list of 0"),
        (([b"x"] * 2, [True], [True]), "got tuple of 3"),
        ((b"x" * 40, SAME), "got bytes of 40"),
        (([b"x"] * 40, True), "got bool"),
        (([b"x"] * 39 + [[b"x"]], SAME), "photo 39: .* got list of 1"),
        (([b"x"] * 39 + [True], SAME), "photo 39: .* got bool"),
        (([b"x"] * 39 + ["x"], SAME), "photo 39: .* got str"),
        (([b"x"] * 40, [*SAME[:-1], 2]), "pair 19: expected true or false, .* got 2"),
        (([b"x"] * 40, [*SAME[:-1], 0.5]), "pair 19: .* 1 or -1; got 0.5"),
        (([b"x"] * 40, np.arange(20)), "pair 2: expected true or false, .* got 2"),
        (([b"x"] * 40, [*SAME[:-1], np.nan]), "pair 19: .* got nan"),
        (([b"x"] * 40, [*SAME[:-1], b"1"]), "pair 19: .* got bytes of 1"),
        (([b"x"] * 40, [*SAME[:-1], None]), "pair 19: .* got NoneType"),
        (([np.zeros(3)] * 40, SAME), "photo 0: expected bytes or an array of uint8"),
    ],
)
def test_other_values(tmp_path: Path, value: object, says: str) -> None:
    with pytest.raises(FileError, match=rf"set\.bin.*{says}"):
        read_bin(write(tmp_path, value))


@pytest.mark.parametrize(
    ("num_photos", "same", "says"),
    [
        (39, SAME, "got 39 photos and 20 bools"),
        (42, SAME, "got 42 photos and 20 bools"),
        (0, [], "no threshold can be chosen: .* got 0 genuine and 0 impostor"),
        (40, [True] * 20, "no threshold .* got 20 genuine and 0 impostor"),
        (40, [False] * 19 + [True], "no threshold .* got 1 genuine and 19 impostor"),
        (40, np.ones(19, bool), "got 40 photos and 19 bools"),
    ],
)
def test_lists_that_do_not_fit(
    tmp_path: Path, num_photos: int, same: list[bool], says: str
) -> None:
    with pytest.raises(DataError, match=rf"set\.bin: .*{says}"):
        read_bin(write(tmp_path, ([b"x"] * num_photos, same)))


def test_arrays_that_were_never_filled(tmp_path: Path) -> None:
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n)U\x01b\x87R"
    path = tmp_path / "set.bin"
    path.write_bytes(b"\x80\x02](" + array * 40 + b"e](" + b"\x88\x89" * 10 + b"e\x86.")
    with pytest.raises(FileError, match=r"photo 0: .* got PickledArray"):
        read_bin(path)


class MakeFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_hostile_set_makes_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for protocol in range(6):
        for value in (
            MakeFolder(made),
            ([MakeFolder(made), b"x"] * 20, SAME),
            ([b"x"] * 40, [*SAME[:-1], MakeFolder(made)]),
            ([b"x"] * 40, SAME, MakeFolder(made)),
        ):
            with pytest.raises(FileError):
                read_bin(write(tmp_path, value, protocol))
            assert not made.exists()


def changed(content: bytes) -> list[bytes]:
    """Every byte changed in five ways, and every beginning of the content."""
    masks = 0x01, 0x04, 0x20, 0x80, 0xFF
    return [
        content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]
        for at in range(len(content))
        for mask in masks
    ] + [content[:at] for at in range(len(content))]


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("protocol", [2, 5])
def test_changed_bytes_are_errors_or_other_photos(
    tmp_path: Path, arrays: bool, protocol: int
) -> None:
    photos: list[object] = [b"ab", b"cd"] * 20
    if arrays:
        photos = [np.frombuffer(b"ab", np.uint8), np.frombuffer(b"cd", np.uint8)] * 20
    content = write(tmp_path, (photos, SAME), protocol).read_bytes()
    path = tmp_path / "changed.bin"
    outcomes = set()
    for other in changed(content):
        path.write_bytes(other)
        try:
            found = read_bin(path)
        except FaceverError as error:
            outcomes.add(str(path) in str(error) and "\n" not in str(error))
        else:
            assert len(found.photos) == 2 * len(found.pairs) == 40
            assert all(isinstance(photo, bytes) for photo in found.photos)
            assert len(found.decode(0, 2).broken) == 2
            outcomes.add("read")
    assert outcomes == {True, "read"}


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_changed_photos_are_broken_or_other_crops(kind: str) -> None:
    photo = encode(np.full((112, 96, 3), 90, dtype=np.uint8), kind)
    names = [str(place) for place in range(20)]
    pairs = PairList(names, names, np.array(SAME), consecutive_folds(20))
    outcomes = set()
    for other in changed(photo):
        try:
            decoded = PairBin(Path("set.bin"), [other], pairs).decode()
        except DataError as error:
            outcomes.add("set.bin photo 0" in str(error))
        else:
            outcomes.add((len(decoded.crops), len(decoded.broken)))
    # The header of a PNG has a checksum, that of a JPEG has none.
    assert outcomes == {(1, 0), (0, 1)} | ({True} if kind == ".jpg" else set())


def test_sets_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "set.bin"
    with pytest.raises(
        DataError, match="two photos a pair, got 39 photos and 20 pairs"
    ):
        write_bin(path, [b"x"] * 39, SAME)
    for shape in ((40, 112, 100, 3), (40, 96, 112, 3)):
        with pytest.raises(DataError, match="not an aligned crop: "):
            write_bin(path, np.zeros(shape, dtype=np.uint8), SAME)
    with pytest.raises(FileError, match="cannot write"):
        write_bin(tmp_path, [b"x"] * 40, SAME)
    assert list(tmp_path.iterdir()) == []
