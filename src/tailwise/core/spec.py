"""Frozen dataclasses <-> tagged plain data and YAML; canonical hash; difference of two specifications.

A component (:class:`~tailwise.core.registry.Slot`) is written with its registry name under ``_type``; everything else
is told by the annotations of the fields. Fields marked ``unhashed()`` say where or how something runs, not what is
computed, and stay out of the hash.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, dataclass_transform

import yaml

from tailwise.core.errors import TailwiseError, suggest
from tailwise.core.registry import REGISTRY, Slot

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[T]) -> type[T]:
    """``dataclass(frozen=True, kw_only=True)``: the form of everything that appears in a recipe."""
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


class SpecError(TailwiseError):
    """A recipe file with an unknown field, a missing one, or a value of the wrong type."""


def unhashed(default: Any) -> Any:
    """A dataclass field that does not enter the hash (a folder, a device, a number of workers)."""
    if isinstance(default, tuple | str | int | float | type(None)):
        return dataclasses.field(default=default, metadata={"hashed": False})
    return dataclasses.field(default_factory=lambda: default, metadata={"hashed": False})


def hashed_if_set(default: T) -> T:
    """A dataclass field that enters the hash only with another value than its default.

    For a field that is added to a schema: the hashes of specifications that do not use it stay what they were.
    """
    if isinstance(default, dict):
        empty = typing.cast(T, {})
        if default:
            raise ValueError("a dictionary that enters the hash when it is set must be empty by default")
        return dataclasses.field(
            default_factory=lambda: typing.cast(T, {}), metadata={"hashed_if_set": True, "unset": empty}
        )
    return dataclasses.field(default=default, metadata={"hashed_if_set": True, "unset": default})


def to_plain(value: Any, *, hashed_only: bool = False) -> Any:
    """Dicts, lists, strings and numbers that describe ``value`` completely.

    Args:
        value: A dataclass, a container of them, or a plain value.
        hashed_only: Leave out the fields that do not enter the hash.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {"_type": value.name} if isinstance(value, Slot) else {}
        for field in dataclasses.fields(value):
            if hashed_only and not _is_hashed(field, getattr(value, field.name)):
                continue
            plain[field.name] = to_plain(getattr(value, field.name), hashed_only=hashed_only)
        return plain
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, hashed_only=hashed_only) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item, hashed_only=hashed_only) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def from_plain(kind: type[T], plain: Any, where: str = "") -> T:
    """Builds a dataclass from what :func:`to_plain` wrote.

    Args:
        kind: The dataclass expected at the top.
        plain: Its plain form. A missing field takes its default.
        where: A prefix for messages, for example a file's name.

    Raises:
        SpecError: An unknown or missing field or an ill-typed value; the message names the field's path, what was
            given and what is allowed.
        UnknownName: An unknown component.
    """
    return typing.cast(T, _build(kind, plain, where))


def spec_hash(value: Any) -> str:
    """Twelve hexadecimal digits that depend on every hashed field."""
    plain = _one_kind_of_number(to_plain(value, hashed_only=True))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def to_yaml(value: Any) -> str:
    """The complete specification as YAML, in the order of the fields."""
    return yaml.safe_dump(to_plain(value), sort_keys=False, allow_unicode=True, width=110)


def from_yaml(kind: type[T], text: str, where: str) -> T:
    """Reads what :func:`to_yaml` wrote.

    Raises:
        SpecError: The text is not YAML, or not this kind of specification.
    """
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(plain, dict):
        raise SpecError(f"{where}: expected named fields, got {type(plain).__name__}")
    return from_plain(kind, plain, where)


def differences(left: Any, right: Any) -> list[tuple[str, Any, Any]]:
    """``(path, left value, right value)`` for every leaf in which two specifications differ."""
    a, b = dict(_leaves(to_plain(left))), dict(_leaves(to_plain(right)))
    return [(path, a.get(path), b.get(path)) for path in dict.fromkeys([*a, *b]) if a.get(path) != b.get(path)]


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """Splits ``"ldam(scale=30)"`` into its name and literal keyword arguments; nothing is evaluated.

    Raises:
        SpecError: Not of the form ``name`` or ``name(argument=literal, ...)``.
    """
    split = re.fullmatch(r"\s*([A-Za-z_][\w.-]*)\s*(\(.*\))?\s*", text, re.DOTALL)
    if split is not None:
        name, arguments = split[1].replace("-", "_"), split[2] or "()"
        try:
            node = ast.parse(f"call{arguments}", mode="eval").body
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and not node.args
                and all(item.arg for item in node.keywords)
            ):
                return name, {str(item.arg): ast.literal_eval(item.value) for item in node.keywords}
        except (SyntaxError, ValueError):
            pass
    raise SpecError(f"cannot read {text!r}; write name or name(argument=value, ...), for example power(q=0.5)")


