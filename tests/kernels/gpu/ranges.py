"""Can an integer of a compiled kernel overflow? Intervals of every value of its IR.

The values of the arguments and the number of programs of a launch are known, so every
integer of the kernel's IR (TTIR: inlined, types explicit) lies in an interval that
exact arithmetic gives. One that leaves its type would wrap: an address computed from it
is wrong. Integers made of floats' bits, and those that wrap on purpose, are followed as
such and may not reach an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Interval(NamedTuple):
    low: int
    high: int


BITS = None
"""In place of an interval: bits of a float, or of an integer that wraps on purpose."""

Range = Interval | None

_LINE = re.compile(r"^(?:(%\w+)(?::\d+)? = )?\"?([a-z_]+\.[a-z_.]+)\"?(.*)$")
_NAME = re.compile(r"%\w+(?:#\d+)?")
_CONSTANT = re.compile(r"(?:dense<(-?\w+)>|(-?\w+)) : (.+)$")
_FOR = re.compile(r"scf\.for (%\w+) = (%\w+) to (%\w+) step (%\w+)(.*)")
_WIDTH = re.compile(r"(?:^|x|<)i(1|8|16|32|64)>?$")
_COPIED = {
    "tt.splat", "tt.broadcast", "tt.expand_dims", "tt.reshape", "tt.trans",
    "arith.extsi", "arith.trunci", "tt.join",
}  # fmt: skip


def overflows(
    ttir: str, arguments: Mapping[str, int], programs: int, loaded: Mapping[str, Range]
) -> list[str]:
    """Return the lines of a kernel whose integers may leave their type.

    `arguments` are values by %argN, `loaded` what may be loaded through pointers %argN
    to integers.
    """
    return _Kernel(arguments, programs, loaded).check(ttir)


def _width(kind: str) -> int:
    found = _WIDTH.search(kind.strip())
    return int(found[1]) if found else 0


def _corners(f: Callable[[int, int], int], a: Interval, b: Interval) -> Interval:
    values = [f(x, y) for x in a for y in b]
    return Interval(min(values), max(values))


def _truncated(x: int, y: int) -> int:
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


class _Kernel:
    def __init__(self, arguments, programs, loaded):
        self.programs = programs
        self.loaded = loaded
        self.values: dict[str, Range] = {
            n: Interval(v, v) for n, v in arguments.items()
        }
        self.made: dict[str, tuple[str, list[str]]] = {}
        self.bases: dict[str, str] = {}
        self.wrong: list[str] = []

    def check(self, ttir: str) -> list[str]:
        for line in map(str.strip, ttir.splitlines()):
            if "scf.for" in line:
                self.loop(line)
            elif found := _LINE.match(line):
                name, op, rest = found.groups()
                if name is not None:
                    self.one(name, op, rest, line)
        return self.wrong

    def loop(self, line: str) -> None:
        found = _FOR.search(line)
        assert found, line
        index, first, last, step, rest = found.groups()
        a, b = self.values[first], self.values[last]
        assert a is not BITS
        assert b is not BITS
        assert self.values[step].low > 0
        self.values[index] = Interval(a.low, max(b.high - 1, a.low))
        for carried, start in re.findall(r"(%\w+) = (%\w+)", rest):
            self.bases[carried] = self.bases.get(start, start)
        # What a loop carries is float or pointer: an integer has no interval then.
        assert not re.search(r"-> \(.*(?<!\w)i(32|64)[,)]", rest), line

    def one(self, name: str, op: str, rest: str, line: str) -> None:
        kind = rest.split("->")[-1].split(" to ")[-1].split(" : ")[-1].split(", ")[-1]
        operands = _NAME.findall(rest)
        self.made[name] = (op, operands)
        if operands and "tt.ptr" in rest:
            self.bases[name] = self.bases.get(operands[0], operands[0])
        if op == "tt.addptr":
            self.address(operands[1], line)
            return
        if op == "tt.reduce":  # of integers, all reductions choose one of them
            self.values[name] = self.values.get(operands[0], BITS)
        width = _width(kind)
        if width in (0, 1):
            return
        value = self.interval(name, op, rest, operands)
        if value is not BITS and not -(
            2 ** (width - 1)
        ) <= value.low <= value.high < 2 ** (width - 1):
            self.wrong.append(f"{line}  # {value.low:,}..{value.high:,}")
            value = BITS
        self.values[name] = value

    def address(self, offset: str, line: str) -> None:
        if self.values.get(offset, BITS) is BITS:
            self.wrong.append(f"{line}  # an address of unknown range")

    def interval(self, name: str, op: str, rest: str, operands: list[str]) -> Range:
        if op == "arith.constant":
            return self.constant(rest)
        if op == "tt.get_program_id":
            return Interval(0, self.programs - 1)
        if op == "tt.make_range":
            end, start = re.findall(r"(?:end|start) = (\d+)", rest)
            return Interval(int(start), int(end) - 1)
        if op == "tt.load":
            return self.loaded[self.bases[name]]
        if op == "arith.extui":
            return Interval(0, 1)
        if op in ("tt.bitcast", "arith.fptosi"):
            return BITS
        given = [self.values.get(x, BITS) for x in operands]
        if op == "arith.select":
            given = given[1:]
        if BITS in given:
            return BITS
        return self.arithmetic(op, operands, given)

    @staticmethod
    def constant(rest: str) -> Range:
        found = _CONSTANT.search(rest)
        assert found, rest
        value = int(found[1] or found[2])
        return Interval(value, value)

    def arithmetic(self, op: str, names: list[str], given: list[Interval]) -> Range:
        a, b = given[0], given[-1]
        if op in _COPIED:
            return a
        if op == "arith.select":
            return Interval(min(a.low, b.low), max(a.high, b.high))
        if op == "arith.addi":
            return Interval(a.low + b.low, a.high + b.high)
        if op == "arith.subi":
            if rest := self.remainder(*names):
                return self.arithmetic("arith.remsi", rest, [a, self.values[rest[1]]])
            return Interval(a.low - b.high, a.high - b.low)
        if op == "arith.muli":
            return _corners(lambda x, y: x * y, a, b)
        if op == "arith.divsi":
            return _corners(_truncated, a, b) if b.low > 0 else BITS
        if op == "arith.remsi":
            most = min(max(a.high, -a.low), b.high - 1)
            return Interval(-most if a.low < 0 else 0, most)
        if op == "arith.minsi":
            return Interval(min(a.low, b.low), min(a.high, b.high))
        if op == "arith.maxsi":
            return Interval(max(a.low, b.low), max(a.high, b.high))
        if op == "arith.andi" and min(*a, *b) >= 0:
            return Interval(0, min(a.high, b.high))
        return BITS

    def remainder(self, x: str, product: str) -> list[str] | None:
        """Names x, y where x - product is x - x / y * y."""
        op, factors = self.made.get(product, ("", []))
        if op != "arith.muli":
            return None
        for quotient, y in (factors, factors[::-1]):
            if self.made.get(quotient) == ("arith.divsi", [x, y]):
                return [x, y]
        return None
