"""Which tests run the lines of a mutant, and in which order they are tried on it."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from types import FrameType
from typing import Any
from zlib import crc32

import pytest

from verify.mutation.mutants import Mutant, modules, path_of


@dataclass(frozen=True)
class Measured:
    """One test that passed: the seconds of processor time that it took, and the lines of each module that it ran.

    A line is known by a checksum of its text, and so found again where lines before it were added or left out.
    """

    seconds: float
    lines: dict[str, list[int]] = field(default_factory=dict)


class Selection:
    """The tests that ran a line, those first that most likely notice a change soon: those that noticed others so far."""

    def __init__(self, measured: dict[str, Measured]) -> None:
        self.measured = measured
        self._tried: Counter[tuple[str, str]] = Counter()  # a module, or all as "*", and a test function
        self._noticed: Counter[tuple[str, str]] = Counter()
        self._by_line: dict[tuple[str, int], list[str]] = defaultdict(list)
        for test, by_module in measured.items():
            for module, lines in by_module.lines.items():
                for line in lines:
                    self._by_line[module, line].append(test)

    def learn(self, mutant: Mutant, tried: Sequence[str], *, noticed: bool) -> None:
        """Remember which tests were tried on a mutant, and whether the last of them noticed it."""
        for module in (mutant.module, "*"):
            self._tried.update((module, _function(test)) for test in tried)
            if noticed and tried:
                self._noticed[module, _function(tried[-1])] += 1

    def of(self, mutant: Mutant, seconds: float, *, first: str | None = None) -> list[str]:
        """The tests that run the changed lines, one of each parametrized test before a second one of it.

        As many as take `seconds` together: the more alike tests are, the less a further one notices. `first` is tried before
        all others, if there is such a test.
        """
        lines = checksums(mutant.module)
        tests = {test for line in mutant.lines for test in self._by_line.get((mutant.module, lines.get(line, 0)), ())}
        return self._in_order(tests or self._of_any_line(mutant.module), mutant, seconds, first)

    def of_module(self, mutant: Mutant, seconds: float, *, first: str | None = None, files: int = 6) -> list[str]:
        """The same of all tests that run any line of the module, or of all where none does, in a few files: they are collected."""
        chosen = self._in_order(self._of_any_line(mutant.module) or set(self.measured), mutant, seconds, first)
        kept = list(dict.fromkeys(_file(test) for test in chosen))[:files]
        return [test for test in chosen if _file(test) in kept]

    def _of_any_line(self, module: str) -> set[str]:
        return {test for (found_in, _), found in self._by_line.items() if found_in == module for test in found}

    def _in_order(self, tests: Iterable[str], mutant: Mutant, seconds: float, first: str | None) -> list[str]:
        by_function: dict[str, list[str]] = defaultdict(list)
        for test in sorted(tests, key=lambda test: self.measured[test].seconds):
            by_function[_function(test)].append(test)
        functions = sorted(by_function.values(), key=lambda found: -self._promise(mutant.module, found[0]))
        chosen, total = [first] if first in self.measured else [], 0.0
        for test in chain.from_iterable(zip_longest(*functions)):
            if test is not None and test != first and total + self.measured[test].seconds <= seconds:
                chosen.append(test)
                total += self.measured[test].seconds
        return chosen

    def _promise(self, module: str, test: str) -> float:
        """How many changes of the module a second of this test notices, as far as one knows."""
        of_module, of_all = (module, _function(test)), ("*", _function(test))
        about_it = module.rpartition(".")[2] in _file(test)
        noticed = self._noticed[of_module] + 0.2 * self._noticed[of_all] + (0.5 if about_it else 0.05)
        tried = self._tried[of_module] + 0.2 * self._tried[of_all] + 1
        return noticed / tried / (self.measured[test].seconds + 0.02)


def _file(test: str) -> str:
    return test.partition("::")[0]


def _function(test: str) -> str:
    return test.partition("[")[0]


class Measuring:
    """A pytest plugin that runs tests one after the other and notes what they run of the package."""

    def __init__(self) -> None:
        self.measured: dict[str, Measured] = {}
        self._modules = {str(path_of(module)): module for module in modules()}
        self._lines: dict[str, set[int]] = defaultdict(set)
        self._start = 0.0
        self._passed = True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Trace the lines of one test."""
        self._lines.clear()
        self._passed = True
        self._start = time.process_time()
        sys.settrace(self._call)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            if self._passed:
                lines = {module: sorted(set(map(checksums(module).get, found)) - {None}) for module, found in self._lines.items()}
                self.measured[item.nodeid] = Measured(time.process_time() - self._start, lines)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that fails or is skipped notices nothing."""
        self._passed = self._passed and report.passed

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        module = self._modules.get(frame.f_code.co_filename)
        if module is None:
            return None
        lines = self._lines[module]
        lines.add(frame.f_lineno)

        def line(frame: FrameType, event: str, arg: object) -> Any:
            lines.add(frame.f_lineno)
            return line

        return line


@cache
def checksums(module: str) -> dict[int, int]:
    """Number of a line -> checksum of its text, for each line of a module."""
    lines = path_of(module).read_text(encoding="utf-8").splitlines()
    return {number: crc32(line.strip().encode()) for number, line in enumerate(lines, start=1)}


class MeasuredFiles:
    """What was measured of each test file, kept in one file for as long as the test file stays as it is.

    It is a guide to the tests to try first. Start with an empty folder to measure anew what a change of the package moved.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def missing(self, tests: Iterable[Path]) -> list[Path]:
        """The files of which nothing is known, or that have changed."""
        return [test for test in tests if self._files.get(str(test), {}).get("sha256") != sha256(test)]

    def add(self, tests: Iterable[Path], measured: dict[str, Measured]) -> None:
        """Keep what was measured of these files."""
        for test in tests:
            of_file = {name: asdict(found) for name, found in measured.items() if name.partition("::")[0] == str(test)}
            self._files[str(test)] = {"sha256": sha256(test), "tests": of_file}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._files), encoding="utf-8")

    def all(self, tests: Iterable[Path]) -> dict[str, Measured]:
        """Every test of these files that passed."""
        known = [self._files[str(test)]["tests"] for test in tests]
        return {name: Measured(**found) for file in known for name, found in file.items()}


def sha256(path: Path) -> str:
    """The content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
