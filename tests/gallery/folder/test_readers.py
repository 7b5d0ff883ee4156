"""Eight readers beside a writer: no error, and no half of a change is ever seen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import facever
from facever.gallery.folder.gallery import Gallery

SECONDS = 3
NUM_READERS = 8

# Forks readers, then writes for some seconds. A change is of three photos of a person,
# who share a field: a reader that sees another number of them, two values of the field
# or an embedding that is not that photo's has seen half a change. Each process writes
# its kind and how much it has done.
READERS_AND_WRITER = """
import json, os, random, sys, time
import numpy as np
from facever.gallery.entries import Filter
from facever.gallery.folder.gallery import Gallery

folder, seconds, num_readers = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
SOURCES = ["0", "1", "2"]

def say(kind, count):
    os.write(1, (json.dumps([kind, count]) + "\\n").encode())

def vectors(number):
    # Directions of three photos of anybody, at lengths that do not matter.
    return np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1]]) * (1 + number % 5)

COSINES = dict(zip(SOURCES, [3**-0.5, 2 / 6**0.5, 1.0]))

def whole(rows):
    # Rows of (name, source, fields).
    people = {}
    for name, source, fields in rows:
        people.setdefault(name, []).append((source, fields["round"]))
    for name, photos in people.items():
        assert sorted(source for source, _ in photos) == SOURCES, (name, photos)
        assert len({value for _, value in photos}) == 1, (name, photos)
    return people

def read(rng, deadline):
    count = 0
    with Gallery(folder) as gallery:
        while time.monotonic() < deadline:
            kind = rng.choice(["search", "best", "entries", "read", "info", "some"])
            if kind == "search":
                [matches] = gallery.search(np.ones((1, 3)), k=10**6)
                whole([(m.name, m.source, m.fields) for m in matches])
                assert len({m.id for m in matches}) == len(matches)
                for match in matches:
                    assert abs(match.cosine - COSINES[match.source]) < 1e-6, match
            elif kind == "best":
                [matches] = gallery.search(np.ones((1, 3)), k=10**6, by="best")
                assert {m.source for m in matches} <= {"2"}
            elif kind == "entries":
                whole([(e.name, e.source, e.fields) for e in gallery.entries()])
            elif kind == "read":
                rows = []
                for entries, units in gallery.read():
                    rows += [(e.name, e.source, e.fields) for e in entries]
                    own = [COSINES[e.source] for e in entries]
                    assert np.allclose(units @ np.ones(3) / 3**0.5, own, atol=1e-6)
                whole(rows)
            elif kind == "info":
                info = gallery.info()
                assert info.num_embeddings == 3 * info.num_people, info
            else:
                where = Filter(fields={"round": rng.randrange(5)})
                whole([(e.name, e.source, e.fields) for e in gallery.entries(where)])
            count += 1
    say("reader", count)

def write(rng, deadline):
    count = 0
    with Gallery(folder) as gallery:
        while time.monotonic() < deadline:
            names = list(gallery.names())
            kind = rng.choice(["add", "add", "remove", "ids", "rename", "update"])
            if kind == "add" or len(names) < 10:
                fields = [{"round": count % 5}] * 3
                gallery.add([f"p{count}"] * 3, vectors(count), SOURCES, fields)
            elif kind == "remove" or len(names) > 60:
                gallery.remove_person(rng.choice(names))
            elif kind == "ids":
                where = Filter([rng.choice(names)])
                gallery.remove([entry.id for entry in gallery.entries(where)])
            elif kind == "rename":
                name, fields = rng.choice(names), {"round": count % 5}
                gallery.update_person(name, f"r{count}", fields)
            else:
                gallery.update_person(rng.choice(names), None, {"round": count % 5})
            count += 1
        gallery.verify()
    say("writer", count)

# What the first search imports takes a while from a cold disk: once, not in each.
with Gallery(folder) as gallery:
    gallery.add(["first"] * 3, vectors(0), SOURCES, [{"round": 0}] * 3)
    gallery.search(np.ones((1, 3)))
deadline = time.monotonic() + seconds
children = []
for number in range(num_readers):
    child = os.fork()
    if child == 0:
        read(random.Random(number), deadline)
        sys.exit()
    children.append(child)
write(random.Random(num_readers), deadline)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(any(codes))
"""


def test_eight_readers_and_a_writer_never_meet_half_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    Gallery.create(folder, 3).close()
    package = Path(facever.__file__).parents[1]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            READERS_AND_WRITER,
            str(folder),
            str(SECONDS),
            str(NUM_READERS),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    changes = [count for kind, count in said if kind == "writer"]
    reads = [count for kind, count in said if kind == "reader"]
    print(f"{changes} changes; reads {sorted(reads)}")
    assert len(changes) == 1
    assert len(reads) == NUM_READERS
    assert changes[0] > 0
    assert min(reads) > 0
