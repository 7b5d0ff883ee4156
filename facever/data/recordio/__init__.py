"""``.rec`` files of MXNet and InsightFace, read and written without MXNet.

- ``format`` is the file: parts with a magic number and a length, and the ``.idx``.
- ``scan`` finds the whole records of a file, also of a damaged one.
- ``headers`` reads what stands before the photo of every record.
- ``photos`` lists the photos, each with its label; start here to read.
- ``writer`` writes records, and photos in InsightFace's layout.
"""
