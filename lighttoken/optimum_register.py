"""Found by ``optimum-cli``: wheels have this file as optimum/commands/register/.

That folder is shared by all distributions that add commands, and has no ``__init__.py`` (PEP 420).
"""

from lighttoken.optimum_cli import REGISTER_COMMANDS

__all__ = ["REGISTER_COMMANDS"]
