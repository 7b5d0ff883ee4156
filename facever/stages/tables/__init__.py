"""Tables of papers: recipes become rows, one run a cell and seed, and files."""
