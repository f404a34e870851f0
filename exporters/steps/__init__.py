"""The steps of an export, one a file; :mod:`exporters.export` lists them in order."""
