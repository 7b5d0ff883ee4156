"""Webdataset's tar files in all their forms: who is in each photo, and where."""

import io
import json
import random
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facever.data.sources.any_source import find_photos
from facever.faces.templates import CARD_POINTS

MAX_PIXELS = 100
KINDS = {"png": "PNG", "jpg": "JPEG", "JPEG": "JPEG", "webp": "WEBP", "bmp": "BMP"}


def photo(number: int, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (25 * number, 90, 200)).save(file, kind)
    return file.getvalue()


samples = st.lists(
    st.tuples(
        st.sampled_from(["Ann", "Bo Lee", "Zoë", "王", "17"]),
        st.sampled_from(["json identity", "json label", "txt", "cls", "folder"]),
        st.booleans(),  # Whether its landmarks are known.
        st.sampled_from(sorted(KINDS)),
    ),
    min_size=1,
    max_size=9,
)


def members_of(
    number: int, person: str, sign: str, has_landmarks: bool, suffix: str
) -> tuple[str, dict[str, bytes]]:
    """Who is in a sample, and its files by their suffixes."""
    facts: dict[str, object] = {}
    files = {suffix: photo(number, KINDS[suffix])}
    if sign == "json label":
        person = str(number % 3)
        facts["label"] = number % 3
    elif sign == "json identity":
        facts |= {"identity": person, "label": 99}
    elif sign in ("txt", "cls"):
        files[sign] = f"{person}\n".encode()
    if sign.startswith("json"):
        # Less is said elsewhere.
        files["cls"] = b"98"
    if has_landmarks:
        facts["landmarks"] = (CARD_POINTS + number).tolist()
    if facts:
        files["json"] = json.dumps(facts).encode()
    return person, files


@given(
    samples=samples,
    form=st.sampled_from(
        [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]
    ),
    num_shards=st.integers(0, 3),
    begin=st.sampled_from(["", "./"]),
    order=st.randoms(use_true_random=False),
)
def test_every_form_says_who_is_where(
    tmp_path_factory: pytest.TempPathFactory,
    samples: list[tuple[str, str, bool, str]],
    form: int,
    num_shards: int,
    begin: str,
    order: random.Random,
) -> None:
    folder = tmp_path_factory.mktemp("tars")
    shards: list[list[tuple[str, bytes]]] = [[] for _ in range(max(num_shards, 1))]
    expected = {}
    for number, sample in enumerate(samples):
        person, files = members_of(number, *sample)
        *_, has_landmarks, suffix = sample
        # A key ends at the first dot of the file, and not of a folder.
        key = f"v1.2/{person}/{number}" if number % 2 else f"{person}/{number}"
        if sample[1] == "folder" and number % 2:
            person = "v1.2"
        shard = number % len(shards)
        members = [(f"{begin}{key}.{name}", content) for name, content in files.items()]
        order.shuffle(members)
        shards[shard] += members
        name = f"{key}.{suffix}"
        expected[f"shard-{shard}/{name}" if num_shards else name] = (
            person,
            (CARD_POINTS + number).tolist() if has_landmarks else None,
            number,
        )
    for number, members in enumerate(shards):
        with tarfile.open(folder / f"shard-{number}.tar", "w", format=form) as tar:
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    listing = find_photos(folder if num_shards else folder / "shard-0.tar")
    found = {
        each.source: (
            each.identity,
            None if each.landmarks is None else each.landmarks.tolist(),
            round(float(each.read(MAX_PIXELS)[..., 0].mean()) / 25),
        )
        for each in listing.photos
    }
    assert found == expected
    assert listing.has_landmarks == any(sample[2] for sample in samples)
    assert not listing.skipped


def test_an_empty_folder_of_shards_is_no_source(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    with pytest.raises(OSError, match="taken for a folder of tar files"):
        find_photos(tmp_path)
