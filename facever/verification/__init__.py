"""How well do embeddings tell people apart? Protocols, judging, error bars, reports.

- ``protocols/`` reads lists of pairs or trials; ``photo_matching`` finds the embeddings
  of the photos that they name.
- ``evaluation`` gives all numbers of a list of pairs. It stands on ``pair_scores``
  (cosine, distance), ``pca``, ``thresholds`` (exact, chosen on other folds) and ``roc``
  (AUC, EER, TAR at FAR).
- ``rules`` judges the same pairs as other projects do.
- ``identification/`` asks who is on a photo, in place of whether two photos show one
  person; ``all_pairs`` compares every photo with every other; ``clusters`` compares
  faces that were sorted by person with the people on them.
- ``uncertainty/`` says how far the numbers can be trusted, compares two models, and
  turns scores into probabilities.
- ``reporting/`` writes all of it as a page, JSON, CSV and pictures.
- ``model_threshold`` chooses the threshold that a model file is shipped with;
  ``unrestricted`` is LFW's setting with a network for each fold.
"""
