"""Does a model err alike on all groups of people or photos? Rates, intervals, tests.

``attributes`` reads who is in which group; ``clustered_rates`` gives rates with
intervals that know that pairs of one person are judged alike; ``differentials`` says in
one number how far groups are apart; ``deals`` tests differences by dealing the groups
again at random; ``comparison`` applies all to an evaluation.
"""
