import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

import facever
from facever.data.store.crop_store import CropStore

Command = Callable[..., Any]


class _Trap:
    """Unpickling an instance writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "run"))


PAIRS = ["P0\t1\t2", "P0\t1\tP1\t1", "P1\t1\t2", "P0\t2\tP1\t2"]


def write_pairs(path: Path, changes: dict[int, str] | None = None) -> Path:
    """Two folds of a genuine and an impostor pair, as LFW's pairs.txt has them."""
    lines = [(changes or {}).get(number, pair) for number, pair in enumerate(PAIRS)]
    path.write_text("\n".join(["2\t1", *lines]) + "\n")
    return path


COLUMNS = "left,right,same,fold"
FIRST_FOLD = ["P0/P0_0001.jpg,P0/P0_0002.jpg,1,1", "P0/P0_0001.jpg,P1/P1_0001.jpg,0,1"]
TABLES = {
    "pairs.csv": [
        COLUMNS,
        *FIRST_FOLD,
        "P1/P1_0001.jpg,P1/P1_0002.jpg,1,2",
        "P0/P0_0002.jpg,P1/P1_0002.jpg,0,2",
    ],
    "half_a_row.csv": [COLUMNS, FIRST_FOLD[0], "P0/P0_0001.jpg,P1/P1_0001.jpg"],
    "one_fold.csv": [COLUMNS, *FIRST_FOLD],
    "itself.csv": [COLUMNS, "P0/P0_0001.jpg,P0/P0_0001.png,1,1"],
    "splits.txt": [
        *("1, 1, P0/0, P0/1, 1", "1, 2, P0/0, P1/0, 0"),
        *("2, 1, P1/0, P1/1, 1", "2, 2, P0/1, P1/1, 0"),
    ],
    "half_a_split.txt": ["1, 1, P0/0, P0/1, 1", "1, 2, P0/0, 0"],
    "gallery.csv": ["image,identity", "P0/P0_0001.jpg,P0", "P1/P1_0001.jpg,P1"],
    "probes.csv": ["image,identity", "P0/P0_0002.jpg,P0"],
    "strangers.csv": ["image,identity", "P1/P1_0002.jpg,Eve"],
    "nobody.csv": ["image,identity", "P0/P0_0002.jpg"],
}


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    make_store: Callable[..., Path],
    make_model: Callable[..., Path],
) -> Path:
    """A folder with one good and many bad inputs of each kind; nobody writes to it."""
    folder = tmp_path_factory.mktemp("world")
    make_store(folder / "crops", (3, 3))
    make_store(folder / "one_person", (4,))
    model = make_model(folder / "model.safetensors")
    content = model.read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "pickle.safetensors").write_bytes(pickle.dumps(_Trap(folder / "mark")))
    (folder / "checkpoint.pt").write_bytes(b"state")
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "readme.txt").write_text("no photo")
    (folder / "text.txt").write_text("no photo")
    (folder / "bad.jpg").write_text("no photo")
    cv2.imwrite(str(folder / "wall.png"), np.full((90, 90, 3), 180, np.uint8))
    damaged = folder / "damaged"
    shutil.copytree(folder / "crops", damaged)
    (damaged / "crops.npy").write_bytes(b"\x93NUMPY" + b"\x00" * 20)
    shutil.copytree(folder / "crops", folder / "short")
    np.save(folder / "short" / "crops.npy", np.zeros((2, 112, 96, 3), np.uint8))

    config = {
        "data": {"crops": str(folder / "crops")},
        "network": {"name": "resnet27", "width": 1 / 16, "embedding_size": 16},
        "batch_size": 3,
        "schedule": {"steps": 3, "drops": []},
        "device": "cpu",
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    (folder / "list.yaml").write_text("- a\n- b\n")
    # Each line holds the one above nine times; the last, 9 ** 9 times a word.
    bomb = ['k0: &k0 ["lol"]']
    for n in range(1, 10):
        bomb.append(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]")
    (folder / "bomb.yaml").write_text("\n".join([*bomb, "out: *k9"]))
    (folder / "loop.yaml").write_text("data: &a [*a]")
    (folder / "deep.yaml").write_text("out: " + "[" * 5000)
    (folder / "broken.yaml").write_text("data: {crops: [")
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    (folder / "typo.yaml").write_text(yaml.safe_dump({**config, "epochs": 3}))
    inner = {**config, "data": {**config["data"], "crop": "x"}}
    (folder / "inner_typo.yaml").write_text(yaml.safe_dump(inner))
    (folder / "no_data.yaml").write_text("batch_size: 3\n")

    write_pairs(folder / "pairs.txt")
    write_pairs(folder / "half_a_pair.txt", {0: "P0\t1"})
    (folder / "empty.txt").write_text("")
    images = np.array([f"P{p}/P{p}_000{n}.jpg" for p in (0, 1) for n in (1, 2)])
    embeddings = np.eye(4, dtype=np.float32)
    np.savez(folder / "good.npz", embeddings=embeddings, images=images)
    np.savez(folder / "nameless.npz", embeddings=embeddings)
    np.savez(folder / "others.npz", embeddings=embeddings, images=images[::-1] + "x")
    np.savez(folder / "uneven.npz", embeddings=embeddings, images=images[:3])
    boxed = np.array([_Trap(folder / "mark")], dtype=object)
    np.savez(folder / "pickle.npz", embeddings=boxed, images=images[:1])
    for name, lines in TABLES.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    for name in ("report", "older"):
        (folder / name).mkdir()
        (folder / name / "scores.csv").write_text("model,fold,left,right,same,score\n")
    (folder / "report" / "report.json").write_text('{"models": [')
    (folder / "older" / "report.json").write_text('{"models": []}')
    return folder


# Arguments; {w} is the world, {o} a place for results. Then what the line must name.
BAD_INPUT: dict[str, tuple[str, list[str]]] = {
    "align: no such folder": ("align {w}/nowhere {o}", ["{w}/nowhere"]),
    "align: no such device": (
        "align {w} {o} --device cuda:99",
        ["'cuda:99'"],
    ),
    "align: empty folder": ("align {w}/empty {o}", ["no photos in {w}/empty"]),
    "align: folder of texts": ("align {w}/texts {o}", ["no photos in", ".txt"]),
    "align: a list of nonsense": ("align {w}/text.txt {o}", ["text.txt, line 1"]),
    "align: no landmark file": (
        "align {w} {o} --landmarks {w}/nowhere.txt",
        ["{w}/nowhere.txt"],
    ),
    "align: landmarks are text": (
        "align {w} {o} --landmarks {w}/text.txt",
        ["text.txt", "no line has a photo and 10 finite numbers"],
    ),
    "align: no workers": ("align {w} {o} --workers 0", ["workers", "got 0"]),
    "align: no pixels": ("align {w} {o} --max-pixels 0", ["max_pixels", "got 0"]),
    "detect: no pixels": ("detect {w} --max-pixels 0", ["max_pixels", "got 0"]),
    "verify: an address": (
        "verify https://example.org/a.jpg {w}/wall.png",
        ["example.org/a.jpg", "nothing is downloaded: fetch the file"],
    ),
    "align: an address": (
        "align https://example.org/a.jpg {o}",
        ["example.org/a.jpg", "nothing is downloaded: fetch the file"],
    ),
    "embed: an address for a model": (
        "embed https://example.org/model.onnx {w}/crops {o}.npz",
        ["example.org/model.onnx", "nothing is downloaded: fetch the file"],
    ),
    "verify: too large a photo": (
        "verify {w}/wall.png {w}/wall.png --model {w}/model.safetensors "
        "--max-pixels 8099",
        ["{w}/wall.png", "too large: 90x90 is over 8099 pixels"],
    ),
    "gallery add: no pixels": (
        "gallery add {o} {w}/wall.png --name Ann --model {w}/model.safetensors "
        "--max-pixels 0",
        ["max_pixels", "got 0"],
    ),
    "gallery search: no pixels": (
        "gallery search {o} {w}/wall.png --model {w}/model.safetensors --max-pixels 0",
        ["max_pixels", "got 0"],
    ),
    "cluster: no pixels": (
        "cluster {w} {o} --model {w}/model.safetensors --max-pixels 0",
        ["max_pixels", "got 0"],
    ),
    "gallery migrate: no pixels": (
        "gallery migrate {o} --model {w}/model.safetensors --max-pixels 0",
        ["max_pixels", "got 0"],
    ),
    "evaluate: no pixels": (
        "evaluate lfw {w}/model.safetensors --photos {w} "
        "--pairs {w}/pairs.txt --out {o} --max-pixels 0",
        ["max_pixels", "got 0"],
    ),
    "align: into a file": ("align {w} {w}/text.txt", ["{w}/text.txt"]),
    "align: into a full folder": (
        "align {w}/wall.png {w}/texts",
        ["not a crop store"],
    ),
    "align: into another's store": ("align {w}/wall.png {w}/crops", ["{w}/crops"]),
    "align: into its own source": (
        "align {w} {w}/crops/new",
        ["OUT must not be inside SOURCE", "{w}/crops/new"],
    ),
    "train: no such config": ("train {w}/nowhere.yaml", ["{w}/nowhere.yaml"]),
    "train: a folder for a config": ("train {w}/empty", ["{w}/empty"]),
    "train: not YAML": ("train {w}/broken.yaml", ["{w}/broken.yaml", "not YAML"]),
    "train: binary": ("train {w}/binary.yaml", ["{w}/binary.yaml", "not YAML"]),
    "train: aliases of aliases": (
        "train {w}/bomb.yaml",
        ["{w}/bomb.yaml", "over 10000 values"],
    ),
    "train: brackets in brackets": ("train {w}/deep.yaml", ["{w}/deep.yaml"]),
    "train: an alias of itself": (
        "train {w}/loop.yaml",
        ["{w}/loop.yaml", "over 10000 values"],
    ),
    "train: a list": ("train {w}/list.yaml", ["{w}/list.yaml", "keys and values"]),
    "train: unknown key": (
        "train {w}/typo.yaml out={o}",
        ["{w}/typo.yaml", "unknown key epochs", "schedule", "batch_size"],
    ),
    "train: unknown inner key": (
        "train {w}/inner_typo.yaml out={o}",
        ["unknown key data.crop;", "num_classes"],
    ),
    "train: unknown key given": (
        "train {w}/train.yaml out={o} schedule.epochs=2",
        ["unknown key schedule.epochs", "steps"],
    ),
    "train: unknown network option": (
        "train {w}/train.yaml out={o} network.depth=3",
        ["unknown key depth", "width"],
    ),
    "train: no data": ("train {w}/no_data.yaml out={o}", ["data is missing"]),
    "train: not key=value": ("train {w}/train.yaml out", ["key=value, got 'out'"]),
    "train: value is not YAML": (
        "train {w}/train.yaml out={o} seed=[",
        ["'seed=['", "not YAML"],
    ),
    "train: value out of range": (
        "train {w}/train.yaml out={o} batch_size=1",
        ["batch_size", "2", "got 1"],
    ),
    "train: no such crops": (
        "train {w}/train.yaml out={o} data.crops={w}/nowhere",
        ["{w}/nowhere"],
    ),
    "train: empty folder": (
        "train {w}/train.yaml out={o} data.crops={w}/empty",
        ["{w}/empty", "facever align"],
    ),
    "train: damaged crops": (
        "train {w}/train.yaml out={o} data.crops={w}/damaged",
        ["{w}/damaged/crops.npy"],
    ),
    "train: fewer crops than records": (
        "train {w}/train.yaml out={o} data.crops={w}/short",
        ["{w}/short", "2 crops"],
    ),
    "train: wrong class count": (
        "train {w}/train.yaml out={o} data.num_classes=3",
        ["num_classes is 3", "2 identities"],
    ),
    "train: one identity": (
        "train {w}/train.yaml out={o} data.crops={w}/one_person",
        ["at least 2 identities"],
    ),
    "train: no such device": (
        "train {w}/train.yaml out={o} device=cuda:99",
        ["'cuda:99'"],
    ),
    "train: into a file": ("train {w}/train.yaml out={w}/text.txt", ["{w}/text.txt"]),
    "embed: no such model": ("embed {w}/no.safetensors {w}/crops {o}.npz", ["{w}/no"]),
    "embed: model is text": ("embed {w}/text.txt {w}/crops {o}.npz", ["{w}/text.txt"]),
    "embed: model is cut": (
        "embed {w}/cut.safetensors {w}/crops {o}.npz",
        ["{w}/cut.safetensors", "copy it again"],
    ),
    "embed: model is a pickle": (
        "embed {w}/pickle.safetensors {w}/crops {o}.npz",
        ["{w}/pickle.safetensors"],
    ),
    "embed: no such crops": (
        "embed {w}/model.safetensors {w}/nowhere {o}.npz",
        ["{w}/nowhere"],
    ),
    "embed: photos for crops": (
        "embed {w}/model.safetensors {w}/texts {o}.npz",
        ["{w}/texts", "facever align"],
    ),
    "embed: crops before the model": (
        "embed {w}/crops {w}/model.safetensors {o}.npz",
        ["the model comes first", "facever embed {w}/model.safetensors {w}/crops"],
    ),
    "embed: a run's folder for its model": (
        "embed {w} {w}/crops {o}.npz",
        ["{w} is a folder", "did you mean {w}/model.safetensors"],
    ),
    "embed: another folder for a model": (
        "embed {w}/texts {w}/crops {o}.npz",
        ["{w}/texts is a folder", "a model file is meant"],
    ),
    "embed: a checkpoint for a model": (
        "embed {w}/checkpoint.pt {w}/crops {o}.npz",
        ["{w}/checkpoint.pt", "model.safetensors lies beside it"],
    ),
    "embed: another suffix": (
        "embed {w}/model.safetensors {w}/crops {o}.csv",
        [".npz", "{o}.csv"],
    ),
    "embed: into a file": (
        "embed {w}/model.safetensors {w}/crops {w}/text.txt/e.npz",
        ["{w}/text.txt/e.npz"],
    ),
    "embed: no crops at a time": (
        "embed {w}/model.safetensors {w}/crops {o}.npz --batch-size 0",
        ["batch_size", "got 0"],
    ),
    "evaluate: nothing to evaluate": (
        "evaluate lfw --pairs {w}/pairs.txt --out {o}",
        ["embeddings"],
    ),
    "evaluate: a model alone": (
        "evaluate lfw {w}/model.safetensors --pairs {w}/pairs.txt --out {o}",
        ["photos"],
    ),
    "evaluate: no pairs": (
        "evaluate lfw --embeddings {w}/good.npz --pairs {w}/nowhere --out {o}",
        ["{w}/nowhere"],
    ),
    "evaluate: empty pairs": (
        "evaluate lfw --embeddings {w}/good.npz --pairs {w}/empty.txt --out {o}",
        ["{w}/empty.txt"],
    ),
    "evaluate: pairs are a picture": (
        "evaluate lfw --embeddings {w}/good.npz --pairs {w}/wall.png --out {o}",
        ["{w}/wall.png"],
    ),
    "evaluate: half a pair": (
        "evaluate lfw --embeddings {w}/good.npz --pairs {w}/half_a_pair.txt --out {o}",
        ["{w}/half_a_pair.txt", "line 2"],
    ),
    "evaluate: no such embeddings": (
        "evaluate lfw --embeddings {w}/no.npz --pairs {w}/pairs.txt --out {o}",
        ["{w}/no.npz"],
    ),
    "evaluate: embeddings are text": (
        "evaluate lfw --embeddings {w}/text.txt --pairs {w}/pairs.txt --out {o}",
        ["{w}/text.txt"],
    ),
    "evaluate: embeddings are pickled": (
        "evaluate lfw --embeddings {w}/pickle.npz --pairs {w}/pairs.txt --out {o}",
        ["{w}/pickle.npz", "holds Python objects", "np.float32"],
    ),
    "evaluate: no names": (
        "evaluate lfw --embeddings {w}/nameless.npz --pairs {w}/pairs.txt --out {o}",
        ["{w}/nameless.npz", "images", "np.savez(path, embeddings=..., images=...)"],
    ),
    "evaluate: uneven": (
        "evaluate lfw --embeddings {w}/uneven.npz --pairs {w}/pairs.txt --out {o}",
        ["{w}/uneven.npz", "4 and 3"],
    ),
    "evaluate: every pair member missing": (
        "evaluate lfw --embeddings {w}/others.npz --pairs {w}/pairs.txt --out {o}",
        ["P0/P0_0001"],
    ),
    "evaluate: every photo missing": (
        "evaluate lfw {w}/model.safetensors --photos {w} --pairs {w}/pairs.txt "
        "--out {o}",
        ["{w}", "P0/P0_0001"],
    ),
    "evaluate: model is cut": (
        "evaluate lfw {w}/cut.safetensors --photos {w} --pairs {w}/pairs.txt --out {o}",
        ["{w}/cut.safetensors"],
    ),
    "evaluate: no dimensions": (
        "evaluate lfw --embeddings {w}/good.npz --pairs {w}/pairs.txt --out {o} "
        "--pca-components 0",
        ["pca_components", "got 0"],
    ),
    "evaluate: three pairs files": (
        "evaluate lfw --embeddings {w}/good.npz --pairs {w}/a --pairs {w}/b "
        "--pairs {w}/c --out {o}",
        ["got 3 pairs files"],
    ),
    "evaluate: View 1 is View 2": (
        "evaluate lfw --embeddings {w}/good.npz --pairs {w}/pairs.txt "
        "--pairs {w}/pairs.txt --out {o}",
        ["{w}/pairs.txt, line 1"],
    ),
    "evaluate: whitened without a PCA": (
        "evaluate lfw --embeddings {w}/good.npz --pairs {w}/pairs.txt --out {o} "
        "--no-pca --whiten",
        ["whiten needs a PCA"],
    ),
    "evaluate pairs: nothing to evaluate": (
        "evaluate pairs --pairs {w}/pairs.csv --out {o}",
        ["got none of them"],
    ),
    "evaluate pairs: no such list": (
        "evaluate pairs --embeddings {w}/good.npz --pairs {w}/no.csv --out {o}",
        ["{w}/no.csv"],
    ),
    "evaluate pairs: a picture": (
        "evaluate pairs --embeddings {w}/good.npz --pairs {w}/wall.png --out {o}",
        ["{w}/wall.png"],
    ),
    "evaluate pairs: half a row": (
        "evaluate pairs --embeddings {w}/good.npz --pairs {w}/half_a_row.csv --out {o}",
        ["{w}/half_a_row.csv, line 3", "got 2"],
    ),
    "evaluate pairs: a photo with itself": (
        "evaluate pairs --embeddings {w}/good.npz --pairs {w}/itself.csv --out {o}",
        ["{w}/itself.csv", "no threshold can be chosen"],
    ),
    "evaluate pairs: one fold": (
        "evaluate pairs --embeddings {w}/good.npz --pairs {w}/one_fold.csv --out {o}",
        ["no threshold can be chosen", "got 1 genuine"],
    ),
    "evaluate pairs: every photo missing": (
        "evaluate pairs --embeddings {w}/others.npz --pairs {w}/pairs.csv --out {o}",
        ["not there: P0/P0_0001.jpg; a similar name there: "],
    ),
    "evaluate pairs: the model is missing": (
        "evaluate pairs {w}/no.safetensors --crops {w}/crops --pairs {w}/pairs.csv "
        "--out {o}",
        ["{w}/no.safetensors"],
    ),
    "evaluate bin: no such set": (
        "evaluate bin {w}/model.safetensors {w}/no.bin --out {o}",
        ["{w}/no.bin"],
    ),
    "evaluate bin: a text": (
        "evaluate bin {w}/model.safetensors {w}/text.txt --out {o}",
        ["{w}/text.txt is no pickle"],
    ),
    "evaluate bin: a hostile pickle": (
        "evaluate bin {w}/model.safetensors {w}/pickle.safetensors --out {o}",
        ["{w}/pickle.safetensors byte"],
    ),
    "evaluate bin: no such model": (
        "evaluate bin {w}/no.safetensors {w}/no.bin --out {o}",
        ["{w}/no.safetensors"],
    ),
    "evaluate ytf: no such splits": (
        "evaluate ytf {w}/model.safetensors --photos {w} --splits {w}/no.txt --out {o}",
        ["{w}/no.txt"],
    ),
    "evaluate ytf: half a split": (
        "evaluate ytf {w}/model.safetensors --photos {w} --out {o} "
        "--splits {w}/half_a_split.txt",
        ["{w}/half_a_split.txt, line 2", "got 4 fields"],
    ),
    "evaluate ytf: no frames": (
        "evaluate ytf {w}/model.safetensors --photos {w} --splits {w}/splits.txt "
        "--out {o}",
        ["no frames in {w}", "{w}/P0/0"],
    ),
    "evaluate ytf: no such frame rule": (
        "evaluate ytf {w}/model.safetensors --photos {w} --splits {w}/splits.txt "
        "--out {o} --frames last:3",
        ["first:N", "'last:3'"],
    ),
    "evaluate blufr: nothing to evaluate": (
        "evaluate blufr --out {o}",
        ["got none of them"],
    ),
    "evaluate blufr: no such embeddings": (
        "evaluate blufr --embeddings {w}/no.npz --out {o}",
        ["{w}/no.npz"],
    ),
    "evaluate blufr: too few people": (
        "evaluate blufr --embeddings {w}/good.npz --out {o}",
        ["1,000 with two photos", "of 2 people"],
    ),
    "evaluate blufr: a negative seed": (
        "evaluate blufr --embeddings {w}/good.npz --out {o} --seed -1",
        ["seed", "got -1"],
    ),
    "evaluate blufr: no such trials": (
        "evaluate blufr --embeddings {w}/good.npz --out {o} --trials {w}/no.mat",
        ["{w}/no.mat"],
    ),
    "evaluate blufr: trials are text": (
        "evaluate blufr --embeddings {w}/good.npz --out {o} --trials {w}/text.txt",
        ["{w}/text.txt is no MATLAB file"],
    ),
    "evaluate identify: no such gallery": (
        "evaluate identify --embeddings {w}/good.npz --gallery {w}/no.csv "
        "--probes {w}/probes.csv --out {o}",
        ["{w}/no.csv"],
    ),
    "evaluate identify: probes are pairs": (
        "evaluate identify --embeddings {w}/good.npz --gallery {w}/gallery.csv "
        "--probes {w}/pairs.csv --out {o}",
        ["{w}/pairs.csv", "image, identity"],
    ),
    "evaluate identify: whose photo": (
        "evaluate identify --embeddings {w}/good.npz --gallery {w}/gallery.csv "
        "--probes {w}/nobody.csv --out {o}",
        ["{w}/nobody.csv, line 2"],
    ),
    "evaluate identify: strangers alone": (
        "evaluate identify --embeddings {w}/good.npz --gallery {w}/gallery.csv "
        "--probes {w}/strangers.csv --out {o}",
        ["needs a probe of somebody in the gallery", "'Eve'"],
    ),
    "evaluate identify: every photo missing": (
        "evaluate identify --embeddings {w}/others.npz --gallery {w}/gallery.csv "
        "--probes {w}/probes.csv --out {o}",
        ["'P0/P0_0001.jpg'"],
    ),
    "evaluate identify: nothing to evaluate": (
        "evaluate identify --gallery {w}/gallery.csv --probes {w}/probes.csv --out {o}",
        ["got none of them"],
    ),
    "evaluate compare: one report": (
        "evaluate compare {w}/report --out {o}",
        ["at least 2 reports, got 1"],
    ),
    "evaluate compare: the same report": (
        "evaluate compare {w}/report {w}/report/report.json --out {o}",
        ["different reports", "{w}/report"],
    ),
    "evaluate compare: no such report": (
        "evaluate compare {w}/nowhere {w}/report --out {o}",
        ["{w}/nowhere/report.json"],
    ),
    "evaluate compare: no report in it": (
        "evaluate compare {w}/empty {w}/report --out {o}",
        ["{w}/empty/report.json"],
    ),
    "evaluate compare: another file": (
        "evaluate compare {w}/text.txt {w}/report --out {o}",
        ["{w}/text.txt"],
    ),
    "evaluate compare: damaged": (
        "evaluate compare {w}/report {w}/older --out {o}",
        ["{w}/report", "evaluate again"],
    ),
    "evaluate compare: of another version": (
        "evaluate compare {w}/older {w}/report --out {o}",
        ["{w}/older", "evaluate again"],
    ),
    "evaluate compare: over a report": (
        "evaluate compare {w}/older {w}/report --out {w}/older",
        ["{w}/older", "another folder"],
    ),
    "model threshold: no such model": (
        "model threshold {w}/no.safetensors {w}/crops",
        ["{w}/no.safetensors"],
    ),
    "model threshold: model is cut": (
        "model threshold {w}/cut.safetensors {w}/crops",
        ["{w}/cut.safetensors", "copy it again"],
    ),
    "model threshold: no such crops": (
        "model threshold {w}/model.safetensors {w}/nowhere",
        ["{w}/nowhere"],
    ),
    "model threshold: damaged crops": (
        "model threshold {w}/model.safetensors {w}/damaged",
        ["{w}/damaged/crops.npy"],
    ),
    "model threshold: one identity": (
        "model threshold {w}/model.safetensors {w}/one_person",
        ["at least 2 identities", "4 crops of 1 identity"],
    ),
    "model threshold: no rate": (
        "model threshold {w}/model.safetensors {w}/crops --far 1",
        ["far", "got 1"],
    ),
    "gallery add: no such model": (
        "gallery add {o} {w}/crops --model {w}/no.safetensors",
        ["{w}/no.safetensors"],
    ),
    "gallery add: no such photos": (
        "gallery add {o} {w}/nowhere --model {w}/model.safetensors",
        ["{w}/nowhere"],
    ),
    "gallery add: whose photo": (
        "gallery add {o} {w}/wall.png --model {w}/model.safetensors",
        ["{w}/wall.png", "--name"],
    ),
    "gallery add: empty folder": (
        "gallery add {o} {w}/empty --model {w}/model.safetensors",
        ["{w}/empty"],
    ),
    "gallery add: into a file": (
        "gallery add {w}/text.txt {w}/crops --model {w}/model.safetensors",
        ["{w}/text.txt"],
    ),
    "gallery search: no gallery": (
        "gallery search {o} {w}/wall.png --model {w}/model.safetensors",
        ["{o}"],
    ),
    "gallery search: no such gallery": ("gallery search g p.jpg", ["g: no such"]),
    "gallery remove: nothing": ("gallery remove {w}/empty", ["ids or --name"]),
    "gallery update: nothing": ("gallery update {w}/empty", ["ids or --name"]),
    "gallery verify: no gallery": ("gallery verify {o}", ["{o}"]),
    "gallery export: no gallery": ("gallery export {o} {o}", ["{o}"]),
    "gallery import: no export": ("gallery import {o} {o}", ["no such export"]),
    "gallery threshold: no rate": ("gallery threshold {o}", ["either --far"]),
    "gallery create: for what": ("gallery create {o}", ["--embedding-size"]),
    "gallery list: no gallery": ("gallery list {o}", ["{o}"]),
    "gallery list: empty folder": ("gallery list {w}/empty", ["{w}/empty"]),
    "gallery info: a file": ("gallery info {w}/text.txt", ["{w}/text.txt"]),
}


def listing(folder: Path) -> list[tuple[str, int]]:
    """Everything below a folder, with its time: nothing may change."""
    return sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*"))


def check_one_line(err: str) -> str:
    """The one line on stderr that a user's mistake gets."""
    assert err.startswith("facever: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_exit_code_two(
    command: Command, world: Path, tmp_path: Path, case: str
) -> None:
    arguments, named = BAD_INPUT[case]
    out = tmp_path / "out"
    before = listing(world)
    finished = command(*arguments.format(w=world, o=out).split())
    line = check_one_line(finished.err)
    assert finished.code == 2
    for words in named:
        assert words.format(w=world, o=out) in line
    # Nothing under a final name: an empty folder at most.
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
    assert listing(world) == before
    assert not (world / "mark").exists()


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps(_Trap(Path("mark")))])
def test_a_corrupt_checkpoint(
    command: Command, world: Path, tmp_path: Path, content: bytes
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "checkpoint.pt").write_bytes(content)
    finished = command("train", world / "train.yaml", f"out={out}")
    assert finished.code == 2
    assert f"{out}/checkpoint.pt" in check_one_line(finished.err)
    assert [path.name for path in out.iterdir()] == ["checkpoint.pt"]
    assert (out / "checkpoint.pt").read_bytes() == content


