"""Photos and crops: from the files that people have to the batches that train.

::

    sources --> faces.aligner --> store --> batches --> training

- ``sources`` lists the photos of folders, lists, CSV files, tar files, ``.bin``,
  ``.rec`` and crop stores; ``any_source`` is the one door.
- ``recordio`` reads and writes ``.rec``, the format of MXNet and InsightFace.
- ``store`` keeps aligned crops in a folder, and checks, joins, divides and exports
  them; ``crop_store`` says what is in the folder.
- ``batches`` draws, reads and changes the crops that a training step sees.

``sources`` imports ``store`` and ``recordio``, ``store`` imports ``recordio``, and
``batches`` takes crops as arrays and imports none of them.
"""
