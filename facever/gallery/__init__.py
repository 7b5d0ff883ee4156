"""Who is this? Enrolled people, kept as embeddings, that can be searched.

A new face is compared with the faces of a gallery's people: the most similar ones are
its matches, and above a threshold the best match says who it is.

- ``opening`` opens or makes the gallery at a place: ``GALLERIES`` has a row for each
  back end. ``base`` holds what all galleries do, on top of the few methods that a back
  end defines; ``entries`` and ``meta`` hold what a gallery consists of, ``checking``
  what it refuses, ``people`` the search for people by the search for photos.
- ``folder`` keeps people in an SQLite database in a folder, with an index in memory or
  in a file beside it. ``postgres`` keeps them in a PostgreSQL database, ``qdrant``, as
  an experiment, in Qdrant.
- ``indexes`` finds the nearest embeddings, exactly or approximately: ``INDEXES``.
- ``enrollment`` brings photos, crops or embeddings into a gallery, ``migration`` embeds
  its faces again with another model, ``exchange`` writes and reads files for other
  tools, and ``answering`` makes an answer of matches and a threshold.
"""
