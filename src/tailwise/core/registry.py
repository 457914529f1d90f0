"""The one place where a name becomes a class or a function: ``register``, ``find``, ``entries``."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from tailwise.core.errors import TailwiseError, UnknownName

T = TypeVar("T")

#: Kind -> the package whose modules register things of that kind.
PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "losses": "tailwise.losses",
        "samplers": "tailwise.samplers",
        "mixes": "tailwise.augment",
        "views": "tailwise.augment",
        "feature_augs": "tailwise.augment",
        "generators": "tailwise.augment",
        "heads": "tailwise.heads",
        "objectives": "tailwise.objectives",
        "posthocs": "tailwise.posthoc",
        "schedules": "tailwise.engine.schedule",
        "backbones": "tailwise.models",
        "datasets": "tailwise.data",
        "recipes": "tailwise.recipes",
        "tables": "tailwise.recipes",
    }
)

SINGULAR: Mapping[str, str] = MappingProxyType(
    {
        "losses": "loss",
        "samplers": "sampler",
        "mixes": "mix",
        "views": "view",
        "feature_augs": "feature augmentation",
        "generators": "generator of images",
        "heads": "head",
        "objectives": "objective",
        "posthocs": "change of the classifier",
        "schedules": "schedule",
        "backbones": "backbone",
        "datasets": "data set",
        "recipes": "recipe",
        "tables": "table of a paper",
    }
)


class Slot:
    """Base of every configurable component. A subclass of a slot's base class is a frozen dataclass: its fields are
    its hyper-parameters, its command-line flags and its record in a recipe file.
    """

    kind: ClassVar[str] = ""
    #: The registry key; set by :func:`register`.
    name: ClassVar[str] = ""


@dataclass(frozen=True)
class Entry:
    """One registered thing: what ``tailwise list`` prints and what the conformance suite iterates over."""

    kind: str
    name: str
    target: Any
    summary: str
    paper: str | None = None
    #: Other names for the same class with some hyper-parameters fixed, e.g. ``class_balanced`` = ``power(q=0)``.
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Registry:
    """Names by kind. Names compare without regard to ``-`` and ``_``.

    The packages of :data:`PACKAGES` are imported at the first look-up of their kind, every module of them, so a new
    file is found without being listed anywhere.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {kind: {} for kind in PACKAGES}
        self._loaded: set[str] = set()

    def add(self, entry: Entry) -> None:
        """Adds an entry; a second one of the same kind and name is an error in the program."""
        known = self._entries[entry.kind]
        for name in (entry.name, *entry.presets):
            if _key(name) in known and known[_key(name)].target is not entry.target:
                raise ValueError(f"two {entry.kind} are registered as {name!r}")
            known[_key(name)] = entry

    def entries(self, kind: str) -> list[Entry]:
        """Every entry of a kind, sorted by name, without presets as entries of their own."""
        self._load(kind)
        unique = {entry.name: entry for entry in self._entries[kind].values()}
        return [unique[name] for name in sorted(unique)]

    def names(self, kind: str) -> list[str]:
        """Every name that :meth:`find` accepts for a kind, presets included."""
        return sorted(name for entry in self.entries(kind) for name in (entry.name, *entry.presets))

    def find(self, kind: str, name: str) -> Entry:
        """The entry of that name.

        Raises:
            UnknownName: No such name; the message offers the nearest one.
        """
        self._load(kind)
        entry = self._entries[kind].get(_key(name))
        if entry is None:
            raise UnknownName(SINGULAR[kind], name, self.names(kind))
        return entry

    def make(self, kind: str, name: str, **kwargs: Any) -> Any:
        """Builds the registered class with a preset's hyper-parameters and then ``kwargs``.

        Raises:
            UnknownName: No such name.
            TailwiseError: A hyper-parameter that the class does not have, or a value it refuses.
        """
        entry = self.find(kind, name)
        fixed = next((values for preset, values in entry.presets.items() if _key(preset) == _key(name)), {})
        known = inspect.signature(entry.target).parameters
        for key in kwargs:
            if key not in known:
                raise UnknownName(f"hyper-parameter of {entry.name}", key, known)
        try:
            return entry.target(**{**fixed, **kwargs})
        except (TypeError, ValueError) as error:
            raise TailwiseError(f"{SINGULAR[kind]} {name!r}: {error}") from error

    def _load(self, kind: str) -> None:
        if kind not in PACKAGES:
            raise UnknownName("kind of component", kind, PACKAGES)
        if kind in self._loaded:
            return
        self._loaded.add(kind)
        package = importlib.import_module(PACKAGES[kind])
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            importlib.import_module(f"{package.__name__}.{module.name}")


#: Filled by decorators at import and never cleared; the only process-wide state of the library.
REGISTRY = Registry()


def register(
    name: str,
    *,
    kind: str | None = None,
    paper: str | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[T], T]:
    """Decorator that puts a class (or, with ``kind``, a function) into the registry.

    Args:
        name: The registry key: the file's name (rule: file = class = key = docs page).
        kind: Needed for functions; a class takes it from its :class:`Slot` base.
        paper: Key in ``docs/references.bib``.
        presets: Further names that fix hyper-parameters.
    """

    def decorate(target: T) -> T:
        doc = (getattr(target, "__doc__", None) or "").strip()
        summary = " ".join(doc.split("\n\n")[0].split())
        slot: Any = target
        if isinstance(slot, type) and issubclass(slot, Slot):
            slot.name = name
        found = kind or getattr(target, "kind", "")
        REGISTRY.add(Entry(found, name, target, summary, paper, dict(presets or {})))
        return target

    return decorate


def _key(name: str) -> str:
    return name.lower().replace("-", "_")
