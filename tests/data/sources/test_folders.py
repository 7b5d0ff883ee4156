import os

import pytest
from PIL import Image

from facever.data.sources.any_source import find_photos
from facever.data.sources.folders import describe_skipped
from facever.errors import DataError, FileError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names_and_identities(source):
    return [(photo.source, photo.identity) for photo in find_photos(source).photos]


def test_identity_folders(tmp_path):
    touch(tmp_path, "Bo/2.JPG", "Ann/b.png", "Ann/a.jpeg", "Ann/holiday/c.jpg")
    assert names_and_identities(tmp_path) == [
        ("Ann/a.jpeg", "Ann"),
        ("Ann/b.png", "Ann"),
        ("Ann/holiday/c.jpg", "Ann"),
        ("Bo/2.JPG", "Bo"),
    ]
    assert find_photos(tmp_path).photos[0].path == tmp_path / "Ann/a.jpeg"


def test_a_flat_folder_has_an_identity_for_each_name(tmp_path):
    touch(tmp_path, "Ann.jpg", "Bo.x.png", "Cy Ö.webp")
    assert names_and_identities(tmp_path) == [
        ("Ann.jpg", "Ann"),
        ("Bo.x.png", "Bo.x"),
        ("Cy Ö.webp", "Cy Ö"),
    ]


def test_other_files_are_counted_and_hidden_ones_left_out(tmp_path):
    touch(tmp_path, "A/1.jpg", "A/note.txt", "A/2.PSD", "B/3.psd", "README")
    touch(tmp_path, ".hidden.jpg", ".cache/4.jpg", "A/._1.jpg")
    listing = find_photos(tmp_path)
    assert [photo.source for photo in listing.photos] == ["A/1.jpg"]
    assert listing.skipped == {".txt": 1, ".psd": 2, "": 1}
    described = describe_skipped(listing.skipped)
    assert described == "4 other files (2 .psd, 1 .txt, 1 without suffix)"


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "JPEG2000", "AVIF"]
)
@pytest.mark.parametrize("suffix", ["", ".dat", ".jpg_large"])
def test_photos_are_recognised_by_content(tmp_path, kind, suffix):
    name = f"Ann/photo{suffix}"
    touch(tmp_path, name, "Ann/notes.txt", "Ann/sound.wav")
    (tmp_path / "Ann/sound.wav").write_bytes(b"RIFF0000WAVEfmt ")
    Image.new("RGB", (30, 20), "red").save(tmp_path / name, kind)
    listing = find_photos(tmp_path)
    assert [photo.source for photo in listing.photos] == [name]
    assert listing.photos[0].read(1000).shape == (20, 30, 3)
    assert find_photos(tmp_path / name).photos[0].source == name.split("/")[1]


def test_a_folder_that_holds_a_record_file_says_so(tmp_path):
    touch(tmp_path, "train.rec", "train.idx", "lfw.bin")
    with pytest.raises(
        FileError, match=r"may also be in lfw.bin or train.rec, which can"
    ):
        find_photos(tmp_path)
    touch(tmp_path, "Ann/1.jpg")
    assert "train.rec" in find_photos(tmp_path).notes[0]


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "photos/A/1.jpg", "elsewhere/2.jpg")
    os.symlink(tmp_path / "elsewhere", tmp_path / "photos/B")
    os.symlink(tmp_path / "photos", tmp_path / "photos/A/loop")
    assert names_and_identities(tmp_path / "photos") == [
        ("A/1.jpg", "A"),
        ("B/2.jpg", "B"),
    ]


def test_a_list_keeps_its_order_and_names_identities(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(
        "# photos of May\n\nsub/b.jpg\tAnn\r\n./a.png\nAnn Lee/c.jpg\n", "utf-8"
    )
    assert names_and_identities(path) == [
        ("sub/b.jpg", "Ann"),
        ("a.png", "a"),
        ("Ann Lee/c.jpg", "Ann Lee"),
    ]
    assert find_photos(path).photos[0].path == tmp_path / "sub/b.jpg"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("../x.jpg", "not a path below"),
        ("/etc/x.jpg", "not a path below"),
        ("a/../../x.jpg", "not a path below"),
        ("x.txt", "no photo's suffix"),
        ("x.jpg\t", "identity after the tab is empty"),
        ("x.jpg\t1\t2", "expected a path and"),
        ("ok.jpg", "listed twice"),
        ("./ok.jpg", "listed twice"),
    ],
)
def test_wrong_lines_are_refused_by_number(tmp_path, line, why):
    path = tmp_path / "list.txt"
    path.write_text(f"ok.jpg\n{line}\n")
    with pytest.raises(DataError, match=f"line 2.*{why}"):
        find_photos(path)


def test_sources_without_photos(tmp_path):
    with pytest.raises(FileError, match="no such file or folder"):
        find_photos(tmp_path / "missing")
    with pytest.raises(FileError, match="no photos in"):
        find_photos(tmp_path)
    touch(tmp_path, "a.txt")
    with pytest.raises(FileError, match=r"only 1 other file \(1 .txt\)"):
        find_photos(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FileError, match="not UTF-8"):
        find_photos(tmp_path / "list.txt")
