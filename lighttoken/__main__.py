"""``python -m lighttoken``: the command."""

from toolkit.cli import main

main()
