"""Batches of crops for training: drawn, read, changed, all by seed and step alone.

- ``sampling`` draws the crops of a step, and the identities to hold out;
  ``people_list`` names people to train on and to hold out in a file.
- ``loading`` makes the batches; start here.
- ``crop_workers`` reads and changes crops in other processes, ``resident`` keeps them
  in the memory of a GPU.
- ``augmentation`` changes crops at random, as ``crop_seeds`` says.
"""