def test_a_wrong_image_goes_to_the_ledger(
    command: Command, world: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    (photos / "Ann").mkdir(parents=True)
    shutil.copy(world / "bad.jpg", photos / "Ann")
    cv2.imwrite(str(photos / "Ann" / "crop.png"), np.zeros((112, 96, 3), np.uint8))
    finished = command("align", photos, tmp_path / "crops", "--detector", "crops")
    assert finished.code == 0
    assert "1 unusable" in finished.out
    store = CropStore.open(tmp_path / "crops")
    assert store.sources == ["Ann/crop.png"]
    assert store.failures == {"Ann/bad.jpg": "not an image that can be read"}


def test_nothing_but_wrong_images(
    command: Command, world: Path, tmp_path: Path
) -> None:
    photos, crops = tmp_path / "photos", tmp_path / "crops"
    photos.mkdir()
    shutil.copy(world / "bad.jpg", photos)
    finished = command("align", photos, crops, "--detector", "crops")
    assert finished.code == 2
    assert finished.out == ""
    assert "none of 1 photos gave a crop" in finished.err
    assert "0 without a face, 1 unusable" in finished.err
    for arguments in (
        ("train", world / "train.yaml", f"data.crops={crops}", f"out={tmp_path}/run"),
        ("embed", world / "model.safetensors", crops, tmp_path / "e.npz"),
    ):
        finished = command(*arguments)
        assert finished.code == 2
        check_one_line(finished.err)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "e.npz").exists()


