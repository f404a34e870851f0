"""Pages that run bundles in a browser, and the scripts that measure there.

``page/`` is the page of ``lighttoken serve``; ``measure/`` that of ``profile --emit web``, and with
``headless.mjs`` what :mod:`runtime.profile.browser` starts; scripts beside these folders serve
both. :mod:`.files` says what each needs.
"""
