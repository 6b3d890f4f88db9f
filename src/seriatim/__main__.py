"""``python -m seriatim``: the command line."""

from seriatim.cli import main

main()
