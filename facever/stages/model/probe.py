"""``facever model probe``: how a network wants its crops, found out by trying."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
from jaxtyping import Float32, Float64

from facever.choices import DEFAULT_MAX_PIXELS, ChannelOrder, Mirror
from facever.data.store.crop_store import CropStore
from facever.errors import DataError, MismatchError, ParameterError
from facever.faces.templates import TEMPLATES, Template
from facever.files import check_folder_place, check_new_file, whole_file
from facever.inference.backends.runtime_network import RuntimeNetwork
from facever.inference.formats.ports import ImageInput
from facever.inference.model_file import open_foreign
from facever.inference.pixel_scales import PIXEL_SCALES
from facever.progress import progress_bar
from facever.results import as_json
from facever.stages.evaluation.named_crops import align_named
from facever.stages.evaluation.pair_protocols import PAIR_PROTOCOLS
from facever.stages.evaluation.report_folder import CROPS_FOLDER
from facever.stages.model.importing import ImportSettings, import_model
from facever.stages.model.probe_report import MIRRORS, Input, ProbeReport
from facever.verification.pair_scores import pair_cosine
from facever.verification.photo_matching import row_of_key
from facever.verification.probe import Choice, choose_way
from facever.verification.protocols import (
    PairList,
    photo_keys,
    read_lfw_development_pairs,
)

PROBE_FILE = "probe.json"

_BATCH_CROPS = 64

FindCrops = Callable[[Sequence[str]], CropStore]
"""Gets the sources of photos; gives a store of their crops."""


def probe_model(
    file: str | Path,
    pairs: str | Path,
    *,
    photos: str | Path | None = None,
    crops: Sequence[str | Path] = (),
    out: str | Path | None = None,
    output: str | None = None,
    device: str = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> ProbeReport:
    """Find out how a network wants its crops: which, in which colours and numbers.

    What is tried: every template of the size that the network takes, RGB and BGR, and
    ``PIXEL_SCALES``; and for what is best, the mirror rules. See
    ``facever.verification.probe`` for how they are compared.

    Args:
        file: An ``.onnx``, or an OpenVINO ``.xml`` with its ``.bin``; a header in it
            does not count.
        pairs: ``pairsDevTrain.txt`` of LFW's View 1, which is there to choose on.
        photos: LFW's photos, which are aligned for each template.
        crops: Crop stores of these photos, which save the alignment.
        out: Folder of the network's copy with a header, of ``probe.json`` with all
            numbers, and of the crops of photos, with which a run that was killed goes
            on; None keeps nothing.
        output: Name of the output that is the embedding, where there are several.
        device: Where the network runs: ``auto``, ``cpu``, ``cuda``...
        max_pixels: Height times width of the largest photo that is read.

    Returns:
        What was tried and what came of it. Nothing is written into a copy of a network
        that is of no use; ``failure`` says so then.

    Raises:
        ParameterError: If neither photos nor crops are given.
        FileError: If ``out`` cannot be written, or holds a file of the network's name
            that no probe has written.
        MismatchError: If there are no crops of a size that the network takes.
        FaceverError: If a file cannot be read, or the pairs are none of View 1.
    """
    file, started = Path(file), time.monotonic()
    if photos is None and not crops:
        raise ParameterError("give photos or crops, got neither")
    if out is not None:
        _check_out(Path(out), file)
    pair_list = read_lfw_development_pairs(Path(pairs))
    network = open_foreign(file, output).network
    stores = [CropStore.open(store) for store in crops]
    with TemporaryDirectory() if out is None else nullcontext(out) as folder:
        finders = _find_crops(
            file, network.image, stores, photos, Path(folder) / CROPS_FOLDER, max_pixels
        )
        inputs = [
            Input(*each)
            for each in product(finders, get_args(ChannelOrder), PIXEL_SCALES)
        ]
        features = _Features(network, finders, device)
        choice = choose_way(
            len(inputs),
            pair_list,
            lambda ways, some: features.score([inputs[way] for way in ways], some),
        )
        mirrors = None
        if choice.is_usable:
            mirrors = features.choose_mirror(inputs[choice.chosen], pair_list)
    report = ProbeReport(
        file,
        inputs,
        choice,
        mirrors,
        None if out is None else Path(out),
        time.monotonic() - started,
    )
    _write(report, output)
    return report


def _check_out(out: Path, file: Path) -> None:
    """Before the work; what an earlier probe wrote is written over."""
    check_folder_place(out)
    if not (out / PROBE_FILE).exists():
        check_new_file(out / file.name)


def _find_crops(
    file: Path,
    image: ImageInput,
    stores: Sequence[CropStore],
    photos: str | Path | None,
    folder: Path,
    max_pixels: int,
) -> dict[Template, FindCrops]:
    """Where crops come from, by the templates that fit and of which there are some."""
    fitting = [
        template
        for template in TEMPLATES.values()
        if image.height in (None, template.height)
        and image.width in (None, template.width)
    ]
    finders: dict[Template, FindCrops] = {}
    for template in fitting:
        for store in stores:
            if template.window_in(store.template) is not None:
                finders[template] = partial(_given, store)
        if template not in finders and photos is not None:
            finders[template] = partial(
                _aligned, Path(photos), folder / template.name, template, max_pixels
            )
    if not finders:
        size = f"{image.height or 'any'}x{image.width or 'any'}"
        known = ", ".join(template.name for template in fitting) or "none"
        raise MismatchError(
            f"{file} takes {size} pixels (height x width), for which the templates are "
            f"{known} and the crop stores given "
            f"{', '.join(store.template.name for store in stores) or 'none'}"
        )
    return finders


def _aligned(
    photos: Path,
    folder: Path,
    template: Template,
    max_pixels: int,
    named: Sequence[str],
) -> CropStore:
    face = PAIR_PROTOCOLS["lfw"].face
    return align_named(photos, folder, named, face, template, max_pixels)[0]


def _given(store: CropStore, named: Sequence[str]) -> CropStore:
    if not set(photo_keys(named)) & set(photo_keys(store.sources)):
        raise DataError(
            f"{store.folder} has none of the photos that are named, such as {named[0]}"
        )
    return store


class _Features:
    """What a network gives for photos in each way to give them; computed once."""

    def __init__(
        self,
        network: RuntimeNetwork,
        finders: Mapping[Template, FindCrops],
        device: str,
    ) -> None:
        self._forward = network.forward(device)
        self._finders = finders
        # By the way and whether of mirror images, and then by the photo's key.
        self._known: defaultdict[
            tuple[Input, bool], dict[str, Float32[np.ndarray, " dim"]]
        ] = defaultdict(dict)

    def score(
        self, inputs: Sequence[Input], pairs: PairList
    ) -> Float64[np.ndarray, "ways pairs"]:
        """The cosines of pairs in each way, without mirror images."""
        self._compute([(each, False) for each in inputs], pairs.sources)
        return np.array([_cosines(self._known[each, False], pairs) for each in inputs])

    def choose_mirror(self, chosen: Input, pairs: PairList) -> Choice:
        """Which mirror rule is right for one way; see ``MIRRORS``."""
        self._compute([(chosen, False), (chosen, True)], pairs.sources)
        mirrored = self._known[chosen, True]
        merged = {
            rule: {
                photo: _merge(rule, own, mirrored[photo])
                for photo, own in self._known[chosen, False].items()
            }
            for rule in MIRRORS
        }
        return choose_way(
            len(MIRRORS),
            pairs,
            lambda ways, some: np.array(
                [_cosines(merged[MIRRORS[way]], some) for way in ways]
            ),
            rounds=(np.inf,),
        )

    def _compute(
        self, wanted: Sequence[tuple[Input, bool]], named: Sequence[str]
    ) -> None:
        stores = {
            template: self._finders[template](named)
            for template in dict.fromkeys(each.template for each, _ in wanted)
        }
        rows = {
            template: row_of_key(store.sources) for template, store in stores.items()
        }
        keys = photo_keys(named)
        missing = {
            way: [
                key
                for key in keys
                if key in rows[way[0].template] and key not in self._known[way]
            ]
            for way in wanted
        }
        if not any(missing.values()):
            return
        with progress_bar("try", sum(map(len, missing.values())), "crops") as advance:
            for way, photos in missing.items():
                template = way[0].template
                crops = stores[template].crops_for(template)
                for start in range(0, len(photos), _BATCH_CROPS):
                    some = photos[start : start + _BATCH_CROPS]
                    chunk = np.array(crops[[rows[template][key] for key in some]])
                    vectors = self._embed(way, chunk)
                    self._known[way] |= dict(zip(some, vectors, strict=True))
                    advance(len(some), str(way[0]))

    def _embed(
        self, way: tuple[Input, bool], crops: np.ndarray
    ) -> Float32[np.ndarray, "crops dim"]:
        given, is_mirrored = way
        views = crops[:, :, ::-1] if is_mirrored else crops
        vectors = self._forward(given.prepare(views))
        # Numbers that are too large for a network are a wrong way, not an error: a zero
        # vector is as like to one vector as to any other.
        vectors[~np.isfinite(vectors).all(axis=1)] = 0
        return vectors


def _cosines(
    vectors: Mapping[str, Float32[np.ndarray, " dim"]], pairs: PairList
) -> Float64[np.ndarray, " pairs"]:
    place_of = {key: place for place, key in enumerate(vectors)}
    left, right = (
        np.array([place_of.get(key, -1) for key in photo_keys(side)], np.int64)
        for side in (pairs.left, pairs.right)
    )
    return pair_cosine(np.array(list(vectors.values()), np.float64), left, right)


def _merge(
    rule: Mirror,
    own: Float32[np.ndarray, " dim"],
    mirrored: Float32[np.ndarray, " dim"],
) -> Float32[np.ndarray, " features"]:
    if rule == "none":
        return own
    return np.add(own, mirrored) if rule == "sum" else np.append(own, mirrored)


def _write(report: ProbeReport, output: str | None) -> None:
    if report.out is None:
        return
    report.out.mkdir(parents=True, exist_ok=True)
    with whole_file(report.out / PROBE_FILE) as temporary:
        temporary.write_text(as_json(report.to_dict()) + "\n", encoding="utf-8")
    if not report.choice.is_usable:
        return
    chosen = report.chosen
    _, mean, scale = PIXEL_SCALES[chosen.pixels]
    settings = ImportSettings(
        template=chosen.template.name,
        channel_order=chosen.channel_order,
        mean=mean,
        scale=scale,
        mirror=report.mirror,
        output=output,
    )
    import_model(report.file, report.out / report.file.name, settings, replaces=True)
