"""Pipelines look whether they can write before hours of work."""

import runpy
import sys
from pathlib import Path

import pytest

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("faces", ["none.yaml", "--lfw-crops=none", "--pairs=none"]),
        ("small_images", ["none.yaml", "--data=none"]),
        ("many_machines", ["none", "--model=none"]),
    ],
)
def test_a_file_in_the_place_of_the_folder(
    name: str,
    needed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "out"
    file.touch()
    monkeypatch.setattr(sys, "argv", [name, *needed, f"--out={file / 'x'}"])
    main = runpy.run_path(str(PIPELINES / f"{name}.py"))["main"]
    with pytest.raises(SystemExit) as stopped:
        main()
    said = f"{stopped.value.code} {capsys.readouterr().err}"
    assert f"cannot write {file / 'x'}: {file} is a file" in said
