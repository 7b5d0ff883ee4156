"""``facever export``: a model becomes a file for other runtimes, proven equal."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from onnx import ModelProto

from facever.choices import Backend, ExportPrecision, Precision
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, ModelFileError, ParameterError
from facever.files import check_new_file
from facever.inference.embedder import Embedder
from facever.inference.exporting import export_graph, network_graph, plain_header
from facever.inference.formats.onnx_file import graph_network
from facever.inference.formats.onnx_graph import write_onnx
from facever.inference.header import PARITY_BOUNDS, ModelHeader, Parity
from facever.inference.model import LoadedModel
from facever.inference.model_file import load_model
from facever.inference.parity import (
    BATCH_SIZES,
    cosines,
    drawn_crops,
    measure_parity,
    ways_to_compute,
)
from facever.progress import Advance, progress_bar, waiting
from facever.results import Result, table_lines
from facever.runtimes import check_backend
from facever.stages.evaluation.compare import compare_evaluations
from facever.stages.evaluation.features import embed_rows
from facever.verification.evaluation import evaluate_pairs
from facever.verification.photo_matching import match_photos
from facever.verification.protocols import read_pair_list
from facever.version import __version__

_CROPS_CHECKED = 64
_CROPS_CALIBRATED = 128
_MADE = "the exported network"


@dataclass(frozen=True)
class ExportSettings:
    """What an export is asked for.

    Attributes:
        precision: Numbers of the weights; ``int8``: also of what flows between layers.
        opset: Version of ONNX's operators; None for the one that is known to work.
        raw: Whether the file takes normalised float images, not crops as they are.
        mirror_inside: Whether the file itself merges a crop's features with those of
            its mirror image, by the model's rule.
        openvino: Whether to write OpenVINO's ``.xml`` and ``.bin``, too.
        check: Crop store to compare on; None draws faces.
        calibrate: Crop store from which ``int8`` takes its ranges.
        pairs: A list of pairs of the photos in ``check``, for accuracies.
    """

    precision: ExportPrecision = "fp32"
    opset: int | None = None
    raw: bool = False
    mirror_inside: bool = False
    openvino: bool = False
    check: Path | None = None
    calibrate: Path | None = None
    pairs: Path | None = None

    def verify(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ParameterError: If it does.
        """
        if self.precision == "int8" and self.calibrate is None:
            raise ParameterError(
                "precision int8 needs crops to take ranges from: --calibrate CROPS, a "
                "store of a hundred faces or more"
            )
        if self.precision != "int8" and self.calibrate is not None:
            raise ParameterError(
                f"calibrate is for precision int8, got {self.precision}"
            )
        if self.raw and self.mirror_inside:
            raise ParameterError("raw takes images as they come: leave out one of both")
        if self.raw and self.precision == "int8":
            raise ParameterError(
                "precision int8 takes crops as they are: leave out raw"
            )
        if self.pairs is not None and self.check is None:
            raise ParameterError("pairs need the crops of their photos: --check CROPS")


@dataclass(frozen=True)
class ExportedModel(Result):
    """The files that an export wrote.

    Attributes:
        files: The model files.
        source: The model that was exported.
        parity: How like each backend's features are to the source's in float32.
        kept_in_float: Layers that are not in whole numbers, for they would hurt.
        num_crops: Crops that were compared.
        drawn: Whether they were drawn.
        accuracy: What pairs say of both, where they were given.
    """

    files: tuple[Path, ...]
    source: str
    parity: tuple[Parity, ...]
    kept_in_float: tuple[str, ...]
    num_crops: int
    drawn: bool
    accuracy: dict[str, Any] | None

    def lines(self) -> list[str]:
        """The files, and a small table of what was compared."""
        kind = "drawn crops" if self.drawn else "crops"
        lines = [
            f"{', '.join(map(str, self.files))}: exported from {self.source}",
            f"cosines to its features in float32, over {self.num_crops} {kind}:",
            *table_lines(
                ["backend", "numbers", "crops at a time", "lowest", "mean"],
                [
                    [
                        each.backend,
                        each.precision,
                        str(each.batch_size),
                        f"{each.lowest_cosine:.6f}",
                        f"{each.mean_cosine:.6f}",
                    ]
                    for each in self.parity
                ],
            ),
        ]
        if self.kept_in_float:
            lines.append(f"layers kept in float: {', '.join(self.kept_in_float)}")
        if self.accuracy:
            lines.append(
                f"{self.accuracy['num_pairs']:,} pairs: {self.accuracy['source']:.2%} "
                f"of the source, {self.accuracy['export']:.2%} of the export; McNemar "
                f"p = {self.accuracy['mcnemar_p_value']:.3g}"
            )
        return lines