def test_a_missing_pair_member_is_counted_and_named(
    command: Command, world: Path, tmp_path: Path
) -> None:
    pairs = write_pairs(tmp_path / "pairs.txt", {3: "P0\t1\tP9\t4"})
    finished = command(
        "evaluate",
        "lfw",
        "--embeddings",
        world / "good.npz",
        "--pairs",
        pairs,
        "--no-pca",
        "--out",
        tmp_path / "report",
    )
    assert finished.code == 0, finished.err
    assert "1 pair without a photo (reject), 1 photo missing" in finished.out
    assert "P9" in (tmp_path / "report" / "report.json").read_text()


class TestGallery:
    @pytest.fixture
    def gallery(self, command: Command, world: Path, tmp_path: Path) -> Path:
        finished = command(
            "gallery",
            "add",
            tmp_path / "gallery",
            world / "crops",
            "--model",
            world / "model.safetensors",
        )
        assert finished.code == 0, finished.err
        return tmp_path / "gallery"

    @pytest.mark.parametrize(
        ("photo", "said"),
        [
            ("nowhere.jpg", "nowhere.jpg"),
            ("bad.jpg", "not an image"),
            ("wall.png", "no face"),
        ],
    )
    def test_a_photo_that_shows_nobody(
        self, command: Command, world: Path, gallery: Path, photo: str, said: str
    ) -> None:
        finished = command(
            "gallery",
            "search",
            gallery,
            world / photo,
            "--model",
            world / "model.safetensors",
        )
        assert finished.code == 2
        line = check_one_line(finished.err)
        assert str(world / photo) in line
        assert said in line

    def test_another_model_is_refused(
        self,
        command: Command,
        world: Path,
        gallery: Path,
        tmp_path: Path,
        make_model: Callable[..., Path],
    ) -> None:
        other = make_model(tmp_path / "other.safetensors", seed=9)
        finished = command("gallery", "add", gallery, world / "crops", "--model", other)
        assert finished.code == 2
        assert "model" in check_one_line(finished.err)

    def test_list_and_info(self, command: Command, gallery: Path) -> None:
        finished = command("gallery", "list", gallery, "--json")
        assert finished.code == 0
        assert yaml.safe_load(finished.out) == {"P0": 3, "P1": 3}
        assert command("gallery", "info", gallery).code == 0

    @pytest.mark.parametrize(
        ("call", "key"),
        [
            ("create {o} --embedding-size 8", "embedding_size"),
            ("add {g} {w}/crops --model {w}/model.safetensors", "num_known"),
            ("search {g} {w}/crops --model {w}/model.safetensors -k 1", "photos"),
            ("list {g} --photos", "photos"),
            ("info {g}", "model_details"),
            ("update {g} --name P0 --field team=red", "num_updated"),
            ("remove {g} --name P0", "num_removed"),
            ("verify {g}", "num_embeddings"),
            ("rebuild {g}", "index"),
            ("export {g} {o}", "num_embeddings"),
            ("threshold {g} --fpir 0.5", "open_set"),
        ],
    )
    def test_prints_text_or_json(
        self,
        command: Command,
        world: Path,
        gallery: Path,
        tmp_path: Path,
        call: str,
        key: str,
    ) -> None:
        words = call.format(g=gallery, w=world, o=tmp_path / "out").split()
        finished = command("gallery", *words, "--json")
        assert finished.code == 0, finished.err
        assert key in json.loads(finished.out)
        if words[0] not in ("create", "remove"):
            assert "{" not in command("gallery", *words).out.splitlines()[0]


