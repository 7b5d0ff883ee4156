"""Two hundred random kills amid changes: what was acknowledged is there, no more."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import facever
from facever.gallery.entries import Entry
from facever.gallery.folder.gallery import Gallery

NUM_KILLS = 200

# Forks a child for each line that it reads, so that Python starts once. A child changes
# the gallery at random until it is killed: it says what it is about to do, does it, and
# says "done".
WORKER = """
import json, os, random, sys
import numpy as np
from facever.gallery.folder.gallery import Gallery

def say(word):
    os.write(1, (json.dumps(word) + "\\n").encode())

def work(folder, seed):
    rng = random.Random(seed)
    with Gallery(folder) as gallery:
        for count in range(10**6):
            id_of = {entry.source: entry.id for entry in gallery.entries()}
            kind = rng.choice(["add", "add", "remove", "update", "rename"])
            some = rng.sample(sorted(id_of), min(len(id_of), rng.randint(1, 3)))
            if kind == "add" or not id_of:
                rows = [f"{seed}-{count}-{row}" for row in range(rng.randint(1, 3))]
                say(["add", rows])
                gallery.add(rows, np.eye(3)[: len(rows)], rows)
            elif kind == "remove":
                say(["remove", some])
                gallery.remove([id_of[source] for source in some])
            elif kind == "update":
                say(["update", some, count])
                ids = [id_of[source] for source in some]
                gallery.update(ids, fields={"count": count})
            else:
                name = rng.choice(gallery.entries()).name
                say(["rename", name, f"{seed}-{count}"])
                gallery.update_person(name, f"{seed}-{count}")
            say("done")

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        work(sys.argv[1], int(line))
    say(child)
    os.waitpid(child, 0)
    say("killed")
"""

State = dict[str, tuple[str, int | None]]


def state_of(entries: list[Entry]) -> State:
    """Name and count by source; a source is unique here."""
    return {e.source: (e.name, e.fields.get("count")) for e in entries}


def apply(state: State, change: list) -> State:
    kind, values = change[0], change[1:]
    if kind == "add":
        return state | {source: (source, None) for source in values[0]}
    if kind == "remove":
        return {source: at for source, at in state.items() if source not in values[0]}
    if kind == "update":
        some, count = values
        return {s: (n, count if s in some else c) for s, (n, c) in state.items()}
    old, new = values
    return {s: (new if n == old else n, c) for s, (n, c) in state.items()}


def test_every_acknowledged_change_survives_200_random_kills(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    Gallery.create(folder, 3).close()
    package = Path(facever.__file__).parents[1]
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"},
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    state: State = {}
    num_acknowledged = num_halfway = num_kept = 0
    rng = random.Random(0)
    with Gallery(folder) as reader:
        for seed in range(NUM_KILLS):
            worker.stdin.write(f"{seed}\n")
            worker.stdin.flush()
            first = json.loads(worker.stdout.readline())
            said = []
            while not isinstance(first, int):  # A child may speak before its parent.
                said.append(first)
                first = json.loads(worker.stdout.readline())
            if not said:
                said.append(json.loads(worker.stdout.readline()))
            time.sleep(rng.uniform(0, 0.03))
            os.kill(first, signal.SIGKILL)
            while (word := json.loads(worker.stdout.readline())) != "killed":
                said.append(word)

            halfway = None
            for word in said:
                if word == "done":
                    state, halfway = apply(state, halfway), None
                    num_acknowledged += 1
                else:
                    halfway = word
            with Gallery(folder) as gallery:
                found = state_of(gallery.entries())
                assert gallery.verify() == len(found)
            if halfway is not None and found != state:
                state = apply(state, halfway)
                num_kept += 1
            num_halfway += halfway is not None
            assert found == state, f"kill {seed}: {halfway}"
            if seed % 20 == 0:
                [matches] = reader.search(np.ones((1, 3)), k=10**6)
                assert sorted(match.source for match in matches) == sorted(found)
    worker.stdin.close()
    worker.wait()
    print(
        f"{num_acknowledged} changes acknowledged; {num_halfway} of {NUM_KILLS} kills "
        f"halfway through one, {num_kept} of which had reached the disk"
    )
    assert num_halfway > NUM_KILLS // 4
