import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from facever.errors import FileError, GalleryError, MismatchError
from facever.gallery.folder.gallery import Gallery
from facever.inference.embedder import Embedder
from facever.serving.gallery_thread import GalleryThread


def test_many_threads_ask_one(folder: Path, embedder: Embedder) -> None:
    people = GalleryThread(folder, embedder.model_fingerprint)

    def ask(_: int) -> tuple[int, int]:
        return people.ask(lambda gallery: (len(gallery), threading.get_ident()))

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(ask, range(200)))
    assert len(answers) == 1
    [(count, thread)] = answers
    assert count == 2
    assert thread != threading.get_ident()
    people.close()


def test_errors_reach_who_asked_and_the_thread_goes_on(
    folder: Path, embedder: Embedder
) -> None:
    people = GalleryThread(folder, embedder.model_fingerprint)
    with pytest.raises(GalleryError, match="nobody is enrolled as 'Cy'"):
        people.ask(lambda gallery: gallery.remove_person("Cy"))
    assert people.ask(Gallery.names) == {"Ann": 1, "Bob": 1}
    people.close()


def test_what_cannot_be_opened_leaves_no_thread(tmp_path: Path, folder: Path) -> None:
    before = threading.active_count()
    with pytest.raises(FileError, match="no such gallery"):
        GalleryThread(tmp_path / "nothing", "model")
    with pytest.raises(MismatchError):
        GalleryThread(folder, "another model")
    assert threading.active_count() == before
