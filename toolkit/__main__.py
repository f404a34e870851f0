"""``python -m toolkit`` is ``lighttoken``."""

from .cli import main

main()
