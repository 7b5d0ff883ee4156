import os
import subprocess
import sys
from pathlib import Path

import pytest

from facever.errors import DataError, FileError
from facever.files import (
    append_line,
    check_file_place,
    check_folder_place,
    check_new_file,
    hold_folder,
    naming_write_errors,
    whole_file,
    whole_folder,
)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is synced and renamed, with the inode of it, in order."""
    seen: list[tuple[str, int]] = []
    sync, replace = os.fsync, os.replace

    def spy_sync(handle: int) -> None:
        seen.append(("sync", os.fstat(handle).st_ino))
        sync(handle)

    def spy_replace(old: Path, new: Path) -> None:
        seen.append(("rename", old.stat().st_ino))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", spy_sync)
    monkeypatch.setattr(os, "replace", spy_replace)
    return seen


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, events: list[tuple[str, int]]
) -> None:
    path = tmp_path / "new" / "model"
    with whole_file(path) as temporary:
        temporary.write_bytes(b"content")
        assert not path.exists()
        assert events == []
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert events == [("sync", file), ("rename", file), ("sync", folder)]
    assert path.read_bytes() == b"content"
    assert os.listdir(path.parent) == ["model"]


def test_a_folder_is_on_the_disk_with_all_that_is_in_it_before_it_has_its_name(
    tmp_path: Path, events: list[tuple[str, int]]
) -> None:
    path = tmp_path / "export"
    with whole_folder(path) as temporary:
        (temporary / "A").mkdir()
        (temporary / "A" / "1.jpg").write_bytes(b"one")
        (temporary / "list.csv").write_bytes(b"two")
    inside = {each.stat().st_ino for each in [path, *path.rglob("*")]}
    renamed = events.index(("rename", path.stat().st_ino))
    assert {inode for _, inode in events[:renamed]} == inside
    assert len(inside) == 4
    assert events[renamed + 1 :] == [("sync", tmp_path.stat().st_ino)]


def write_something(whole, path: Path, error: Exception | None = None) -> None:
    with whole(path) as temporary:
        (temporary if whole is whole_file else temporary / "part").write_text("new")
        if error:
            raise error


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path, whole) -> None:
    with pytest.raises(DataError):
        write_something(whole, tmp_path / "a" / "b", DataError())
    assert os.listdir(tmp_path / "a") == []
    (tmp_path / "old").write_text("old")
    with pytest.raises(DataError):
        write_something(whole_file, tmp_path / "old", DataError())
    assert (tmp_path / "old").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["a", "old"]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_disk_that_fails_while_it_is_synced_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole
) -> None:
    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileError, match=r"cannot write .*out: Input/output error"):
        write_something(whole, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_knows_no_sync_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def only_files(handle: int) -> None:
        if not os.fstat(handle).st_mode & 0o100000:
            raise OSError(22, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    with whole_file(tmp_path / "out") as temporary:
        temporary.write_text("content")
    assert (tmp_path / "out").read_text() == "content"


def test_places_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"cannot write .*: it is a folder"):
        with whole_file(tmp_path):
            pass
    with pytest.raises(FileError, match=r"file/new: File exists; make room there or"):
        with whole_file(tmp_path / "file" / "new"):
            pass
    with pytest.raises(FileError, match=r"file is there already"):
        with whole_folder(tmp_path / "file"):
            pass
    with pytest.raises(FileError, match=r"cannot write .*nowhere/log: No such file"):
        append_line(tmp_path / "nowhere" / "log", "line")


def test_a_place_is_looked_at_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for check in (check_file_place, check_folder_place, check_new_file):
        check(tmp_path / "new")
        check(tmp_path / "new" / "deep" / "er")
    check_file_place(tmp_path / "file")
    check_folder_place(tmp_path)
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(FileError, match=r"cannot write .*: it is a folder"):
        check_file_place(tmp_path)
    for check in (check_file_place, check_folder_place):
        with pytest.raises(FileError, match=r"/new: .*/file is a file; choose another"):
            check(tmp_path / "file" / "new")
    with pytest.raises(FileError, match=r"file: it is a file; choose another place"):
        check_folder_place(tmp_path / "file")
    with pytest.raises(FileError, match=r"file is there already: choose another name"):
        check_new_file(tmp_path / "file")


@pytest.mark.parametrize("check", [check_file_place, check_folder_place])
def test_a_relative_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check
) -> None:
    monkeypatch.chdir(tmp_path)
    check(Path("new"))
    check(Path("a/../b/c"))
    assert os.listdir() == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nobody is stopped")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    for check in (check_file_place, check_folder_place):
        with pytest.raises(FileError, match=r"cannot write .*: Permission denied"):
            check(tmp_path / "shut" / "new")


def test_the_system_is_named_and_our_own_errors_pass() -> None:
    with pytest.raises(FileError, match=r"^cannot write x: Is a directory; do y$"):
        with naming_write_errors(Path("x"), "do y"):
            raise IsADirectoryError(21, "Is a directory")
    with pytest.raises(FileError, match=r"^cannot write x: odd; make room there"):
        with naming_write_errors(Path("x")):
            raise OSError("odd")
    for ours in (FileError("ours"), DataError("ours")):
        with pytest.raises(type(ours), match=r"^ours$"):
            with naming_write_errors(Path("x")):
                raise ours


def test_a_held_folder_is_refused_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    program = (
        "import sys; from pathlib import Path; from facever.files import hold_folder\n"
        "with hold_folder(Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", program, str(folder)]
    with hold_folder(folder):
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"another process is writing to {folder}" in other.stderr
        assert folder.is_dir()
    assert not folder.exists()
    with hold_folder(folder):
        (folder / "kept").touch()
    assert os.listdir(folder) == ["kept"]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder nobody can write")
def test_a_place_that_cannot_be_written_is_found_before_the_work() -> None:
    # Not even the superuser makes a file there.
    with (
        pytest.raises(FileError, match=r"cannot write /proc/out\.npz"),
        whole_file(Path("/proc/out.npz")),
    ):
        pytest.fail("the work began")
