"""Pages that run bundles in a browser, and the scripts that measure there.

``index.html`` is the page of ``lighttoken serve``, ``measure.html`` that of ``profile --emit web``,
``headless.mjs`` what :mod:`runtime.profile.browser` starts. :mod:`.files` says what each needs.
"""
