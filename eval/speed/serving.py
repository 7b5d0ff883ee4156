"""The web page's server: seconds until a photo's search is answered, for many users.

    python eval/speed/serving.py --photos LFW --before CHECKOUT

Makes a gallery of random unit embeddings and some people of the photos, and starts
``facever gallery serve`` in a process of its own: of this checkout, and of an older one
where it is given. Users send photo after photo, each when the last answer has come. The
servers take turns, so that a busy machine slows both; the processor's time is compared,
too, which says more on a machine that others use. Then every photo's answers are
compared, and decoding, detecting, embedding and searching are timed alone, for one
photo and for several together. Takes about five minutes.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from spread import spread

from facever.choices import DEFAULT_MODEL
from facever.data.sources.any_source import find_photos
from facever.environment import describe_machine, describe_versions
from facever.faces.photos import decode_photo
from facever.gallery.opening import create_gallery, open_gallery
from facever.inference.embedder import load

_REFERENCE = Path(__file__).parents[1] / "reference" / "speed-serving.json"
_TOGETHER = (1, 8, 32)
_ENROLLED = 100
Answer = dict[str, Any]


def main() -> None:
    """Measure, compare, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--before", type=Path, help="an older checkout of facever")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=400, help="photos")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=6, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=_REFERENCE)
    options = parser.parse_args()
    listed = find_photos(options.photos).photos
    every = listed[:: max(1, len(listed) // options.count)][: options.count]
    paths = [photo.path for photo in every]
    with TemporaryDirectory() as folder:
        gallery = Path(folder) / "gallery"
        enroll(gallery, options, paths)
        result = {
            "what": "seconds from a photo sent to its search answered, by HTTP",
            "num_enrolled": options.rows + _ENROLLED,
            "num_photos": len(paths),
            "rounds": options.rounds,
            "seconds_of_a_turn": options.seconds,
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            **measure_servers(gallery, options, paths),
            "milliseconds_a_photo_alone": time_stages(gallery, options, paths),
            "load_average_1min_at_the_end": round(os.getloadavg()[0], 1),
            "machine": describe_machine(),
            "versions": describe_versions(),
        }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def enroll(gallery: Path, options: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Make the gallery, with the first photos' people in it."""
    embedder = load(options.model)
    rng = np.random.default_rng(0)
    nobody = rng.standard_normal((options.rows, embedder.embedding_size), np.float32)
    known = embedder.embed(paths[:_ENROLLED], on_error="skip")
    places = [*range(options.rows), *known.kept]
    with create_gallery(
        gallery, embedder.embedding_size, embedder.model_fingerprint
    ) as people:
        names = [f"Nobody {place}" for place in range(options.rows)]
        names += [paths[place].parent.name for place in known.kept]
        people.add(
            names,
            np.concatenate([nobody, known.embeddings]),
            [f"{name}/{place}" for name, place in zip(names, places, strict=True)],
        )
        people.search(nobody[:1])  # Writes the index.


def measure_servers(
    gallery: Path, options: argparse.Namespace, paths: Sequence[Path]
) -> dict[str, Any]:
    model = options.model
    if Path(model).exists():
        model = str(Path(model).absolute())
    bodies = [form_of(path.read_bytes()) for path in paths]
    checkouts = {"now": Path(__file__).parents[2]}
    if options.before:
        checkouts = {"before": options.before.absolute()} | checkouts
    starts: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    for _ in range(options.rounds):
        for name, checkout in checkouts.items():
            server = Server(checkout, gallery, model)
            starts[name].append(
                (server.seconds_until_ready, server.processor_seconds())
            )
            server.stop()
    servers = {
        name: Server(checkout, gallery, model) for name, checkout in checkouts.items()
    }
    turns: dict[str, dict[int, list[Turn]]] = {
        name: {users: [] for users in options.users} for name in servers
    }
    for server in servers.values():
        ask_all(server.address, bodies[:40], users=4, seconds=60)
    for turn in range(options.rounds):
        for users in options.users:
            for name, server in servers.items():
                used = server.processor_seconds()
                found = ask_all(server.address, bodies, users, options.seconds)
                found.processor = server.processor_seconds() - used
                turns[name][users].append(found)
                print(f"{turn + 1}: {name}, {users} users: {found.rate:.1f} a second")
    held = {name: server.describe_process() for name, server in servers.items()}
    for server in servers.values():
        server.stop()
    result: dict[str, Any] = {
        name: {
            "seconds_until_ready": spread([clock for clock, _ in starts[name]]),
            "processor_seconds_until_ready": spread(
                [processor for _, processor in starts[name]]
            ),
            **held[name],
            **{
                f"{users} users": describe_turns(own)
                for users, own in turns[name].items()
            },
        }
        for name in servers
    }
    if options.before:
        result["now_beside_before"] = {
            f"{users} users": compare_turns(turns["before"][users], turns["now"][users])
            for users in options.users
        }
        result["answers_compared"] = compare_answers(
            *([turn for own in turns[name].values() for turn in own] for name in turns)
        )
    return result


class Server:
    """``facever gallery serve`` in a process, as it is after its line with the address.

    Attributes:
        address: Host and port.
        seconds_until_ready: From the start of the process to that line.
    """

    def __init__(self, checkout: Path, gallery: Path, model: str) -> None:
        words = ["-m", "facever", "gallery", "serve", str(gallery), "--model", model]
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, *words, "--port", "0"],
            # Python would import from its working directory first.
            cwd=gallery.parent,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://\S+", line):
                break
        else:
            raise SystemExit("the server has not started")
        self.seconds_until_ready = time.perf_counter() - started
        self.address = urlsplit(found[0]).netloc

    def describe_process(self) -> dict[str, Any]:
        """What it has loaded, and the most memory that it held; on Linux."""
        process = Path("/proc") / str(self._process.pid)
        peak = re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())
        assert peak is not None
        return {
            "loaded_torch": "libtorch" in (process / "maps").read_text(),
            "most_memory_mb": int(peak[1]) // 1024,
        }

    def processor_seconds(self) -> float:
        """That it has used up to now, as far as the system says."""
        stat = (Path("/proc") / str(self._process.pid) / "stat").read_text()
        ticks = stat.rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it in good order."""
        self._process.terminate()
        self._process.communicate()


@dataclass
class Turn:
    """What some users were answered.

    Attributes:
        seconds: From each request to its answer.
        answers: What each photo that was sent got, by its place.
        took: Seconds of all.
        processor: Seconds of the processor that the server used meanwhile.
        statuses: The codes of what was no answer.
    """

    seconds: list[float] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    took: float = 0.0
    processor: float = 0.0
    statuses: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.took

    @property
    def cost(self) -> float:
        """Milliseconds of the processor for an answer."""
        return 1000 * self.processor / len(self.seconds)


def ask_all(address: str, bodies: Sequence[bytes], users: int, seconds: float) -> Turn:
    """Let users send photos, each photo after the answer to the last."""
    turn, started = Turn(), time.perf_counter()
    places = iter([*range(len(bodies))] * 1000 if seconds < 60 else range(len(bodies)))
    one = threading.Lock()

    def ask() -> None:
        connection = HTTPConnection(address)
        while time.perf_counter() - started < seconds:
            with one:
                place = next(places, None)
            if place is None:
                break
            begun = time.perf_counter()
            headers = {"Content-Type": "multipart/form-data; boundary=photo"}
            connection.request("POST", "/api/search", bodies[place], headers)
            answer = connection.getresponse()
            content = answer.read()
            took = time.perf_counter() - begun
            with one:
                if answer.status in (200, 422):  # 422: no face is found.
                    turn.seconds.append(took)
                    turn.answers[place] = json.loads(content)
                else:
                    turn.statuses.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turn.took = time.perf_counter() - started
    return turn


def form_of(content: bytes) -> bytes:
    head = b'--photo\r\nContent-Disposition: form-data; name="photo"; filename="p"\r\n'
    return head + b"\r\n" + content + b"\r\n--photo--\r\n"


def describe_turns(turns: Sequence[Turn]) -> dict[str, Any]:
    together = [value for turn in turns for value in turn.seconds]
    return {
        "answers_a_second": spread([turn.rate for turn in turns]),
        "median_milliseconds": milliseconds(together, 50),
        "99th_percentile_milliseconds": milliseconds(together, 99),
        "processor_milliseconds_an_answer": spread([turn.cost for turn in turns]),
        "num_answers": len(together),
        "num_refused": sum(len(turn.statuses) for turn in turns),
    }


def compare_turns(before: Sequence[Turn], now: Sequence[Turn]) -> dict[str, Any]:
    pairs = list(zip(before, now, strict=True))
    return {
        "times_the_answers_a_second": spread([b.rate / a.rate for a, b in pairs]),
        "part_of_the_processor_time": spread([b.cost / a.cost for a, b in pairs]),
        **{
            f"part_of_the_{name}": spread(
                [
                    float(
                        np.percentile(b.seconds, rank) / np.percentile(a.seconds, rank)
                    )
                    for a, b in pairs
                ]
            )
            for name, rank in (("median", 50), ("99th_percentile", 99))
        },
    }


def compare_answers(before: Sequence[Turn], now: Sequence[Turn]) -> dict[str, Any]:
    """Whether all answers to a photo are the same, whoever else asked at the time."""
    firsts: dict[int, Answer] = {}
    num_compared = num_others = 0
    cosine_difference = 0.0
    for turn in (*before, *now):
        for place, found in turn.answers.items():
            first = firsts.setdefault(place, found)
            num_compared += 1
            if summary(first) != summary(found):
                num_others += 1
            elif "matches" in found:
                gaps = np.subtract(cosines(first), cosines(found))
                cosine_difference = max(cosine_difference, float(np.abs(gaps).max()))
    return {
        "num_answers": num_compared,
        "num_with_other_faces_or_names": num_others,
        "largest_difference_of_a_cosine": cosine_difference,
    }


def summary(found: Answer) -> Any:
    best = found.get("matches", [{}])[0].get("id")
    return found.get("error"), best, len(found.get("faces", []))


def cosines(found: Answer) -> list[float]:
    return [match["cosine"] for match in found["matches"]]


def time_stages(
    gallery: Path, options: argparse.Namespace, paths: Sequence[Path]
) -> dict[str, dict[str, float]]:
    """Milliseconds a photo of each stage without a server, for several together."""
    embedder = load(options.model)
    contents = [path.read_bytes() for path in paths[:64]]
    images = [decode_photo(content) for content in contents]
    crops = np.concatenate([photo.crops[:1] for photo in embedder.align(images)])
    embeddings = embedder.embed_crops(crops)
    stages: dict[str, dict[str, float]] = {}
    with open_gallery(gallery, embedder.model_fingerprint) as people:
        people.search(embeddings[:1])
        for together in _TOGETHER:
            stages[f"{together} together"] = {
                "decode": stage(decode_each, contents, together),
                "detect": stage(
                    lambda some: embedder.align(some, "all"), images, together
                ),
                "embed": stage(embedder.embed_crops, crops, together),
                "search": stage(
                    lambda some: people.search(some, by="best"), embeddings, together
                ),
            }
    return stages


def decode_each(contents: Sequence[bytes]) -> None:
    for content in contents:
        decode_photo(content)


def stage(work: Any, things: Any, together: int) -> float:
    """The median over batches."""
    things = things[: len(things) // together * together]
    work(things[:together])
    taken = []
    for first in range(0, len(things), together):
        started = time.perf_counter()
        work(things[first : first + together])
        taken.append((time.perf_counter() - started) / together)
    return milliseconds(taken, 50)


def milliseconds(seconds: Sequence[float], rank: int) -> float:
    return round(1000 * float(np.percentile(seconds, rank)), 2)


if __name__ == "__main__":
    main()
