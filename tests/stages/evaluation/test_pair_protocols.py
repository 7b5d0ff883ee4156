"""A row of the table is all that a new protocol of pairs needs."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from facever.choices import FaceRule
from facever.stages.evaluation.pair_protocols import PAIR_PROTOCOLS
from facever.verification.protocols import PairList, read_pair_list

CSV = "left,right,same,fold\na.jpg,b.jpg,1,1\na.jpg,c.jpg,0,1\n" + (
    "d.jpg,e.jpg,1,2\nd.jpg,f.jpg,0,2\n"
)


@pytest.mark.parametrize("name", PAIR_PROTOCOLS)
def test_every_row_has_a_reader_and_a_command(
    name: str, command: Callable[..., Any]
) -> None:
    protocol = PAIR_PROTOCOLS[name]
    module, function = protocol.reader.split(":")
    assert callable(getattr(import_module(module), function))
    assert protocol.face in get_args(FaceRule)
    finished = command("evaluate", name, "--help")
    assert finished.code == 0
    assert protocol.help.split()[0] in finished.out
    listed = command("evaluate", "--help").out
    assert f" {name} " in listed


def test_a_protocol_reads_by_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(CSV)
    found, expected = PAIR_PROTOCOLS["pairs"].read(path), read_pair_list(path)
    assert isinstance(found, PairList)
    assert (found.left, found.right) == (expected.left, expected.right)
