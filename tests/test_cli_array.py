"""``--array``: embeddings under other names give what they give under ours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]

IMAGES = [f"P{p}/P{p}_000{n}.jpg" for p in range(3) for n in (1, 2)]
PAIRS = [(0, 1), (0, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 1), (1, 4)]


@pytest.fixture
def world(tmp_path: Path, make_store: Callable[..., Path]) -> Path:
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    make_store(tmp_path / "crops", (2, 2, 2))
    crops = [f"P{p}/{n}.png" for p in range(3) for n in range(2)]
    for name, images in (("photos", IMAGES), ("crops", crops)):
        np.savez(tmp_path / f"{name}.npz", embeddings=vectors, images=images)
        np.savez(tmp_path / f"their-{name}.npz", features=vectors, paths=images)
    rows = [
        f"{IMAGES[a]},{IMAGES[b]},{int(a // 2 == b // 2)},{place // 4}"
        for place, (a, b) in enumerate(PAIRS)
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(["left,right,same,fold", *rows]))
    lists = [f"{image},{image[:2]}" for image in IMAGES]
    (tmp_path / "gallery.csv").write_text("\n".join(["image,identity", *lists[::2]]))
    (tmp_path / "probes.csv").write_text("\n".join(["image,identity", *lists[1::2]]))
    return tmp_path


CALLS = {
    "evaluate pairs": "evaluate pairs --embeddings {e}photos.npz --pairs {w}/pairs.csv "
    "--out {o} --no-pca",
    "evaluate identify": "evaluate identify --embeddings {e}photos.npz --gallery "
    "{w}/gallery.csv --probes {w}/probes.csv --out {o}",
    "gallery add": "gallery add {o} {e}photos.npz",
    "gallery search": "gallery search {w}/people {e}photos.npz",
    "cluster": "cluster {e}photos.npz {o} --threshold 0.2",
    "data clean": "data clean {w}/crops {o} --embeddings {e}crops.npz --outlier-far "
    "0.3 --alike-far 0.3 --duplicate 0.3",
}


@pytest.mark.parametrize("name", CALLS)
def test_other_names_give_the_same(world: Path, command: Command, name: str) -> None:
    command("gallery", "add", world / "people", world / "photos.npz")

    def run(embeddings: str, out: str, *more: str) -> Any:
        places = {"w": world, "e": f"{world}/{embeddings}", "o": world / out}
        words = CALLS[name].format(**places).split()
        finished = command(*words, *more)
        assert finished.code == 0, finished.err
        return finished.out.replace(str(world / out), "OUT")

    ours = run("", "ours")
    assert ours
    assert run("their-", "theirs", "--array", "features,paths") == ours


@pytest.mark.parametrize("name", CALLS)
def test_the_option_is_named_where_arrays_are_missing(
    world: Path, command: Command, name: str
) -> None:
    command("gallery", "add", world / "people", world / "photos.npz")
    places = {"w": world, "e": f"{world}/their-", "o": world / "out"}
    finished = command(*CALLS[name].format(**places).split())
    assert finished.code == 2
    assert "it has features, paths" in finished.err
    assert "--array" in finished.err


@pytest.mark.parametrize(
    "call",
    [
        "evaluate pairs no.model --photos . --pairs p --out {o}",
        "gallery add {o} . --model no.model",
        "gallery search {o} . --model no.model",
        "cluster . {o} --model no.model",
        "data clean . {o} --model no.model",
    ],
)
def test_names_of_arrays_without_an_npz(
    command: Command, tmp_path: Path, call: str
) -> None:
    words = call.format(o=tmp_path / "out").split()
    finished = command(*words, "--array", "features")
    assert finished.code == 2
    assert finished.err == (
        "facever: array names the arrays of an .npz of embeddings, and none is given; "
        "got 'features'\n"
    )
    assert list(tmp_path.iterdir()) == []
