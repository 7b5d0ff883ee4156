"""A gallery that may not be written opens for reading, and is never changed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facever
from facever.gallery.folder.database import DATABASE_NAME
from facever.gallery.folder.gallery import Gallery

# Reads as a user who may not write, again after each line that it is sent.
READER = """
import json, os, sys
import numpy as np
from facever.errors import FaceverError
from facever.gallery.folder.gallery import Gallery
if os.getuid() == 0:
    os.setuid(65534)
with Gallery(sys.argv[1]) as gallery:
    for line in sys.stdin:
        [matches] = gallery.search(np.ones((1, 4)), k=9)
        said = {
            "verify": gallery.verify(),
            "names": list(gallery.names()),
            "listed": [entry.source for entry in gallery.entries()],
            "search": sorted(match.source for match in matches),
            "info": gallery.info().num_embeddings,
        }
        try:
            gallery.add(["Eve"], np.ones((1, 4)), ["eve.jpg"])
        except FaceverError as error:
            said["add"] = str(error)
        print(json.dumps(said), flush=True)
"""

KILLED_WRITER = """
import os, sys
import numpy as np
from facever.gallery.folder.gallery import Gallery
gallery = Gallery(sys.argv[1])
gallery.add(["Bob"], np.eye(4)[1:2], ["bob.jpg"])
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def people() -> Iterator[Path]:
    # Others may not look into pytest's own folders.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with Gallery.create(Path(folder) / "people", 4) as gallery:
            gallery.add(["Ann"], np.eye(4)[:1], ["ann.jpg"])
        yield Path(folder) / "people"
        allow(Path(folder) / "people", True)


def allow(folder: Path, writing: bool) -> None:
    """Let the owner write, or nobody; root is kept out by being nobody."""
    folder.chmod(0o755 if writing else 0o555)
    for file in folder.iterdir():
        file.chmod(0o644 if writing else 0o444)


def python(script: str, folder: Path) -> "subprocess.Popen[str]":
    package = Path(facever.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(package)},
    )


def ask(reader: "subprocess.Popen[str]") -> Any:
    assert reader.stdin is not None
    assert reader.stdout is not None
    print("again", file=reader.stdin, flush=True)
    line = reader.stdout.readline()
    assert line, reader.communicate()[1]
    return json.loads(line)


def check(said: Any, sources: list[str]) -> None:
    assert said["verify"] == said["info"] == len(sources)
    assert said["listed"] == said["search"] == sources
    assert said["names"] == [source[:3].capitalize() for source in sources]
    assert "can be read, but not changed" in said["add"]


def test_a_gallery_that_nobody_writes_is_read_and_left_alone(people: Path) -> None:
    allow(people, False)
    before = {path.name: path.read_bytes() for path in people.iterdir()}
    with python(READER, people) as reader:
        check(ask(reader), ["ann.jpg"])
    assert {path.name: path.read_bytes() for path in people.iterdir()} == before


@pytest.mark.parametrize("with_memory", [True, False])
def test_what_a_killed_writer_acknowledged_is_read(
    people: Path, with_memory: bool
) -> None:
    with python(KILLED_WRITER, people) as killed:
        killed.communicate()
    assert killed.returncode == -9
    log = people / f"{DATABASE_NAME}-wal"
    assert log.stat().st_size
    if not with_memory:
        people.joinpath(f"{DATABASE_NAME}-shm").unlink()
    allow(people, False)
    with python(READER, people) as reader:
        check(ask(reader), ["ann.jpg", "bob.jpg"])
        [_, warned] = reader.communicate()
    assert ("read from a copy" in warned) is not with_memory
    assert log.stat().st_size


def test_a_reader_sees_what_the_owner_adds(people: Path) -> None:
    allow(people, False)
    with python(READER, people) as reader:
        check(ask(reader), ["ann.jpg"])
        allow(people, True)
        with Gallery(people) as gallery:
            gallery.add(["Bob"], np.eye(4)[1:2], ["bob.jpg"])
            check(ask(reader), ["ann.jpg", "bob.jpg"])
            gallery.add(["Cyd"], np.eye(4)[2:3], ["cyd.jpg"])
            check(ask(reader), ["ann.jpg", "bob.jpg", "cyd.jpg"])
        check(ask(reader), ["ann.jpg", "bob.jpg", "cyd.jpg"])
        with Gallery(people) as gallery:
            gallery.remove_person("Ann")
        check(ask(reader), ["bob.jpg", "cyd.jpg"])
