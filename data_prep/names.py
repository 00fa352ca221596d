"""Names of the form 'package.module:Name', by which a user's own code is found."""

import hashlib
import importlib
import os
import pathlib
import sys
from typing import Any


def load(name: str, what: str) -> Any:
    """Imports what a name says, looking into the current folder first.

    Args:
      name: 'package.module:Name'.
      what: The word for it in an error, such as 'model'.

    Raises:
      ValueError: When there is no such module, or nothing of this name in it. An error
        of the module's own code is passed on as it is.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise ValueError(f"{what} {name!r} is not of the form package.module:Name")
    folder = os.getcwd()
    if sys.path[0] not in ("", folder):
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):  # it imports another
            raise ValueError(f"{what} {name!r} cannot be imported ({error})") from error
        raise ValueError(
            f"{what} {name!r}: there is no module {error.name!r} in {folder}, nor "
            "where Python looks for modules"
        ) from error
    except ImportError as error:
        raise ValueError(f"{what} {name!r} cannot be imported ({error})") from error
    if not hasattr(module, attribute):
        raise ValueError(
            f"{what} {name!r}: there is no {attribute!r} in "
            f"{getattr(module, '__file__', None) or module_name}"
        )
    return getattr(module, attribute)


def source_digest(name: str) -> str | None:
    """The SHA-256 of the file that a name's module is, None where there is none.

    Args:
      name: 'package.module:Name', which can be imported, or any other name.
    """
    if ":" not in name:
        return None
    load(name, "model")
    file = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest() if file else None
