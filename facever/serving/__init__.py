"""The web page of a gallery and the API behind it; the only room that knows FastAPI.

``app`` makes the application of ``routes``, whose answers are described in ``answers``.
``guard`` and ``binding`` say who may ask, ``uploads`` what may be sent, ``admission``
how many are answered at a time. ``face_reader`` finds and embeds faces,
``gallery_thread`` owns the gallery; both do together what waits, by ``batches``.
"""
