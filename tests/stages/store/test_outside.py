"""Nothing is written into the folder that is read."""

import pytest

INSIDE = "must not be inside STORE"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["merge", "{store}", "--out", "{inside}"], "--out must not be inside STORES"),
        (["subset", "{store}", "{inside}"], f"OUT {INSIDE}"),
        (["split", "{store}", "{inside}", "{beside}"], f"FIRST {INSIDE}"),
        (["split", "{store}", "{beside}", "{inside}"], f"SECOND {INSIDE}"),
        (["compress", "{store}", "{inside}"], f"OUT {INSIDE}"),
        (["export", "{store}", "{inside}", "--to", "tar"], f"OUT {INSIDE}"),
        (["clean", "{store}", "{inside}", "--embeddings", "e.npz"], f"OUT {INSIDE}"),
        (["clean", "{store}", "lists", "--apply", "{inside}"], f"--apply {INSIDE}"),
    ],
)
def test_a_store_is_not_written_into(tmp_path, make_store, command, arguments, said):
    store = make_store(tmp_path / "store", (2, 2))
    (tmp_path / "link").symlink_to(store)
    before = sorted(tmp_path.rglob("*"))
    for inside in (store / "new", tmp_path / "link" / "a" / "b"):
        places = {"store": store, "inside": inside, "beside": tmp_path / "new"}
        done = command("data", *(each.format(**places) for each in arguments))
        assert done.code == 2
        assert f"{said}, got {inside} in {store}: " in done.err
        assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_is_appended_to_is_its_own_place(tmp_path, make_store, command):
    store = make_store(tmp_path / "store", (2, 2))
    assert command("data", "merge", store, "--out", store).code == 0
