"""Where a report may be written: found before the hours of work, not after them."""

from pathlib import Path

from facever.errors import FileError
from facever.files import check_folder_place, naming_write_errors

CROPS_FOLDER = "crops"
PHOTOS_TABLE = f"{CROPS_FOLDER}-photos.csv"
NUMBERS_FILES = (
    "report.json", "view_1.json", "identification.json", "blufr.json", "templates.json",
)  # fmt: skip
"""The files of the kinds of report; a folder with one of them is a report's own."""


def check_report_folder(out: Path) -> None:
    """Refuse a report's folder that cannot be written or is another's; make none.

    What an evaluation left that was killed, its crops alone, is a report's own, too.

    Args:
        out: Folder of the report.

    Raises:
        FileError: If the folder holds something else and no report, so that somebody's
            files might be overwritten, or nothing can be written there.
    """
    check_folder_place(out)
    with naming_write_errors(out):
        inside = out.iterdir() if out.exists() else ()
        names = sorted(path.name for path in inside if path.name[0] != ".")
    others = [name for name in names if name not in (CROPS_FOLDER, PHOTOS_TABLE)]
    if others and not any(name in names for name in NUMBERS_FILES):
        raise FileError(
            f"{out} holds {others[0]} and no report of facever, whose files would be "
            "overwritten: name a new folder"
        )
