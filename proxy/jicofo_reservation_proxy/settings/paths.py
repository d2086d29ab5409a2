"""Relative paths: those in the settings file are relative to its folder."""

import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from .schema import SecretFile

_EXTENSION = re.compile(r"\.[A-Za-z]{1,8}")


def is_like_a_path(text: str) -> bool:
    """Return whether a text is written like a path, and not like a secret.

    An operator may write the secret itself in place of the path of its file, and error messages
    show paths.
    """
    return text.startswith(("/", "./", "../")) or bool(_EXTENSION.fullmatch(Path(text).suffix))


def resolve(tree: object, type_: Any, folder: Path) -> object:  # noqa: ANN401 - a type of the schema
    """Return a tree of plain values in which every path is absolute.

    `type_` is the type of the tree in the schema. What does not fit the type stays as it is, also a
    secret in place of the path of its file; validation.py finds both.
    """
    if NoneType in get_args(type_):
        (type_,) = (part for part in get_args(type_) if part is not NoneType)
    if type_ is Path or type_ is SecretFile:
        is_path = isinstance(tree, str) and tree and (type_ is Path or is_like_a_path(tree))
        return str(folder / str(tree)) if is_path else tree
    if is_dataclass(type_) and isinstance(tree, Mapping):
        hints = get_type_hints(type_)
        return {key: resolve(value, hints.get(key), folder) for key, value in tree.items()}
    if get_origin(type_) is dict and isinstance(tree, Mapping):
        inner = get_args(type_)[1]
        return {key: resolve(value, inner, folder) for key, value in tree.items()}
    return tree