def test_the_stages_chain(command: Command, world: Path, tmp_path: Path) -> None:
    """Align, train, embed and evaluate, each by its command alone."""
    photos = tmp_path / "photos"
    store = CropStore.open(world / "crops")
    for source, crop in zip(store.sources, store.crops, strict=True):
        name, number = source.removesuffix(".png").split("/")
        (photos / name).mkdir(parents=True, exist_ok=True)
        path = photos / name / f"{name}_000{int(number) + 1}.png"
        assert cv2.imwrite(str(path), crop[:, :, ::-1])
    crops, run, out = tmp_path / "crops", tmp_path / "run", tmp_path / "e.npz"
    assert command("align", photos, crops, "--detector", "crops").code == 0
    training = ("train", world / "train.yaml", f"data.crops={crops}", f"out={run}")
    finished = command(*training, "log_every=1", "data.name=drawn")
    assert finished.code == 0
    assert len((run / "log.jsonl").read_text().splitlines()) == 3
    model = run / "model.safetensors"
    assert str(model) in finished.out
    assert command("embed", model, crops, out, "--mirror", "none").code == 0
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["images"][0] == "P0/P0_0001.png"
        np.testing.assert_array_equal(
            arrays["embeddings"].shape, (len(store), facever.load(model).embedding_size)
        )
    for source in (["--embeddings", out], [model, "--crops", crops]):
        report = tmp_path / f"report{len(source)}{source[0] == model}"
        finished = command(
            "evaluate",
            "lfw",
            *source,
            "--pairs",
            world / "pairs.txt",
            "--no-pca",
            "--out",
            report,
        )
        assert finished.code == 0, finished.err
        assert (report / "report.html").exists()
        assert "missing" not in finished.out


