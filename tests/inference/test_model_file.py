import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import facever
from facever.errors import ModelFileError, ParameterError
from facever.faces.templates import TEMPLATES
from facever.inference.formats.safetensors_file import save_model
from facever.inference.header import ModelHeader, crop_fields
from facever.inference.model_file import load_model, write_header
from facever.models import build_network

TINY = {"width": 1 / 16, "embedding_size": 16}


def read_raw(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON head and the data of a .safetensors, by its published layout."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_raw(path: Path, head: dict[str, Any], data: bytes) -> Path:
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def change_header(path: Path, **changes: object) -> Path:
    """Rewrite entries of the header of a model file; ``...`` takes one out.

    The digest goes, too: it would be the first to tell.
    """
    head, data = read_raw(path)
    about = json.loads(head["__metadata__"]["facever"])
    about |= {"digest": ...} | changes
    about = {key: value for key, value in about.items() if value is not ...}
    head["__metadata__"]["facever"] = json.dumps(about)
    return write_raw(path, head, data)


@pytest.fixture
def model(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    return make_model(tmp_path / "model.safetensors")


def message_of(path: Path) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(ModelFileError) as refusal:
        load_model(path)
    message = str(refusal.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    network = build_network("resnet27", TINY)
    # Running averages are part of a network as well: move them off their start.
    network.train()(torch.randn(4, 3, 112, 96))
    network.to(memory_format=torch.channels_last)
    mean_image = torch.rand(112, 96, 3) * 255
    header = ModelHeader(
        network="resnet27",
        network_options=TINY,
        embedding_size=16,
        mean="image",
        scale=64.0,
        mirror="concat",
        threshold=0.375,
        threshold_far=1e-3,
        training_data="twelve drawings",
        licence="CC0",
        facever_version="9.9",
    )
    path = tmp_path / "deep" / "model.safetensors"
    save_model(path, network, header, mean_image)

    loaded = load_model(path)

    assert loaded.header == header
    assert not loaded.network.module.training
    before, after = network.state_dict(), loaded.network.module.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value), name
        assert after[name].dtype == value.dtype
    assert torch.equal(loaded.network.preprocessing.mean, mean_image)
    assert loaded.network.preprocessing.scale == 64.0
    assert loaded.feature_size == 32


def test_saving_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = build_network("resnet27", TINY)
    network.train()
    save_model(tmp_path / "m.safetensors", network, ModelHeader("resnet27", TINY, 16))
    assert network.training
    assert all(weight.requires_grad for weight in network.parameters())


def test_the_header_says_all_that_is_needed_to_use_the_weights(model: Path) -> None:
    head, _ = read_raw(model)
    about = json.loads(head["__metadata__"]["facever"])
    assert about["format"] == 3
    assert about["network"] == "resnet27"
    assert about["network_options"] == TINY
    assert about["embedding_size"] == 16
    # 0-based pixel centres of a crop 96 wide and 112 high; left eye first.
    assert about["template"] == [
        [30.2946, 51.6963],
        [65.5318, 51.5014],
        [48.0252, 71.7366],
        [33.5493, 92.3655],
        [62.7299, 92.2041],
    ]
    assert (about["crop_height"], about["crop_width"]) == (112, 96)
    assert about["channel_order"] == "RGB"
    assert (about["mean"], about["scale"]) == (127.5, 128.0)
    assert about["mirror"] == "sum"
    assert about["threshold"] is None
    assert about["threshold_far"] is None
    assert about["training_data"] == "unknown"
    assert about["licence"] == "unknown"
    assert "facever_version" in about


@pytest.mark.parametrize(
    ("mirror", "size"), [("sum", 16), ("none", 16), ("concat", 32)]
)
def test_feature_size_follows_the_mirror_rule(
    tmp_path: Path, make_model: Callable[..., Path], mirror: str, size: int
) -> None:
    path = make_model(tmp_path / "m.safetensors", mirror=mirror)
    assert load_model(path).feature_size == size


def test_the_fingerprint_knows_what_decides_the_embeddings_and_nothing_else(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    def fingerprint(**options: Any) -> str:
        path = make_model(tmp_path / "m.safetensors", **{"seed": 1, **options})
        return load_model(path).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(licence="CC0") == first
    assert fingerprint(threshold=0.4, threshold_far=1e-3) == first
    others = [
        fingerprint(seed=2),
        fingerprint(mean=127.0),
        fingerprint(scale=127.5),
        fingerprint(mirror="concat"),
    ]
    assert len({first, *others}) == 5


def test_another_mirror_rule_has_no_threshold_and_another_hash(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    path = make_model(
        tmp_path / "m.safetensors", mirror="sum", threshold=0.5, threshold_far=1e-3
    )
    loaded = load_model(path)
    assert loaded.with_mirror(None) is loaded
    assert loaded.with_mirror("sum") is loaded
    hashes = {loaded.fingerprint}
    for mirror, size in (("none", 16), ("concat", 32)):
        other = loaded.with_mirror(mirror)
        assert other.header.mirror == mirror
        assert other.header.threshold is None
        assert other.header.threshold_far is None
        assert other.feature_size == size
        assert other.header.licence == loaded.header.licence
        hashes.add(other.fingerprint)
    assert len(hashes) == 3
    assert loaded.header.threshold == 0.5


@pytest.mark.usefixtures("types_unchecked")
def test_an_unknown_mirror_rule_is_refused(model: Path) -> None:
    with pytest.raises(ParameterError, match="sum, concat or none, got 'twice'"):
        load_model(model).with_mirror("twice")


class TestAtomicWrite:
    def test_a_failed_write_keeps_the_old_file(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = model.read_bytes()

        write = Path.write_bytes

        def fail(path: Path, content: bytes) -> None:
            write(path, content[: len(content) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", fail)
        network = build_network("resnet27", TINY)
        with pytest.raises(OSError, match="No space left"):
            save_model(model, network, ModelHeader("resnet27", TINY, 16))
        assert model.read_bytes() == before
        assert [path.name for path in model.parent.iterdir()] == [model.name]

    def test_others_may_read_it_as_any_file(self, model: Path) -> None:
        plain = model.parent / "plain"
        plain.touch()
        assert model.stat().st_mode == plain.stat().st_mode

    def test_nothing_but_the_file_is_left(self, model: Path) -> None:
        assert [path.name for path in model.parent.iterdir()] == [model.name]

    @pytest.mark.parametrize("place", ["folder", "file/model.safetensors"])
    def test_a_place_that_cannot_be_written_is_named(
        self, tmp_path: Path, place: str
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("in the way")
        network = build_network("resnet27", TINY)
        with pytest.raises(facever.FaceverError) as refusal:
            save_model(tmp_path / place, network, ModelHeader("resnet27", TINY, 16))
        assert str(tmp_path / place) in str(refusal.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


class _Trap:
    """Unpickling an instance writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "run"))


class TestFilesThatAreNoModels:
    def test_missing(self, tmp_path: Path) -> None:
        message = message_of(tmp_path / "nowhere.safetensors")
        assert "no model file" in message
        assert "facever train" in message

    def test_folder(self, tmp_path: Path) -> None:
        assert "is a folder, and a model file is meant" in message_of(tmp_path)

    @pytest.mark.parametrize(
        "content", [b"", b"hello\n", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04rest"]
    )
    def test_foreign_bytes(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "foreign.safetensors"
        path.write_bytes(content)
        assert "not a whole .safetensors" in message_of(path)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
    def test_truncated(self, model: Path, share: float) -> None:
        content = model.read_bytes()
        model.write_bytes(content[: int(share * len(content))])
        assert "copy it again" in message_of(model)

    # torch.load would take a .safetensors for what its name says.
    @pytest.mark.parametrize("name", ["evil.safetensors", "evil.pt"])
    def test_a_pickle_is_never_run(self, tmp_path: Path, name: str) -> None:
        path, mark = tmp_path / name, tmp_path / "mark"
        refusal = (
            "none of the model files" if name == "evil.pt" else "not a whole .safe"
        )
        path.write_bytes(pickle.dumps(_Trap(mark)))
        assert refusal in message_of(path)
        torch.save({"state_dict": _Trap(mark)}, path)
        assert refusal in message_of(path)
        assert not mark.exists()
        # The trap does work where a pickle is loaded.
        torch.load(path.rename(tmp_path / "sprung.pt"), weights_only=False)
        assert mark.exists()

    def test_checkpoint_of_torch(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        torch.save(build_network("resnet27", TINY).state_dict(), path)
        assert "facever model import" in message_of(path)

    def test_safetensors_of_somebody_else(self, tmp_path: Path) -> None:
        path = tmp_path / "other.safetensors"
        save_file({"weight": torch.zeros(3)}, path)
        assert "no facever header" in message_of(path)
        save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
        assert "no facever header" in message_of(path)


@pytest.mark.usefixtures("types_unchecked")
class TestDamagedHeaders:
    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"resnet27"', "{}"])
    def test_not_the_right_json(self, model: Path, text: str) -> None:
        head, data = read_raw(model)
        head["__metadata__"]["facever"] = text
        assert "damaged facever header" in message_of(write_raw(model, head, data))

    @pytest.mark.parametrize(
        "changes",
        [
            {"network": ...},
            {"embedding_size": ...},
            {"surprise": 1},
            {"network": 27},
            {"network": ["resnet27"]},
            {"network_options": "wide"},
            {"embedding_size": "16"},
            {"mean": "picture"},
            {"mean": None},
            {"mean": ["red", 2, 3]},
            {"scale": "128"},
            {"mirror": "twice"},
            {"threshold": "high"},
            {"threshold": [0.5]},
            {"channel_order": "GBR"},
            {"licence": None},
            {"scale": 0},
            {"scale": [128, 0, 128]},
            {"scale": -128},
            {"scale": 1e9},
            {"scale": float("inf")},
            {"mean": float("nan")},
            {"mean": [1e6, 0, 0]},
            {"mean": [127, 127]},
            {"threshold": 1.01},
            {"threshold": float("nan")},
            {"thresholds": [[0.001, -2.0]]},
            {"threshold_far": 0.0},
        ],
        ids=str,
    )
    def test_an_entry_of_the_wrong_kind(
        self, model: Path, changes: dict[str, object]
    ) -> None:
        assert "damaged facever header" in message_of(change_header(model, **changes))

    @pytest.mark.parametrize(
        "changes",
        [
            {"crop_height": 128},
            {"crop_width": 112},
            {"template": 5},
            {"template": [[0.0, 0.0]] * 5},
        ],
        ids=str,
    )
    def test_other_crops(self, model: Path, changes: dict[str, object]) -> None:
        message = message_of(change_header(model, **changes))
        assert "a template that this version of facever does not know" in message

    @pytest.mark.parametrize(
        "changes",
        [
            {"network": "resnet9000"},
            {"network_options": {"width": 1 / 8, "embedding_size": 16}},
            {"network_options": {"width": 1 / 16, "embedding_size": 8}},
            {"network_options": {"depth": 3}},
            {"network_options": {"width": -1}},
            {"network_options": {"width": "a lot"}},
            # The weights and the network agree, the header says another size.
            {"embedding_size": 8},
            {"mean": "image"},
            # A network of facever's own that takes other crops than its header says.
            crop_fields(TEMPLATES["112x112"]),
        ],
        ids=str,
    )
    def test_a_header_that_the_weights_do_not_fit(
        self, model: Path, changes: dict[str, object]
    ) -> None:
        message = message_of(change_header(model, **changes))
        assert "do not fit" in message
        assert "facever train" in message

    def test_a_missing_and_a_foreign_tensor(self, model: Path) -> None:
        head, _ = read_raw(model)
        weights = load_file(model)
        fc5 = weights.pop("network.fc5.weight")
        for wrong in (weights, {**weights, "network.fc6.weight": fc5}):
            save_file(wrong, model, head["__metadata__"])
            assert "do not fit" in message_of(model)

    @pytest.mark.parametrize("shape", [(112, 96), (96, 112, 3), (3,)], ids=str)
    def test_a_mean_image_of_another_shape(
        self, model: Path, shape: tuple[int, ...]
    ) -> None:
        tensors = {**load_file(model), "mean_image": torch.zeros(shape)}
        head, _ = read_raw(change_header(model, mean="image"))
        save_file(tensors, model, head["__metadata__"])
        assert "do not fit" in message_of(model)


def damaged_weight(path: Path, name: str, value: object) -> Path:
    """Put another tensor into a model file, which has no digest then."""
    head, _ = read_raw(change_header(path))
    tensors = load_file(path)
    before = tensors[f"network.{name}"]
    if isinstance(value, torch.dtype):
        tensors[f"network.{name}"] = before.to(value)
    else:
        before.view(-1)[-1] = value
        if value == 0:
            before.zero_()
    save_file(tensors, path, head["__metadata__"])
    return path


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("fc5.weight", float("nan"), "fc5.weight holds numbers that are not finite"),
        ("fc5.weight", float("inf"), "fc5.weight holds numbers that are not finite"),
        ("trunk.1.running_var", -1e-9, "trunk.1.running_var holds a negative"),
        ("trunk.1.running_var", 0, "trunk.1.running_var holds no variance above"),
        ("trunk.1.running_mean", float("nan"), "trunk.1.running_mean holds"),
        ("fc5.weight", torch.int32, "fc5.weight is of type torch.int32"),
    ],
)
def test_weights_that_no_training_gives_are_named(
    model: Path, name: str, value: object, words: str
) -> None:
    assert words in message_of(damaged_weight(model, name, value))


def test_a_network_in_use_does_not_change_with_its_file(model: Path) -> None:
    network = load_model(model).network.module
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model.write_bytes(bytes(model.stat().st_size))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_weights_of_half_precision_are_taken(model: Path) -> None:
    before = load_model(model).network.module.state_dict()["fc5.weight"]
    after = load_model(damaged_weight(model, "fc5.weight", torch.float16))
    found = after.network.module.state_dict()["fc5.weight"]
    assert torch.equal(found, before.half().float())


def test_any_flipped_bit_is_refused_in_one_line(model: Path) -> None:
    content = model.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(8, len(content), 120):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        model.write_bytes(damaged)
        # JSON may hold spaces of any kind.
        if content[place : place + 1].isspace() and chr(damaged[place]).isspace():
            continue
        message_of(model)


def test_a_file_without_a_digest_is_taken_and_said(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fingerprint = load_model(model).fingerprint
    assert not caplog.messages
    assert load_model(change_header(model)).fingerprint == fingerprint
    assert "carries no digest" in caplog.text
    caplog.clear()
    write_header(model, load_model(model).header)
    caplog.clear()
    load_model(model)
    assert not caplog.messages


CLAIMS = """
import resource, sys
from facever.errors import ModelFileError
from facever.inference.model_file import load_model, write_header
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_model(sys.argv[1])
except ModelFileError as error:
    print(str(error).count("\\n"), "do not fit" in str(error))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    "options",
    [
        {"width": 1 / 16, "embedding_size": 10**6},
        {"width": 4000.0, "embedding_size": 16},
        {"width": 1e30, "embedding_size": 16},
    ],
    ids=str,
)
def test_a_file_that_claims_too_much_is_refused_before_anything_is_built(
    model: Path, options: dict[str, float]
) -> None:
    size = options["embedding_size"]
    change_header(model, network_options=options, embedding_size=size)
    told = subprocess.run(
        [sys.executable, "-c", CLAIMS, str(model)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(Path(facever.__file__).parents[1])},
    )
    said, megabytes = told.stdout.splitlines()
    assert said == "0 True", told.stderr
    assert int(megabytes) < 200


def test_a_changed_byte_in_the_head_is_refused_in_one_line_or_harmless(
    model: Path,
) -> None:
    content = model.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    rng = np.random.default_rng(0)
    messages = []
    for place in rng.integers(0, 8 + length, 40):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        model.write_bytes(damaged)
        # Any other exception than this fails the test.
        try:
            load_model(model)
        except ModelFileError as error:
            messages.append(str(error))
    assert len(messages) > 15
    assert not any("\n" in message for message in messages)


def test_reading_imports_no_compiler(model: Path) -> None:
    """Weights drawn on torch's device without memory would import one, for seconds."""
    check = (
        f"import sys, facever; facever.load({str(model)!r}, 'cpu', backend='torch'); "
        "sys.exit('sympy' in sys.modules or 'torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.usefixtures("types_unchecked")
def test_a_file_of_a_version_to_come_asks_for_an_update(model: Path) -> None:
    """Whatever else that version may say."""
    message = message_of(change_header(model, format=4, colour_space="linear"))
    assert "has format 4, this version of facever reads 1 to 3; update" in message


def test_a_file_of_before_is_read(model: Path) -> None:
    head, data = read_raw(model)
    content = json.loads(head["__metadata__"]["facever"])
    for key in ("precision", "parity", "export", "source_fingerprint", "digest"):
        del content[key]
    head["__metadata__"]["facever"] = json.dumps({**content, "format": 1})
    before = load_model(model)
    write_raw(model, head, data)
    after = load_model(model)
    assert after.fingerprint == before.fingerprint
    assert after.header == before.header