def export_model(
    model: str | Path, out: str | Path, settings: ExportSettings = ExportSettings()
) -> ExportedModel:
    """Write a model as an ONNX file that any runtime computes, and prove it equal.

    The file takes RGB crops as they are stored, uint8 ``[batch, high, wide, 3]``, as
    ``crops``, and gives ``features``. It is a model file, too: it carries the header.

    Args:
        model: A model file of facever's own, an ``.onnx`` file with a header, or a
            ready model's name.
        out: The ``.onnx`` to write.
        settings: What is asked for.

    Raises:
        ParameterError: If the settings contradict each other.
        ModelFileError: If a package is missing, or the file misses its bound; nothing
            is written then.
        FileError: If ``out`` cannot be written, or is there already.
    """
    out = Path(out)
    settings.verify()
    if out.suffix.lower() != ".onnx":
        raise ParameterError(f"OUT must end in .onnx, got {out}")
    files = [out, *([out.with_suffix(".xml")] if settings.openvino else [])]
    for file in files:
        check_new_file(file)
    check_backend("onnxruntime")
    if settings.openvino:
        check_backend("openvino")
    loaded = load_model(model)
    if loaded.header.export:
        raise ParameterError(
            f"{model} is an export of {loaded.header.export['source']}: export that"
        )
    if settings.raw and loaded.header.mean == "image":
        raise ParameterError(
            "raw leaves the mean image out, which the file cannot carry: leave out raw"
        )
    crops, drawn = _crops_to_check(settings, loaded)
    source = Embedder(loaded, "cpu", "fp32")
    with waiting("embedding by the source"):
        expected = source.embed_crops(crops)
    header = _header(loaded, settings, str(model))
    with waiting("writing the graph"):
        graph = _float_graph(loaded, settings)
    kept: list[str] = []
    if settings.precision == "int8":
        graph, kept = _quantise(graph, header, settings, crops, expected)
    return _Export(
        out, str(model), source, settings, crops, drawn, expected, header, graph, kept
    ).write()


def _crops_to_check(
    settings: ExportSettings, loaded: LoadedModel
) -> tuple[UInt8[np.ndarray, "crops high wide 3"], bool]:
    """Crops to compare on, and whether they are drawn."""
    if settings.check is None:
        with waiting("drawing faces"):
            return drawn_crops(loaded.template, _CROPS_CHECKED), True
    return _some_crops(settings.check, loaded, _CROPS_CHECKED, 0.5), False


def _some_crops(
    folder: Path, loaded: LoadedModel, count: int, shift: float
) -> UInt8[np.ndarray, "crops high wide 3"]:
    """Crops of a store at equal distances; ``shift``, in [0, 1), says from where on."""
    store = CropStore.open(folder)
    if len(store) < count:
        raise DataError(
            f"{folder} holds {len(store)} crops, and {count} or more are needed"
        )
    rows = ((np.arange(count) + shift) * len(store) / count).astype(int)
    return np.array(store.crops_for(loaded.template)[list(rows)])


def _header(loaded: LoadedModel, settings: ExportSettings, source: str) -> ModelHeader:
    header = replace(
        loaded.header,
        precision=settings.precision,
        facever_version=__version__,
        network_options={},
        parity=[],
        # Whole numbers give other embeddings, which must not meet those of the source.
        source_fingerprint="" if settings.precision == "int8" else loaded.fingerprint,
    )
    if settings.raw:
        return header
    header = plain_header(header)
    if settings.mirror_inside:
        header = replace(header, mirror="none", embedding_size=loaded.feature_size)
    return header


def _float_graph(loaded: LoadedModel, settings: ExportSettings) -> ModelProto:
    if settings.raw:
        graph, _, _ = network_graph(loaded, settings.opset)
    else:
        mirror = loaded.header.mirror if settings.mirror_inside else "none"
        graph = export_graph(loaded, mirror=mirror, opset=settings.opset)
    if settings.precision != "fp16":
        return graph
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half: ModelProto = convert_float_to_float16(graph, keep_io_types=True)
    return half


def _quantise(
    graph: ModelProto,
    header: ModelHeader,
    settings: ExportSettings,
    crops: UInt8[np.ndarray, "crops high wide 3"],
    expected: Float32[np.ndarray, "crops dim"],
) -> tuple[ModelProto, list[str]]:
    from facever.inference.quantising import quantise, weighted_layers

    assert settings.calibrate is not None
    loaded = LoadedModel(graph_network(Path(_MADE), graph), header, "")
    calibration = _some_crops(settings.calibrate, loaded, _CROPS_CALIBRATED, 0.0)

    def measure(tried: ModelProto) -> float:
        embedder = _embedder(tried, header, "onnxruntime", "auto")
        return float(cosines(embedder.embed_crops(crops), expected).min())

    most = 1 + len(weighted_layers(graph))
    with progress_bar("quantise", most, "graphs tried") as advance:
        found = quantise(graph, calibration, measure, PARITY_BOUNDS["int8"], advance)
    return found.graph, found.kept_in_float


