"""Labels behind the first one in the records of a ``.rec`` file.

The first label says who is in a photo. What others mean, such as an age or a pose, is
known to whoever wrote the file alone, so they are kept as they stand or ignored.
"""

from collections.abc import Sequence
from pathlib import Path

from facever.csv_tables import write_csv
from facever.data.recordio.photos import RecordPart
from facever.errors import ParameterError
from facever.faces.photo_source import PhotoSource
from facever.files import whole_file


def write_extra_labels(path: Path, photos: Sequence[PhotoSource]) -> None:
    """Write the labels behind the first to a CSV file.

    The columns are ``source``, by which crops and embeddings name the photo, and
    ``labels``, all but the first, with spaces between. A line stands for each photo
    that has any.

    Args:
        path: The file to write.
        photos: As a ``.rec`` lists them.

    Raises:
        ParameterError: If no photo has any.
        FileError: If the file cannot be written.
    """
    records = [
        (photo, photo.part)
        for photo in photos
        if isinstance(photo.part, RecordPart) and photo.part.num_labels > 1
    ]
    if not records:
        raise ParameterError(
            "--extra-labels keeps the labels behind the first in the records of a "
            ".rec, and the source has none: leave the option out"
        )
    rows = (
        (photo.source, " ".join(map(str, part.extra_labels(photo.path))))
        for photo, part in records
    )
    with whole_file(path) as temporary:
        write_csv(temporary, ["source", "labels"], rows)
