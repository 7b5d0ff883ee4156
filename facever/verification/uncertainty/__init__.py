"""How far numbers can be trusted: intervals, comparisons of two models, probabilities.

``intervals`` has Wilson's interval and the bootstrap, which draws people or pairs by
``resampling``; ``error_bars`` applies both to an evaluation; ``paired`` compares two
models on the same pairs; ``calibration`` turns scores into probabilities.
"""
