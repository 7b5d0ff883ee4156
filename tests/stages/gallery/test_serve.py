import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from facever.errors import MismatchError, ParameterError
from facever.gallery.folder.gallery import Gallery
from facever.inference.embedder import load
from facever.runtimes import num_threads
from facever.stages.gallery import serve as stage
from facever.stages.gallery.enroll import create_for


@pytest.fixture
def model(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    return make_model(tmp_path / "model.safetensors")


@pytest.fixture
def people(tmp_path: Path, model: Path) -> Path:
    path = tmp_path / "people"
    embedder = load(model)
    Gallery.create(path, embedder.embedding_size, embedder.model_fingerprint).close()
    return path


@pytest.fixture(autouse=True)
def threads_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test changes ends with it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class Served:
    """The command in a process of its own, up to the line with its address."""

    def __init__(self, *arguments: object) -> None:
        words = [sys.executable, "-m", "facever", "gallery", "serve"]
        self.process = subprocess.Popen(
            [*words, *map(str, arguments), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(("open ", "}")):
                break
        found = re.search(r"http://[^\s\"]+", "".join(self.lines))
        assert found, self.process.communicate()
        self.address = found[0]

    def end(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate()
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def begin(*arguments: object) -> Served:
        started.append(Served(*arguments))
        return started[-1]

    yield begin
    for served in started:
        served.process.kill()
        served.process.communicate()


def test_serves_until_ctrl_c(people: Path, model: Path, start: Any) -> None:
    served = start(people, "--model", model)
    assert served.lines[0] == (
        f"{people}: 0 faces of 0 people; it is read-only (see --write)\n"
    )
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", served.address)
    assert "Ctrl-C stops the server" in served.lines[-1]
    with urllib.request.urlopen(f"{served.address}api/gallery") as answer:
        assert json.load(answer)["name"] == "people"

    code, out, err = served.end(signal.SIGINT)

    assert (code, out, err) == (0, f"{people}: the server has stopped\n", "")


def test_says_at_the_end_how_many_faces_were_refused() -> None:
    lines = [stage.StoppedServer("people", num).lines() for num in (0, 1, 12)]
    assert lines == [
        ["people: the server has stopped"],
        ["people: the server has stopped; refused for low quality: 1 face"],
        ["people: the server has stopped; refused for low quality: 12 faces"],
    ]


def test_cutoffs_of_what_the_gallerys_faces_do_not_have(
    tmp_path: Path, people: Path, model: Path
) -> None:
    def serve(gallery: Path, **min_quality: float) -> None:
        cutoffs = {name.replace("_", "-"): least for name, least in min_quality.items()}
        stage.serve(gallery, model, port=0, min_quality=cutoffs, when_ready=print)

    with pytest.raises(ParameterError, match="must name one of"):
        serve(people, sharp=1.0)
    with pytest.raises(ParameterError, match="sharpness must be a finite number"):
        serve(people, sharpness=float("inf"))
    of_crops = tmp_path / "of crops"
    embedder = load(model, detector="crops")
    create_for(of_crops, embedder).close()
    with pytest.raises(ParameterError, match="cannot name eye-distance with detector"):
        serve(of_crops, eye_distance=1.0)


def test_serves_others_with_a_token_until_sigterm(
    people: Path, model: Path, start: Any
) -> None:
    served = start(people, "--model", model, "--host", "0.0.0.0", "--write")
    token = served.address.partition("#token=")[2]
    assert f"Authorization: Bearer {token}\n" in served.lines
    port = served.address.partition("#")[0].rstrip("/").rpartition(":")[2]
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/gallery")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(asked)
    asked.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(asked) as answer:
        assert json.load(answer)["writable"] is True

    code, _, err = served.end(signal.SIGTERM)

    assert code == 143
    assert err == f"facever: {people}: SIGTERM ended the server, in good order\n"


@pytest.mark.parametrize(("how", "form"), [("option", []), ("environment", ["--json"])])
def test_a_token_that_the_user_chose_is_never_printed(
    people: Path,
    model: Path,
    start: Any,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    form: list[str],
) -> None:
    secret = "correct-horse-battery"
    if how == "environment":
        monkeypatch.setenv("FACEVER_TOKEN", secret)
    given = ["--token", secret] if how == "option" else []
    served = start(people, "--model", model, "--host", "0.0.0.0", *given, *form)
    _, out, err = served.end(signal.SIGINT)
    assert secret not in "".join(served.lines) + out + err


def test_says_as_json_where_it_is_and_the_token(
    people: Path, model: Path, start: Any
) -> None:
    served = start(people, "--model", model, "--host", "0.0.0.0", "--json")
    assert served.end(signal.SIGINT) == (0, "", "")
    ready = json.loads("".join(served.lines))
    assert ready["address"].endswith(f"#token={ready['token']}")
    assert (ready["gallery"], ready["num_people"]) == (str(people), 0)


def test_says_what_to_install(
    people: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "find_spec", lambda name: None)
    with pytest.raises(
        ParameterError,
        match=r"needs fastapi, uvicorn, python_multipart, .* 'facever\[serve\]'",
    ):
        stage.serve(people, model, when_ready=print)


def test_another_model_is_refused(
    people: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    other = make_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(MismatchError, match="was made for model"):
        stage.serve(people, other, port=0, when_ready=print)


def test_what_is_wrong_with_the_address_is_said_before_anything_is_read(
    tmp_path: Path,
) -> None:
    nothing = tmp_path / "nothing"
    with pytest.raises(ParameterError, match=r"port must be in \[0, 65535\]"):
        stage.serve(nothing, nothing, port=70_000, when_ready=print)
    with pytest.raises(ParameterError, match="a token must be 16 letters"):
        stage.serve(nothing, nothing, token="short", when_ready=print)


def test_importing_the_stage_takes_no_web_packages() -> None:
    code = (
        "import sys, facever, facever.cli.gallery, facever.stages.gallery.serve;"
        "print(sorted({'fastapi', 'starlette', 'uvicorn'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert finished.stdout == "[]\n"


@pytest.mark.realdata
def test_real_photos_are_found_and_told_apart(
    tmp_path: Path, data_folder: Path, people: Path, model: Path, types_unchecked: None
) -> None:
    """With the real detector; the tiny network knows a photo again, if no person."""
    from facever.serving.app import create_app
    from facever.serving.binding import choose_access
    from facever.serving.face_reader import FaceReader
    from facever.serving.gallery_thread import GalleryThread

    embedder = load(model)
    thread = GalleryThread(people, embedder.model_fingerprint)
    app = create_app(
        thread,
        FaceReader(embedder),
        choose_access("127.0.0.1", None),
        write=True,
    )
    photos = data_folder / "lfw-deepfunneled"
    with TestClient(app, base_url="http://localhost") as client:
        for name in ("Aaron_Eckhart", "Abdullah"):
            content = (photos / name / f"{name}_0001.jpg").read_bytes()
            added = client.post(
                "/api/photos", data={"name": name}, files={"photo": content}
            )
            assert added.status_code == 201
            assert (added.json()["width"], added.json()["height"]) == (250, 250)
            answer = client.post("/api/search", files={"photo": content}).json()
            assert answer["matches"][0]["name"] == name
            assert answer["matches"][0]["cosine"] == pytest.approx(1, abs=1e-5)
            left, top, right, bottom = answer["faces"][0]["box"]
            # LFW's faces stand in the middle.
            assert left < 125 < right
            assert top < 125 < bottom
        nobody = (data_folder / "photos" / "no_face.png").read_bytes()
        answer = client.post("/api/search", files={"photo": nobody})
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("no face found in this photo; is it")
        group = (data_folder / "photos" / "group-t1.jpg").read_bytes()
        answer = client.post("/api/search", files={"photo": group}, data={"face": 3})
        assert len(answer.json()["faces"]) >= 6
    thread.close()


@pytest.mark.parametrize(
    ("num_cpus", "asked", "expected"), [(1, "", 1), (2, "", 1), (6, "", 3), (6, "5", 5)]
)
def test_each_network_gets_half_of_the_processors(
    people: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_cpus: int,
    asked: str,
    expected: int,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(num_cpus)))
    found = []

    def stop(*model: object, **options: object) -> None:
        found.append(num_threads())
        raise MismatchError("loaded")

    monkeypatch.setattr(stage, "load", stop)
    with pytest.raises(MismatchError, match="loaded"):
        stage.serve(people, port=0, when_ready=print)
    assert found == [expected]