class TestUsage:
    def test_version(self, command: Command) -> None:
        finished = command("--version")
        assert (finished.code, finished.out) == (0, f"{facever.__version__}\n")

    def test_help_names_every_stage(self, command: Command) -> None:
        finished = command("--help")
        assert finished.code == 0
        for stage in ("align", "train", "embed", "evaluate", "model", "gallery"):
            assert stage in finished.out

    @pytest.mark.parametrize(
        "arguments",
        [
            "align",
            "train",
            "embed",
            "model threshold",
            "evaluate lfw",
            "evaluate pairs",
            "evaluate bin",
            "evaluate ytf",
            "evaluate blufr",
            "evaluate identify",
            "evaluate compare",
            "gallery add",
            "gallery search",
            "gallery list",
            "gallery info",
        ],
    )
    def test_help_of_a_stage(self, command: Command, arguments: str) -> None:
        finished = command(*arguments.split(), "--help")
        assert finished.code == 0
        assert "Usage" in finished.out

    @pytest.mark.parametrize(
        "arguments",
        [
            "rain",
            "embed",
            "embed a b",
            "embed a b c.npz d",
            "embed a b c.npz --colour red",
            "embed a b c.npz --mirror twice",
            "embed a b c.npz --precision fp8",
            "embed a b c.npz --batch-size many",
            "align a b --face prettiest",
            "evaluate ytf",
            "evaluate lfw --out x",
            "evaluate lfw --out x --pairs p --measure manhattan",
            "evaluate pairs --out x --pairs p --missing skip",
            "evaluate lfw --out x --pairs p --rule arcface",
            "evaluate bin m --out x",
            "evaluate ytf m --photos p --splits s --out x --pool median",
            "evaluate identify --gallery g --out x",
            "evaluate compare --out x",
            "model threshold m",
            "model threshold m c --far few",
            "gallery search g p.jpg --by median",
        ],
    )
    def test_a_wrong_call_is_explained_with_exit_code_two(
        self, command: Command, arguments: str
    ) -> None:
        finished = command(*arguments.split())
        assert finished.code == 2
        assert finished.out == ""
        assert "Error" in finished.err
        assert "Traceback" not in finished.err


