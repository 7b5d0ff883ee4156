"""Options that several commands share."""

from typing import Annotated

import typer

from facever.choices import Backend, Detector, Precision

Device = Annotated[
    str, typer.Option(help="Where the network runs: auto, cpu, cuda, cuda:1 and so on.")
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        help="Numbers of the network; auto is bf16 where the device is made for it."
    ),
]
BackendOption = Annotated[
    Backend,
    typer.Option(
        help="What computes the networks. auto: the fastest that is installed and "
        "known to give the same. onnxruntime and openvino come with the extras onnx "
        "and openvino."
    ),
]
DetectorOption = Annotated[
    Detector,
    typer.Option(
        help="How faces are found. mtcnn-sphereface: SphereFace's stricter "
        "thresholds. yunet: OpenCV's, on the CPU, several times faster. crops: the "
        "photos are aligned crops already, 112x96 or 112x112 (height x width)."
    ),
]
KeptDetectorOption = Annotated[
    Detector | None,
    typer.Option(help="How faces are found; by default as when the gallery was made."),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        help="Height times width of the largest photo that is read; a larger one is "
        "listed as a failure.",
    ),
]
MinQuality = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=NUMBER",
        help="Refuse photos whose face is of lower quality: landmark-fit, "
        "detector-score, eye-distance or sharpness, such as sharpness=20. May be given "
        "several times.",
    ),
]
Array = Annotated[
    str | None,
    typer.Option(
        metavar="EMBEDDINGS[,IMAGES]",
        help="What an .npz calls its arrays, if not embeddings and images.",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        help="A model file, or a ready model's name; sface comes with the extra ready."
    ),
]
IdentityOption = Annotated[
    str | None,
    typer.Option(
        help="Who is in a photo: top (the topmost folder), parent (the folder that "
        "holds the photo), or a regular expression for the path, of which the first "
        "group is the person. By default as the photos' source says, or else top."
    ),
]
FramesOption = Annotated[
    str,
    typer.Option(
        help="Which frames of a video are taken: all, first:N, every:N or random:N."
    ),
]
Model = Annotated[
    str,
    typer.Argument(help="A model file, or a ready model such as sface."),
]
