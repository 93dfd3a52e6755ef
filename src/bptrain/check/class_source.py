"""The source of a class as text that runs by itself: the class, and all of its file that it needs."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import symtable
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bptrain.errors import Problem, RequestError


@dataclass(frozen=True)
class ClassSource:
    """`text` defines a class that is called `name`; `needs` are the packages it imports, without Python's own.

    `defines` are the names that the text gives to what it does not import.
    """

    name: str
    text: str
    needs: tuple[str, ...]
    defines: frozenset[str]


def class_source(cls: type) -> ClassSource:
    """The imports, functions, classes and values at the top of its file that a class uses, and the class itself.

    Raises RequestError where its source is not to be had, or where it uses what a function around it holds.
    """
    where = f"{cls.__module__}.{cls.__qualname__}"
    inside = "<locals>" in cls.__qualname__
    try:
        text = textwrap.dedent(inspect.getsource(cls)) if inside else ""
        with open(inspect.getfile(cls), encoding="utf-8") as file:
            module = file.read()
        lines, tree = module.splitlines(), ast.parse(module)
        used = _globals(text)
    except (OSError, TypeError, SyntaxError) as error:
        raise RequestError(Problem(where, "its source can't be found.", "Define it at the top of a file.")) from error
    known = {name: part for part in tree.body for name in defined(part)}
    name = cls.__name__ if inside else cls.__qualname__
    if inside:
        used.discard(name)
        used = {free for free in used if free in known or not hasattr(builtins, free)}
        if closed := sorted((used - known.keys()) | _closed_over(cls)):
            what = f"it uses {', '.join(closed)} of the function that it is defined in."
            raise RequestError(Problem(where, what, "Define it at the top of a file."))
    else:
        used = {name.split(".")[0]}
    parts = _needed(used, known, lines)
    stars = [part for part in tree.body if isinstance(part, ast.ImportFrom) and part.names[0].name == "*"]
    kept = [part for part in tree.body if part in parts or part in stars or _is_future(part)]
    package = getattr(sys.modules.get(cls.__module__), "__package__", None) or ""
    texts = [_import(part, used, package) if _is_import(part) else _text(part, lines) for part in kept]
    names = {name for part in kept if not _is_import(part) for name in defined(part)} | {name.split(".")[0]}
    return ClassSource(name, _joined(kept, texts, text), _packages(texts), frozenset(names))


def _needed(used: set[str], known: dict[str, ast.stmt], lines: list[str]) -> set[ast.stmt]:
    """The statements that define what is used, and what these use in turn, whose names are added to `used`."""
    parts: set[ast.stmt] = set()
    waiting = list(used)
    while waiting:
        part = known.get(waiting.pop())
        if part is None or part in parts:
            continue
        parts.add(part)
        if not _is_import(part):
            found = _globals(_text(part, lines))
            used |= found
            waiting += found
    return parts


def defined(part: ast.AST) -> Iterator[str]:
    """The names that a statement at the top of a file defines, also those inside of an `if` or a `try`."""
    if isinstance(part, (ast.Import, ast.ImportFrom)):
        yield from map(_bound, part.names)
    elif isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield part.name
    elif isinstance(part, ast.Name):
        if isinstance(part.ctx, ast.Store):
            yield part.id
    else:
        for inner in ast.iter_child_nodes(part):
            yield from defined(inner)


def _bound(alias: ast.alias) -> str:
    return (alias.asname or alias.name).split(".")[0]


def _globals(text: str) -> set[str]:
    """The names that a piece of a file takes from outside any function."""

    def found(table: symtable.SymbolTable) -> Iterator[str]:
        top = table.get_type() == "module"
        yield from (s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global()))
        for inner in table.get_children():
            yield from found(inner)

    return set(found(symtable.symtable(text, "part", "exec")))


def _closed_over(cls: type) -> set[str]:
    """The names that the methods of a class take from a function around it."""
    methods: Iterator[Any] = (inspect.unwrap(getattr(value, "__func__", value)) for value in vars(cls).values())
    free = {name for method in methods if inspect.isfunction(method) for name in method.__code__.co_freevars}
    return free - {"__class__", cls.__name__}


def _is_import(part: ast.stmt) -> bool:
    return isinstance(part, (ast.Import, ast.ImportFrom))


def _is_future(part: ast.stmt) -> bool:
    return isinstance(part, ast.ImportFrom) and part.module == "__future__"


def _import(part: Any, used: set[str], package: str) -> str:
    """An import of nothing but what is used, from an absolute name."""
    every = _is_future(part) or part.names[0].name == "*"
    names = [alias for alias in part.names if every or _bound(alias) in used]
    if isinstance(part, ast.Import):
        return ast.unparse(ast.Import(names))
    module = part.module or ""
    if part.level and package:
        module = importlib.util.resolve_name("." * part.level + module, package)
    return ast.unparse(ast.ImportFrom(module, names, 0 if package else part.level))


def _text(part: ast.stmt, lines: list[str]) -> str:
    first = min([part.lineno, *(d.lineno for d in getattr(part, "decorator_list", []))])
    return "\n".join(lines[first - 1 : part.end_lineno])


def _joined(parts: list[ast.stmt], texts: list[str], last: str) -> str:
    """The statements as a file has them: functions and classes two lines apart, and imports one from the rest."""
    spaced = ""
    for before, part, text in zip([None, *parts], parts, texts, strict=False):
        if before is not None:
            defined = hasattr(before, "body") or hasattr(part, "body")
            spaced += "\n\n\n" if defined else "\n" if _is_import(before) == _is_import(part) else "\n\n"
        spaced += text
    return "\n\n\n".join(filter(None, (spaced, last.rstrip())))


def _packages(texts: list[str]) -> tuple[str, ...]:
    """The packages that some statements import."""
    found = set()
    for node in (node for text in texts for node in ast.walk(ast.parse(textwrap.dedent(text)))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return tuple(sorted(found - sys.stdlib_module_names - {"__future__"}))