def test_a_message_of_many_lines_becomes_one(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facever.stages import embed as stage

    def fail(*_: object, **__: object) -> None:
        raise facever.FaceverError("first\n  second\nthird")

    monkeypatch.setattr(stage, "embed", fail)
    finished = command("embed", "a", "b", "c.npz")
    assert finished.code == 2
    assert check_one_line(finished.err) == "facever: first   second third\n"


def test_a_bug_shows_its_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facever.stages import embed as stage

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(stage, "embed", fail)
    monkeypatch.setattr(sys, "argv", ["facever", "embed", "a", "b", "c.npz"])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        facever.cli.main()


@pytest.mark.parametrize("call", ["embed a b c.npz", "gallery list g"])
def test_ctrl_c_says_what_comes_next(
    command: Command, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    from facever.stages import embed
    from facever.stages.gallery import upkeep as gallery_upkeep

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(embed, "embed", stop)
    monkeypatch.setattr(gallery_upkeep, "list_people", stop)
    monkeypatch.setattr(os, "_exit", sys.exit)  # else it would end the tests, too
    finished = command(*call.split())
    assert finished.code == 130
    line = check_one_line(finished.err)
    assert "stopped" in line
    assert "same command" in line


def test_a_warning_shows_control_characters_as_escapes(tmp_path: Path) -> None:
    """In a process of its own: pytest's handlers of logs show them as they are."""
    code = (
        "import logging, facever.cli as cli\n"
        "log = logging.getLogger('facever.x')\n"
        "cli.app = lambda: log.warning('%s', chr(27) + 'a')\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert said == "\\x1ba\n"
