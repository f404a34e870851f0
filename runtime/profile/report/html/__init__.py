"""A profile as one HTML file that needs nothing else: no script, no request, no font.

:func:`.page.write_html` writes it. Each section has a module that gathers what it shows as plain
data; ``templates/`` holds the markup. :mod:`.bars` and :mod:`.lines` draw with matplotlib,
:mod:`.svg` makes what matplotlib writes part of the page.
"""

from .page import to_html, write_html

__all__ = ["to_html", "write_html"]
