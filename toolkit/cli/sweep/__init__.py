"""``lighttoken sweep``: many exports and their evaluations, from one file.

``plan`` reads the file, ``cells`` makes of it what is to be done, ``worker`` does one of these,
``results`` keeps what came of it, ``rows`` and ``picture`` show all together, ``verb`` is the
command.
"""

from .verb import command

__all__ = ["command"]
