"""From a model file and crops or photos to embeddings.

- ``embedder`` is the one way from photos to embeddings; ``verdict`` says what the
  cosine of two means, ``vectors`` brings them to unit length, and ``embeddings_file``
  keeps those of a crop store.
- ``model_file`` loads a ``model`` of any of the ``formats``: a ``network``, and a
  ``header`` with all that it takes to use it rightly. ``backends`` compute networks;
  ``preprocessing`` brings pixels to their range, in training, too.
- ``ready``, ``downloads``, ``presets`` and ``pixel_scales`` are what is known of
  networks of other projects: those that a package brings, those that are fetched, and
  how those that a user has want their crops.
- ``state_dicts`` makes a network of published weights; ``torch_files`` reads them
  without running what is in them, ``sound_weights`` refuses damaged ones.
- ``exporting`` writes a network of facever's own as a graph, ``quantising`` brings one
  to whole numbers, and ``parity`` measures whether a backend still gives the same.
"""
