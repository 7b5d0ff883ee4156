"""Read pickles of other projects as data: nothing that they name is ever run."""
