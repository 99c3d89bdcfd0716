"""The strictness of the TensorRT double: what a generation does not have, or takes differently, fails.

``tensorrt_signatures.json`` has the classes, members and argument names that the sources of the Python bindings publish
for each version (facts, read from the tags of NVIDIA/TensorRT).
"""

from __future__ import annotations

import enum
import functools
import inspect
import json
import typing
from pathlib import Path
from typing import Any

SIGNATURES = json.loads((Path(__file__).parent / "tensorrt_signatures.json").read_text())


class Misuse(AssertionError):
    """The adapter did what the real library would not let it, or would punish later."""


class World:
    """One generation of the library on one simulated GPU.

    ``calls`` records every call as (class, member, arguments); ``engines`` what was deserialised.
    """

    def __init__(self, generation: str, version: str, cuda: Any) -> None:
        self.generation, self.version, self.cuda = generation, version, cuda
        self.calls: list[tuple[str, str, tuple[Any, ...]]] = []
        self.said: list[str] = []
        # What the library makes none of, as with a driver that is too old; scratch bytes a row of an engine.
        self.unmade: set[str] = set()
        self.scratch_per_row = 1024
        self.weak = tuple(map(int, generation.split("."))) < (10, 12)

    def members(self, kind: str) -> dict[str, list[str]]:
        """Member -> its signatures in this generation."""
        found: dict[str, list[str]] = {}
        for name, forms in SIGNATURES[kind].items():
            here = [form for form, at in forms.items() if at == "all" or self.generation in at.split()]
            if here:
                found[name] = here
        return found

    def recorded(self, member: str) -> list[tuple[Any, ...]]:
        return [arguments for _, name, arguments in self.calls if name == member]


class Strict:
    """Base of the doubles: only published members, called as published, with the right types."""

    _world: World
    _api = ""
    _settable: typing.ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        cls._api = cls.__dict__.get("_api", cls._api) or cls.__name__

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        members = self._world.members(self._api)
        if name not in members:
            raise AttributeError(f"TensorRT {self._world.generation}: {self._api} has no {name}")
        try:
            value = object.__getattribute__(self, name)
        except AttributeError as error:
            raise NotImplementedError(f"the double does not know {self._api}.{name}") from error
        return self._checked(name, value, members[name]) if callable(value) and members[name][0][0] == "(" else value

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            if self._world.members(self._api).get(name) != ["rw"]:
                raise AttributeError(f"TensorRT {self._world.generation}: {self._api}.{name} cannot be set")
            if not isinstance(value, self._settable[name]):
                raise TypeError(f"{self._api}.{name} takes {self._settable[name]}, got {value!r}")
            self._world.calls.append((self._api, name, (value,)))
        object.__setattr__(self, name, value)

    def _make(self, kind: type, *arguments: Any) -> Any:
        return type(kind.__name__, (kind,), {"_world": self._world})(*arguments)

    def _checked(self, name: str, method: Any, signatures: list[str]) -> Any:
        parameters = inspect.signature(method).parameters
        written = "(" + ", ".join(p.name + ("=" * (p.default is not p.empty)) for p in parameters.values()) + ")"
        if written not in signatures:
            raise Misuse(f"the double's {self._api}.{name}{written} is none of the published {signatures}")
        hints = typing.get_type_hints(method)

        @functools.wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            bound = inspect.signature(method).bind(*arguments, **named)
            for argument, value in bound.arguments.items():
                check_type(f"{self._api}.{name}({argument})", value, hints[argument])
            self._world.calls.append((self._api, name, tuple(bound.arguments.values())))
            return method(*arguments, **named)

        return call


def check_type(what: str, value: Any, hint: Any) -> None:
    """As pybind11 would: no bool for a number, no number for a name; Any is checked by the double itself."""
    if hint is Any:
        return
    kinds = typing.get_args(hint) or (hint,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{what} takes {hint}, got {value!r}")


def enumeration(world: World, name: str, **values: int) -> type[enum.Enum]:
    """An enum with the members of the generation; like pybind11's it is no int, but converts to one."""

    class Base(enum.Enum):
        def __int__(self) -> int:
            return int(self.value)

    members = [member for member in world.members(name) if not member.startswith("__")]
    return Base(name, {member: values.get(member, index) for index, member in enumerate(members)})
