import pickle

import numpy as np
import pytest

from facever.data.store.crop_store import CropStore
from facever.data.store.verifying import find_damage
from facever.data.store.writer import CropWriter
from facever.errors import FileError, MismatchError
from facever.faces.templates import TEMPLATES
from facever.stages.store.changes import compress_store, merge_stores
from facever.stages.store.export import export_store

CARD, SQUARE = TEMPLATES["112x96"], TEMPLATES["112x112"]
LISTING = [(f"{person}/{photo}.png", person) for person in "AB" for photo in "12"]


def write(folder, template, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 14, 14, 3)).repeat(12, 1).repeat(12, 2)
    crops = coarse[:, : template.height, : template.width].astype(np.uint8)
    settings = {"template": template.description}
    unknown = np.full((1, 5, 2), np.nan), np.array([np.nan])
    with CropWriter(folder, settings, LISTING) as writer:
        for (source, _), crop in zip(LISTING, crops, strict=True):
            writer.add(source, crop[None], *unknown)
        writer.finish()
    return crops


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_a_store_knows_its_template_and_gives_back_its_crops(tmp_path, name):
    template = TEMPLATES[name]
    crops = write(tmp_path / "s", template)
    store = CropStore.open(tmp_path / "s")
    assert store.template is template
    np.testing.assert_array_equal(store.crops_for(template), crops)
    assert not find_damage(tmp_path / "s")


@pytest.fixture(params=["pixels", "jpeg"])
def square(request, tmp_path):
    write(tmp_path / "pixels", SQUARE)
    if request.param == "jpeg":
        compress_store(tmp_path / "pixels", tmp_path / "jpeg", quality=100)
    return CropStore.open(tmp_path / request.param)


def test_a_wide_store_serves_a_card_by_its_middle_columns(square):
    seen = square.crops_for(CARD)
    assert seen.shape == (4, 112, 96, 3)
    assert len(seen) == 4
    whole = np.array(square.crops[:])
    for rows in (slice(1, 3), [3, 0], 2, np.array([True, False, False, True])):
        np.testing.assert_array_equal(seen[rows], whole[rows][..., 8:104, :])
    pickled = pickle.dumps(seen)
    assert len(pickled) < 2000, "the files are opened again, not sent"
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again[0], seen[0])


def test_a_card_store_serves_no_wider_model(tmp_path):
    write(tmp_path / "s", CARD)
    store = CropStore.open(tmp_path / "s")
    with pytest.raises(MismatchError, match="anew with --template 112x112"):
        store.crops_for(SQUARE)


def test_stores_of_two_templates_are_not_merged(tmp_path):
    write(tmp_path / "a", CARD)
    write(tmp_path / "b", SQUARE)
    with pytest.raises(MismatchError, match="other settings"):
        merge_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "c")


def test_a_template_of_the_future_is_refused(tmp_path):
    with pytest.raises(FileError, match="update facever"):
        CropWriter(tmp_path / "s", {"template": [[1.0, 2.0]] * 5}, LISTING)


def test_a_store_without_the_entry_is_of_cards(tmp_path):
    with CropWriter(tmp_path / "s", {}, LISTING) as writer:
        for source, _ in LISTING:
            writer.fail(source, "no face found")
        store = writer.finish()
    assert store.template is CARD


def test_exported_records_say_their_size(square, tmp_path):
    export_store(square.folder, tmp_path / "out", to="rec")
    assert (tmp_path / "out" / "property").read_text() == "2,112,112\n"
