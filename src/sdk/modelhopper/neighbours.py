"""The modules beside a user's file that it imports: they belong to the experiment as the file itself does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

Dotted = tuple[str, ...]  # a module's name, in parts


def neighbours(file: Path) -> list[str]:
    """Return the paths, relative to the file's folder, of the modules and packages there that a Python file imports.

    Found in its text, without running it: by `import` and `from`, inside functions, too, and in turn in what it
    imports. What is imported by a computed name (importlib), and files that a module reads, are not seen. What lies
    elsewhere, such as an installed package, is no neighbour.
    """
    folder = file.parent
    found: set[Path] = set()
    waiting: list[tuple[Path, Dotted]] = [(file, ())]
    while waiting:
        path, package = waiting.pop()
        for name in _imported(path, package):
            for module, its_package in _modules(folder, name):
                if module != file and module not in found:
                    found.add(module)
                    waiting.append((module, its_package))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _imported(path: Path, package: Dotted) -> Iterator[Dotted]:
    """Yield the names that a file imports; `package` is the one that it is in."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level <= len(package):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            # What is taken from a package may be a module of it.
            yield from ((*module, alias.name) for alias in node.names)


def _parsed(path: Path) -> ast.AST:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return ast.Module(body=[], type_ignores=[])  # whoever imports it is told what is wrong with it


def _modules(folder: Path, name: Dotted) -> Iterator[tuple[Path, Dotted]]:
    """Yield the files in `folder` that run when `name` is imported, each with the package that it is in."""
    for count in range(1, len(name) + 1):
        inner = folder.joinpath(*name[:count])
        module = inner.with_name(f"{inner.name}.py")
        if (inner / "__init__.py").is_file():
            yield inner / "__init__.py", name[:count]
        elif module.is_file():
            yield module, name[: count - 1]
            return
        elif not inner.is_dir():
            return
