"""What looks wrong in a set of crops: doubles, outliers, look-alikes, test people.

``suggestions`` finds them, by ``centers`` of identities and pairs that are ``alike``;
``lists`` writes them for a person to edit and reads them back; ``sheets`` shows the
crops that they are about.
"""
