"""The two small languages in a Workflow: expr-lang in `{{=...}}` and retry expressions, govaluate in `when`.

Both are parsed by precedence climbing into a tree, because `??`, `?:`, `&&` and `||` look only at the side they need.
What is not listed here is refused, also where expr-lang or govaluate would know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.argo.operations import OPERATIONS, truth

# Binding strengths of expr-lang; `??` is the strongest there.
BINARY = {
    "||": 10, "&&": 15, "==": 20, "!=": 20, "<": 20, "<=": 20, ">": 20, ">=": 20, "in": 20,
    "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "??": 500,
}  # fmt: skip
UNARY = {"!": 50, "-": 90}
TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)(?![\w.])|(?P<text>'[^'\\]*'|"[^"\\]*")|(?P<word>[A-Za-z_]\w*)"""
    r"""|(?P<sign>\|\||&&|\?\?|[=!<>]=|[-+*/%<>!?:()\[\],.]))"""
)
CONSTANTS: dict[str, object] = {"true": True, "false": False, "nil": None}


class ExpressionError(Exception):
    """The expression cannot be parsed or computed; the message holds the expression's text."""


@dataclass(frozen=True)
class Literal:
    value: object


@dataclass(frozen=True)
class Name:
    path: str


@dataclass(frozen=True)
class Operation:
    """An operator or a function (`int(`) with its operands."""

    sign: str
    operands: tuple[Tree, ...]


Tree = Literal | Name | Operation


@dataclass(frozen=True)
class Expression:
    """A parsed expression."""

    text: str
    tree: Tree

    def names(self) -> set[str]:
        """The names that must exist, i.e. those that no `??` guards."""
        return set(_names(self.tree))

    def value(self, values: Mapping[str, object]) -> Any:
        """What the expression is with these values; a guarded name that is missing counts as nil."""
        try:
            return _value(self.tree, values)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise ExpressionError(f"cannot compute '{self.text}': {error}") from error


def parse(text: str) -> Expression:
    """Parse expr-lang, as in `{{=asInt(inputs.parameters.hop) + 1}}`."""
    return _parsed(text, words_are_text=False)


def holds(when: str) -> bool:
    """Whether a step with this `when` (tags already replaced) runs; an unquoted word is a text, as in Argo."""
    if not when:
        return True
    result = _parsed(when, words_are_text=True).value({})
    if not isinstance(result, bool):
        raise ExpressionError(f"Expected boolean evaluation for '{when}'. Got {result}")
    return result


def _parsed(text: str, *, words_are_text: bool) -> Expression:
    parser = _Parser(text, _tokens(text), words_are_text)
    tree = parser.conditional()
    if parser.ahead() is not None:
        raise ExpressionError(f"'{parser.ahead()}' is unexpected in '{text}'")
    return Expression(text, tree)


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ExpressionError(f"the fake cannot read '{text[at:].strip()}' in '{text}'")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class _Parser:
    def __init__(self, text: str, tokens: list[tuple[str, str]], words_are_text: bool) -> None:
        self._text, self._tokens, self._words_are_text, self._at = text, tokens, words_are_text, 0

    def ahead(self) -> str | None:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else None

    def conditional(self) -> Tree:
        test = self._binary(0)
        if not self._accept("?"):
            return test
        yes = self.conditional()
        self._expect(":")
        return Operation("?:", (test, yes, self.conditional()))

    def _binary(self, weakest: int) -> Tree:
        left = self._unary()
        while (sign := self.ahead()) in BINARY and BINARY[sign or ""] > weakest:
            self._at += 1
            left = Operation(str(sign), (left, self._binary(BINARY[str(sign)])))
        return left

    def _unary(self) -> Tree:
        sign = self.ahead()
        if sign in UNARY:
            self._at += 1
            return Operation(f"unary {sign}", (self._binary(UNARY[str(sign)]),))
        return self._primary()

    def _primary(self) -> Tree:
        kind, token = self._next()
        if kind == "number":
            return Literal(float(token) if "." in token or self._words_are_text else int(token))
        if kind == "text":
            return Literal(token[1:-1])
        if kind == "word":
            return self._word(token)
        if token == "(":
            return self._parenthesis()
        if token == "[":
            return Operation("list", self._list("]"))
        raise ExpressionError(f"'{token}' is unexpected in '{self._text}'")

    def _parenthesis(self) -> Tree:
        # govaluate writes the list of `in` in parentheses.
        is_list = self._words_are_text and self._at > 1 and self._tokens[self._at - 2][1] == "in"
        items = self._list(")")
        if len(items) != 1 and not is_list:
            raise ExpressionError(f"parentheses hold {len(items)} things in '{self._text}'")
        return Operation("list", items) if is_list else items[0]

    def _word(self, word: str) -> Tree:
        if word in CONSTANTS and not (word == "nil" and self._words_are_text):
            return Literal(CONSTANTS[word])
        if self._words_are_text:
            return Literal(word)
        if self._accept("("):
            return Operation(f"{word}(", self._list(")"))
        path = word
        while self.ahead() in (".", "["):
            path += "." + (self._next()[1] if self._accept(".") else self._key())
        return Name(path)

    def _key(self) -> str:
        self._expect("[")
        kind, token = self._next()
        if kind != "text":
            raise ExpressionError(f"the fake knows only [\"name\"] behind a name, not [{token}] in '{self._text}'")
        self._expect("]")
        return token[1:-1]

    def _list(self, end: str) -> tuple[Tree, ...]:
        items: list[Tree] = []
        while not self._accept(end):
            if items:
                self._expect(",")
            items.append(self.conditional())
        return tuple(items)

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise ExpressionError(f"'{self._text}' ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, sign: str) -> bool:
        found = self.ahead() == sign and self._tokens[self._at][0] == "sign"
        self._at += found
        return found

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise ExpressionError(f"'{sign}' is missing in '{self._text}' before '{self.ahead()}'")


def _names(tree: Tree) -> Iterator[str]:
    if isinstance(tree, Name):
        yield tree.path
    elif isinstance(tree, Operation):
        for operand in tree.operands[1:] if tree.sign == "??" else tree.operands:
            yield from _names(operand)


def _value(tree: Tree, values: Mapping[str, object]) -> Any:
    if isinstance(tree, Literal):
        return tree.value
    if isinstance(tree, Name):
        return values.get(tree.path)
    if tree.sign in LAZY:
        return LAZY[tree.sign](tree.operands, values)
    if tree.sign not in OPERATIONS:
        raise ExpressionError(f"the fake does not know '{tree.sign}'; it knows {', '.join(sorted(OPERATIONS))}")
    return OPERATIONS[tree.sign](*(_value(operand, values) for operand in tree.operands))


def _truth(tree: Tree, values: Mapping[str, object]) -> bool:
    return truth(_value(tree, values))


def _conditional(operands: tuple[Tree, ...], values: Mapping[str, object]) -> Any:
    return _value(operands[1] if _truth(operands[0], values) else operands[2], values)


def _coalesce(operands: tuple[Tree, ...], values: Mapping[str, object]) -> Any:
    left = _value(operands[0], values)
    return _value(operands[1], values) if left is None else left


LAZY: dict[str, Callable[[tuple[Tree, ...], Mapping[str, object]], Any]] = {
    "&&": lambda operands, values: _truth(operands[0], values) and _truth(operands[1], values),
    "||": lambda operands, values: _truth(operands[0], values) or _truth(operands[1], values),
    "??": _coalesce,
    "?:": _conditional,
}
