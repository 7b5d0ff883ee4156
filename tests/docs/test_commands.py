"""What README and the manual show can be typed: commands, YAML and Python."""

import ast
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
import yaml

from facever.build import check_names
from facever.cli import app
from facever.config.faces import FaceTable
from facever.config.reading import load_config
from facever.config.suite import SuiteConfig
from facever.config.training import TrainConfig
from facever.stages.model.exporting import ExportSettings, export_model

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(
        path for path in (ROOT / "docs").rglob("*.md") if "_build" not in str(path)
    ),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Shown:
    """A piece of a page, and where it begins."""

    text: str
    page: Path
    line: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> Iterator[Shown]:
    """The fenced blocks of a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for page in PAGES:
        text = page.read_text()
        for match in fence.finditer(text):
            line = text.count("\n", 0, match.start(1)) + 1
            yield Shown(match.group(1), page, line)


def commands() -> Iterator[Shown]:
    """The lines of blocks for the shell, without comments."""
    for block in blocks("sh"):
        joined = block.text.replace("\\\n", " ")
        for number, line in enumerate(joined.splitlines()):
            if line.strip() and not line.startswith("#"):
                yield Shown(line.strip(), block.page, block.line + number)


def named_commands() -> Iterator[Shown]:
    """Commands as they are named in the text."""
    for page in PAGES:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            for found in re.findall(r"`((?:facever|make|pip) [a-z][^`]*)`", line):
                yield Shown(found, page, number)


@pytest.mark.parametrize("shown", commands(), ids=str)
def test_commands(shown: Shown) -> None:
    words = shlex.split(shown.text, comments=True)
    while re.fullmatch(r"[A-Z_]+=\S+", words[0]):
        words.pop(0)
    program, *arguments = words
    CHECKS[program.removeprefix(".venv/bin/")](arguments)


@pytest.mark.parametrize("shown", named_commands(), ids=str)
def test_commands_named_in_the_text(shown: Shown) -> None:
    program, *words = shlex.split(shown.text)
    if program != "facever":
        CHECKS[program](words)
        return
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            if word.startswith("--"):
                assert word in {name for one in command.params for name in one.opts}
            continue
        command = command.commands[word]


def check_facever(arguments: list[str]) -> None:
    """Every option is known and every value of its kind; nothing is run."""
    command: Any = typer.main.get_command(app)
    if set(arguments) <= {"--install-completion", "--show-completion"}:
        assert {name for one in command.params for name in one.opts} >= set(arguments)
        return
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    context = command.make_context(command.name, list(arguments))
    if command.name == "train":
        check_config(context.params["config"], list(context.params["overrides"]))
    elif command.name == "suite":
        load_config(SuiteConfig, ROOT / context.params["config"])


def check_config(config: Path, overrides: list[str]) -> None:
    """The keys and the options of the network and the heads are known."""
    from facever.build import make_head, network_options

    settings = load_config(TrainConfig, ROOT / config, overrides)
    network_options(settings.network)
    teacher_size = None if settings.teacher is None else 8
    make_head(
        settings.heads, embedding_size=4, num_classes=2, teacher_size=teacher_size
    )


def check_python(arguments: list[str]) -> None:
    """The script is there and has the options that are given and needs no others."""
    script, *rest = arguments
    options, needed = set(), set()
    for node in ast.walk(ast.parse((ROOT / script).read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == (
            "add_argument"
        ):
            names = [ast.literal_eval(name) for name in node.args]
            options.update(names)
            if any(keyword.arg == "required" for keyword in node.keywords):
                needed.add(names[0])
    given = {word for word in rest if word.startswith("--")}
    assert given <= options
    assert needed <= given
    for word in rest:
        if word.startswith("configs/"):
            assert (ROOT / word).exists()


def check_make(arguments: list[str]) -> None:
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in arguments if "=" not in word} <= set(rules)


def check_pip(arguments: list[str]) -> None:
    """What is installed is this checkout, with extras that exist, or its wheel."""
    *_, what = arguments
    place, extras = re.fullmatch(r"([^\[]+)(?:\[(.*)\])?", what).groups()
    wheel = f"dist/{PROJECT['name']}-{PROJECT['version']}-py3-none-any.whl"
    assert place in (".", wheel)
    if extras:
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def check_torchrun(arguments: list[str]) -> None:
    module = arguments.index("-m")
    assert arguments[module + 1] == "facever"
    check_facever(arguments[module + 2 :])


def check_sbatch(arguments: list[str]) -> None:
    """The script is there, and gets all that it asks for."""
    (script, *rest) = (word for word in arguments if not word.startswith("--"))
    asked = re.search(r"^shift (\d+)$", (ROOT / script).read_text(), re.MULTILINE)
    assert len(rest) >= int(asked[1])


def check_development_tool(arguments: list[str]) -> None:
    for word in arguments:
        if word.startswith("tests"):
            assert (ROOT / word).exists()


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "facever": check_facever,
    "make": check_make,
    "pip": check_pip,
    "pre-commit": check_development_tool,
    "pytest": check_development_tool,
    "python": check_python,
    "sbatch": check_sbatch,
    "torchrun": check_torchrun,
}


def test_no_line_installs_from_an_index() -> None:
    for page in PAGES:
        assert not re.search(r"pip install '?facever", page.read_text()), page


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1200


@pytest.mark.parametrize("shown", blocks("yaml"), ids=str)
def test_yaml(shown: Shown, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    content = yaml.safe_load(shown.text)
    needed: dict[str, Any] = {"data": {"crops": "runs/crops"}}
    if "sets" in content:
        path.write_text(shown.text)
        load_config(SuiteConfig, path)
        return
    if "cells" in content:
        rest = {"title": "a", "paper": "b", "train": needed}
        path.write_text(yaml.safe_dump(rest | content))
        for each in load_config(FaceTable, path).variants():
            assert each.cell is not None, each.refusal
            check_names(each.cell.network, each.cell.heads)
        return
    path.write_text(yaml.safe_dump(needed | content))
    check_config(path, [])


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]
) -> Path:
    """A folder with the files that the Python of the pages opens."""
    from facever.synthetic import write_photos

    folder = tmp_path_factory.mktemp("desk")
    write_photos(folder / "drawn", 0, 0, 1, 1, lambda _: None)
    photo = cv2.imread(str(next((folder / "drawn").rglob("*.jpg"))))
    for name in ("a.jpg", "b.jpg", "ann.jpg", "SOMEBODY.jpg"):
        cv2.imwrite(str(folder / name), photo)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), photo[:112, :96])
    for name in ("demo/softmax-ie/model", "runs/small/model", "MODEL"):
        path = (folder / name).with_suffix(".safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        make_model(path, threshold=0.3, threshold_far=0.001)
    settings = ExportSettings(mirror_inside=True)
    export_model(folder / "MODEL.safetensors", folder / "model.onnx", settings)
    return folder


@pytest.mark.parametrize("shown", blocks("python"), ids=str)
def test_python(
    shown: Shown,
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    types_unchecked: None,
) -> None:
    import facever

    monkeypatch.chdir(desk)
    model = facever.load("runs/small/model.safetensors")
    size = model.embed(["a.jpg"]).shape[1]
    if not Path("runs/gallery").exists():
        with facever.Gallery.create(
            "runs/gallery", size, model.model_fingerprint
        ) as gallery:
            gallery.add(["Bob"], np.eye(1, size, dtype=np.float32), ["bob.jpg"])
    exec(compile(shown.text, str(shown), "exec"), {})
