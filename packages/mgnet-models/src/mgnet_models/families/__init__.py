"""The networks around MgNet: one file for each family, with its names in the registry of timm.

Importing this package imports every file in it, and a file registers its names when it is imported. docs/how-to/add-a-family.md
of the repository shows how a family is added.
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__, f"{__name__}."):
    import_module(_file.name)
