"""What can go wrong, as a tree.

::

    FaceverError                 everything that facever raises for its user
    ├── ParameterError           an argument or option is out of its range (ValueError)
    │   ├── ConfigError          a config file or key=value override is wrong
    │   └── TooFewImagesError    a PCA of this size needs more images than there are
    ├── FileError                a path is missing, empty or not of its kind (OSError)
    │   ├── PhotoError           a photo cannot be read
    │   │   └── UploadError      a photo that was sent to the web page is not taken
    │   └── ModelFileError       a model file or checkpoint is damaged or foreign
    ├── DataError                readable data that contradicts itself (ValueError)
    │   └── MismatchError        embeddings or crops of another model or template
    ├── DivergedError            NaN or infinity where training needs numbers
    ├── TerminatedError          SIGTERM asked a run to end, and it did, in good order
    └── GalleryError             a gallery refuses a change or a question (ValueError)
        └── NotEnrolledError     this person or photo is not in it

Each message says what was wrong, where, and what to do. The console command prints that
line alone and exits with 2, or with 143 after SIGTERM; a traceback is for bugs.
"""


class FaceverError(Exception):
    """Any error that facever raises for its user."""


class ParameterError(FaceverError, ValueError):
    """An argument or option is out of its range."""


class ConfigError(ParameterError):
    """A config file or an override is wrong."""


class FileError(FaceverError, OSError):
    """A path is missing, empty or not of its kind."""


class PhotoError(FileError):
    """A photo cannot be read; the message is the reason, fit for a ledger."""


class UploadError(PhotoError):
    """A photo that was sent to the web page is not taken.

    Attributes:
        status: HTTP's for the reason: 413 too large, 415 of a wrong type, 422 damaged.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ModelFileError(FileError):
    """A model file or checkpoint is damaged or foreign."""


class DataError(FaceverError, ValueError):
    """Readable data that contradicts itself."""


class MismatchError(DataError):
    """Embeddings or crops that belong to another model or template."""


class DivergedError(FaceverError):
    """NaN or infinity where training needs numbers."""


class TerminatedError(FaceverError):
    """SIGTERM asked a run to end, and it did, in good order."""


class GalleryError(FaceverError, ValueError):
    """A gallery refuses a change or a question."""


class TooFewImagesError(ParameterError):
    """A PCA of this size needs more images than there are to fit it on."""


class NotEnrolledError(GalleryError):
    """A gallery does not hold the person or photo that is to be changed."""