def _embedder(
    graph: ModelProto, header: ModelHeader, backend: Backend, precision: Precision
) -> Embedder:
    loaded = LoadedModel(graph_network(Path(_MADE), graph), header, "")
    return Embedder(loaded, "cpu", precision, backend=backend)


@dataclass(frozen=True)
class _Export:
    """An export that has been made and is going to be checked and written."""

    out: Path
    model: str
    source: Embedder
    settings: ExportSettings
    crops: UInt8[np.ndarray, "crops high wide 3"]
    drawn: bool
    expected: Float32[np.ndarray, "crops dim"]
    header: ModelHeader
    graph: ModelProto
    kept: list[str]

    def write(self) -> ExportedModel:
        """Compare, and write what holds."""
        parity = self._compare()
        own = [each for each in parity if each.precision == self.settings.precision]
        for each in own:
            if not each.holds:
                raise ModelFileError(
                    f"{self.out} is not written: by {each.backend} in {each.precision} "
                    f"the lowest cosine to {self.model} is {each.lowest_cosine:.6f}, "
                    f"and {PARITY_BOUNDS[each.precision]} is the bound"
                )
        accuracy = self._accuracy()
        export = {
            # Its name alone: where it lies on this machine is nobody's business.
            "source": Path(self.model).name,
            "source_fingerprint": self.source.model_fingerprint,
            "kept_in_float": self.kept,
            "crops": len(self.crops),
            "drawn": self.drawn,
            "accuracy": accuracy,
        }
        header = replace(self.header, parity=parity, export=export)
        write_onnx(self.out, self.graph, header)
        files = [self.out]
        if self.settings.openvino:
            files.append(self._write_openvino(header))
        return ExportedModel(
            tuple(files),
            self.model,
            tuple(parity),
            tuple(self.kept),
            len(self.crops),
            self.drawn,
            accuracy,
        )

    def _compare(self) -> list[Parity]:
        ways = ways_to_compute(self.settings.precision)
        parity: list[Parity] = []
        total = len(ways) * len(BATCH_SIZES) * len(self.crops)
        with progress_bar("compare", total, "crops") as advance:
            for backend, precision in ways:
                embedder = _embedder(self.graph, self.header, backend, precision)
                parity += measure_parity(
                    embedder.started.backend,
                    embedder.started.precision,
                    partial(self._embed, embedder, advance),
                    self.expected,
                )
        return parity

    def _embed(
        self, embedder: Embedder, advance: Advance, batch_size: int
    ) -> Float32[np.ndarray, "crops dim"]:
        return embedder.embed_crops(self.crops, batch_size, advance)

    def _accuracy(self) -> dict[str, Any] | None:
        settings = self.settings
        if settings.pairs is None:
            return None
        assert settings.check is not None
        pairs = read_pair_list(settings.pairs)
        store = CropStore.open(settings.check)
        matched = match_photos(pairs.sources, store.sources)
        rows = [row for row in matched.rows.tolist() if row >= 0]
        images = [
            name
            for name, row in zip(pairs.sources, matched.rows.tolist(), strict=True)
            if row >= 0
        ]
        exported = _embedder(self.graph, self.header, "onnxruntime", "auto")
        both = [
            evaluate_pairs(embed_rows(embedder, store, rows), images, pairs)
            for embedder in (self.source, exported)
        ]
        compared = compare_evaluations(*both)
        return {
            "pairs": settings.pairs.name,
            "num_pairs": len(pairs.same),
            "source": both[0].accuracy,
            "export": both[1].accuracy,
            "mcnemar_p_value": compared.mcnemar_p_value,
        }

    def _write_openvino(self, header: ModelHeader) -> Path:
        from facever.inference.formats.openvino_file import (
            copy_with_header,
            write_model,
        )

        path = self.out.with_suffix(".xml")
        with TemporaryDirectory() as folder:
            made = Path(folder) / path.name
            write_model(made, self.graph, header, self.settings.precision == "fp16")
            embedder = Embedder(load_model(made), "cpu", "fp32")
            alike = cosines(embedder.embed_crops(self.crops), self.expected)
            if alike.min() < PARITY_BOUNDS[self.settings.precision]:
                raise ModelFileError(
                    f"{path} is not written: OpenVINO's file gives a lowest cosine of "
                    f"{alike.min():.6f} to {self.model}"
                )
            copy_with_header(made, path, header)
        return path
