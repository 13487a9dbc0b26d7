"""``python -m trioquorum``: the command line."""

from trioquorum.cli import main

main()
