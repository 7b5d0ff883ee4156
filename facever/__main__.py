"""``python -m facever``, the same as the console command."""

from facever.cli import main

main()
