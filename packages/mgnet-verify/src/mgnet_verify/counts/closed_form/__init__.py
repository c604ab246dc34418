"""Counts by arithmetic from a notation or a layer list. No network is built.

Importing this package imports every file in it, and a file registers its family when it is imported, see `registry`.
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__, f"{__name__}."):
    import_module(_file.name)
