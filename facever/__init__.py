"""Face verification: photos to crops, crops to embeddings, embeddings to answers.

>>> import facever
>>> embedder = facever.load("model.safetensors")  # doctest: +SKIP
>>> embedder.verify("a.jpg", "b.jpg").cosine  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from facever.errors import FaceverError
from facever.version import __version__

if TYPE_CHECKING:
    from facever.gallery.entries import Match
    from facever.gallery.folder.gallery import Gallery
    from facever.inference.embedder import Embedder, Verification, load

__all__ = [
    "Embedder",
    "FaceverError",
    "Gallery",
    "Match",
    "Verification",
    "__version__",
    "load",
]

_HOMES = {
    "Embedder": "facever.inference.embedder",
    "Gallery": "facever.gallery.folder.gallery",
    "Match": "facever.gallery.entries",
    "Verification": "facever.inference.embedder",
    "load": "facever.inference.embedder",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: torch alone takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'facever' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
