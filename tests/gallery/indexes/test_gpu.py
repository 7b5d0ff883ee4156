"""Exact search on a GPU; its code runs on the CPU's torch where there is none."""

import logging

import numpy as np
import pytest
import torch

from facever.gallery.folder import index_building
from facever.gallery.folder.gallery import Gallery
from facever.gallery.indexes import gpu as gpu_index
from facever.gallery.indexes.exact import ExactIndex
from facever.gallery.indexes.gpu import GpuIndex

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    ),
]


def unit(rng: np.random.Generator, rows: int, size: int) -> np.ndarray:
    vectors = rng.normal(size=(rows, size))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, None])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_finds_what_sorting_all_cosines_finds(
    device: str, share: float | None, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_index, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(gpu_index, "_BLOCK_QUERIES", 3)
    rng = np.random.default_rng(3)
    enrolled, asked = unit(rng, 30, 8), unit(rng, 5, 8)
    index = GpuIndex(np.empty((0, 8), np.float32), device=device)
    for end in (1, 4, 30):
        index.add(enrolled[len(index) : end])
        allowed = None if share is None else rng.random(end) < share

        cosine, found = index.search(asked, k, allowed)

        rows = np.arange(end) if allowed is None else np.flatnonzero(allowed)
        for query, unit_asked in enumerate(asked.astype(float)):
            exact = enrolled[rows].astype(float) @ unit_asked
            order = np.argsort(-exact)[:k]
            fill = k - len(order)
            assert found[query].tolist() == [*rows[order], *[-1] * fill]
            expected = [*exact[order], *[-np.inf] * fill]
            np.testing.assert_allclose(cosine[query], expected, atol=1e-6)


def test_what_does_not_fit_is_searched_on_the_cpu_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(index: GpuIndex) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(GpuIndex, "_copy_more", full)
    index = GpuIndex(np.empty((0, 4), np.float32), device="cpu")
    index.add(np.eye(4, dtype=np.float32))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            _, found = index.search(np.eye(4, dtype=np.float32)[2:3], 1)
            assert found.tolist() == [[2]]
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU's memory does not hold 4 embeddings of 4 numbers; they are searched "
        "on the CPU"
    ]


@pytest.mark.parametrize(
    ("count", "has_gpu", "kind"),
    [(20, True, GpuIndex), (20, False, ExactIndex), (5, True, ExactIndex)],
)
def test_a_large_gallery_is_searched_on_a_gpu_that_is_there(
    count: int, has_gpu: bool, kind: type, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_building, "_MIN_ON_GPU", 10)
    device = "cuda" if has_gpu else "cpu"
    monkeypatch.setattr(index_building, "device_name", lambda: device)
    # Where there is none, the CPU stands in for it.
    make = GpuIndex.__init__
    monkeypatch.setattr(GpuIndex, "__init__", lambda *given: make(*given, device="cpu"))
    units = unit(np.random.default_rng(0), count, 8)
    with Gallery.create(tmp_path / "people", 8) as gallery:
        gallery.add([str(n) for n in range(count)], units, ["1"] * count)
        gallery.remove_person("3")
        for by in ("photo", "best", "mean"):
            [[match]] = gallery.search(units[4:5], 1, by=by)
            assert match.name == "4"
        [[match]] = gallery.search(units[3:4], 1)
        assert match.name != "3"
        assert type(gallery._searcher.refreshed().index) is kind
