"""The crop store: a folder of aligned crops, the tables beside them and checksums.

To read one: ``crop_store`` opens it, ``tables`` reads ``crops.csv``, ``jpeg`` decodes a
compressed one, ``crop_bytes`` reads blocks of it, checked.

To write one: ``writer`` adds photo after photo and goes on after a kill; its work in
progress is ``unfinished``. ``copying`` writes a store out of rows of others, which
``merging`` and ``subsets`` choose. ``folder`` holds the folder meanwhile and moves new
files into place.

To look at one: ``summary``, ``contact_sheet``, ``verifying`` against ``checksums``, and
``exporting`` to forms of other tools.
"""