def _is_hashed(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.metadata.get("hashed_if_set", False):
        return bool(value != field.metadata["unset"])
    return bool(field.metadata.get("hashed", True))


def _one_kind_of_number(plain: Any) -> Any:
    """Whole numbers as floats: a field for a number may hold 0 or 0.0, and both mean the same recipe."""
    if isinstance(plain, dict):
        return {key: _one_kind_of_number(item) for key, item in plain.items()}
    if isinstance(plain, list):
        return [_one_kind_of_number(item) for item in plain]
    return float(plain) if isinstance(plain, int) and not isinstance(plain, bool) else plain


def _leaves(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(plain, dict) and plain:
        for key, item in plain.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(plain, list) and any(isinstance(item, dict | list) for item in plain):
        for number, item in enumerate(plain):
            yield from _leaves(item, f"{path}.{number}")
    else:
        yield path, plain


def _build(kind: Any, plain: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _build(typing.get_args(kind)[0], plain, where)
    if origin in (typing.Union, types.UnionType):
        return _build_union(typing.get_args(kind), plain, where)
    if origin is Literal:
        if plain in typing.get_args(kind):
            return plain
        names = [str(choice) for choice in typing.get_args(kind)]
        raise SpecError(f"{where}: {plain!r} is not allowed; one of {', '.join(names)}{suggest(str(plain), names)}")
    if origin is tuple:
        if not isinstance(plain, list | tuple):
            raise _mismatch(where, "a list", plain)
        inner = typing.get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_build(inner[0], item, f"{where}[{number}]") for number, item in enumerate(plain))
        if len(inner) != len(plain):
            raise _mismatch(where, f"a list of {len(inner)}", plain)
        return tuple(_build(one, item, f"{where}[{n}]") for n, (one, item) in enumerate(zip(inner, plain, strict=True)))
    if origin in (dict, Mapping) or origin is getattr(typing, "Mapping", None):
        if not isinstance(plain, dict):
            raise _mismatch(where, "named entries", plain)
        inner = typing.get_args(kind)[1]
        return {str(key): _build(inner, item, _join(where, str(key))) for key, item in plain.items()}
    if isinstance(kind, type) and issubclass(kind, Slot):
        return _build_slot(kind, plain, where)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, plain, where)
    return _build_leaf(kind, plain, where)


def _build_union(choices: tuple[Any, ...], plain: Any, where: str) -> Any:
    if plain is None and type(None) in choices:
        return None
    others = [choice for choice in choices if choice is not type(None)]
    errors: list[TailwiseError] = []
    for choice in others:
        try:
            return _build(choice, plain, where)
        except TailwiseError as error:
            errors.append(error)
    raise errors[0]


def _build_slot(kind: type[Slot], plain: Any, where: str) -> Any:
    if isinstance(plain, str):
        name, plain = parse_call(plain)
    elif isinstance(plain, dict) and isinstance(plain.get("_type"), str):
        name = plain["_type"]
        plain = {key: item for key, item in plain.items() if key != "_type"}
    else:
        raise _mismatch(where, f"a component with a `_type` (one of {', '.join(REGISTRY.names(kind.kind))})", plain)
    try:
        entry = REGISTRY.find(kind.kind, name)
    except TailwiseError as error:
        raise SpecError(f"{where}: {error}") from error
    fixed = next((values for preset, values in entry.presets.items() if preset == name.replace("-", "_")), {})
    return _build_dataclass(entry.target, {**fixed, **plain}, where)


def _build_dataclass(kind: Any, plain: Any, where: str) -> Any:
    if not isinstance(plain, dict):
        raise _mismatch(where, f"the fields of {kind.__name__}", plain)
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, item in plain.items():
        if key not in fields:
            raise SpecError(
                f"{_join(where, key)}: unknown field{suggest(key, fields)}; {kind.__name__} has {', '.join(fields)}"
            )
        values[key] = _build(hints[key], item, _join(where, key))
    for field in fields.values():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise SpecError(f"{_join(where, field.name)}: missing, and it has no default")
    try:
        return kind(**values)
    except ValueError as error:
        raise SpecError(f"{where or kind.__name__}: {error}") from error


def _build_leaf(kind: Any, plain: Any, where: str) -> Any:
    if kind is Any:
        return plain
    if kind is Path and isinstance(plain, str):
        return Path(plain)
    if kind is float and isinstance(plain, str):
        # YAML 1.1 reads "1e-4" (no point) as a string; everybody who types it means the number.
        try:
            return float(plain)
        except ValueError:
            raise _mismatch(where, "a number", plain) from None
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if isinstance(plain, bool) and kind is not bool:
        raise _mismatch(where, _words(kind), plain)
    if isinstance(kind, type) and isinstance(plain, kind):
        return plain
    raise _mismatch(where, _words(kind), plain)


def _words(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "nothing"}
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where and not where.endswith(": ") else f"{where}{name}"


def _mismatch(where: str, wanted: str, given: Any) -> SpecError:
    return SpecError(f"{where}: expected {wanted}, got {given!r}")
