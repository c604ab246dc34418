"""Try mutants: change the code of a running process, fork it, and run the tests of the changed lines until one fails.

One process imports what the tests import and collects them. For each mutant a child of it gets the changed code of one
function and runs tests. A change of what runs at import, or one that needs other variables of the functions around, is tried
in a child of a process that has not imported the package yet. A mutant is killed where a test fails, where the package does
not load, where a test takes far longer than without the change, and where the interpreter crashes.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import signal
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from verify.mutation.mutants import PACKAGE, Mutant, mutants, path_of
from verify.mutation.selection import Measured, MeasuredFiles, Measuring, Selection
from verify.mutation.verdicts import Verdict, Verdicts

# What the tests import beside the package; loaded once, in the process of which all others are children.
_LOADED_BEFORE = (
    "fvcore.nn",
    "hypothesis.extra.numpy",
    "mgnet_kernels",
    "numpy.testing",
    "onnx",
    "onnxruntime",
    "safetensors.torch",
    "scipy",
    "timm.models",
    "torch.export",
    "torch._dynamo",
)
# Tests of what another process does, which does not see the change, by a part of their names.
_IN_OTHER_PROCESSES = ("importing_the_models", "golden_file", "two_processes", "only_after_the_import")
_MEMORY = 12 * 2**30  # bytes of data that a child may have
_PYTEST = (
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-p",
    "no:faulthandler",
    "-s",
    "--tb=no",
    "-q",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
_SURVIVES, _KILLED, _TO_BE_LOADED = 0, 1, 2  # exit codes of a child


def try_mutants(
    chosen: dict[str, Callable[[Mutant], float]], *, tests: Sequence[Path], verdicts: Verdicts, show: Callable[[str], None]
) -> None:
    """Fill in the verdicts on the mutants of these modules; the functions give the seconds of tests to try, 0 for none.

    `tests` are files of tests, relative to the current folder. Raises RuntimeError in a process that has imported the package.
    """
    if PACKAGE in sys.modules:
        raise RuntimeError(f"{PACKAGE} is imported already: try mutants in a process of their own")
    _load_before()
    known = MeasuredFiles(verdicts.folder / "measured.json")
    missing = known.missing(tests)
    if missing:
        show(f"running {len(missing)} test files without a change")
        known.add(missing, {name: Measured(**found) for name, found in _in_child(lambda send: _measure(missing, send))})
    selection = Selection(known.all(tests))
    to_be_loaded: dict[str, set[str]] = defaultdict(set)
    tried = _in_child(lambda send: _try_in_place(chosen, selection, verdicts, send))
    for number, (module, name, killed_by, loads) in enumerate(tried):
        if number % 100 == 0:
            verdicts.save()
        if loads:
            to_be_loaded[module].add(name)
        else:
            verdicts.add(Verdict(module=module, name=name, killed_by=killed_by))
            show(f"{module}: {name}: {killed_by or 'SURVIVES'}")
    verdicts.save()
    for module, names in to_be_loaded.items():
        for mutant in mutants(module):
            if mutant.name in names:
                killed_by = _try_loaded(mutant, selection, chosen[module](mutant), verdicts.hint(mutant))
                verdicts.add(Verdict(module=module, name=mutant.name, killed_by=killed_by))
                show(f"{module}: {mutant.name}: {killed_by or 'SURVIVES'} (loaded)")
        verdicts.save()


def _load_before() -> None:
    for name in _LOADED_BEFORE:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    import torch

    torch.set_num_threads(1)


# ---- children ----


def _in_child(run: Callable[[Callable[[Any], None]], None]) -> Iterator[Any]:
    """What a child process sends while it runs the function; RuntimeError where it ends otherwise than by returning."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            with os.fdopen(writer, "w", encoding="utf-8") as pipe:
                run(lambda value: (pipe.write(json.dumps(value) + "\n"), pipe.flush()))  # type: ignore[func-returns-value]
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        for line in pipe:
            yield json.loads(line)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("a process of the mutation engine failed: see the messages above")


def _fate(run: Callable[[Callable[[str], None]], int]) -> tuple[int, list[str], str]:
    """How a child ends that runs the function, the tests that it announced, and what to say of the last one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = _KILLED
        try:
            os.close(reader)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
            code = run(lambda test: (os.write(writer, f"{test}\n".encode()), None)[1])
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        announced = pipe.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        how = "does not end" if -status in (signal.SIGPROF, signal.SIGALRM) else f"ends by {signal.Signals(-status).name}"
        return _KILLED, announced, f"{announced[-1]} {how}" if announced else how
    return status, announced, announced[-1] if announced else "the package does not load"


class _Ending:
    """A pytest plugin that ends the process where a test fails; what derives from it says what runs."""

    def pytest_configure(self, config: pytest.Config) -> None:
        """The first example that fails is enough: nobody reads a smaller one."""
        from hypothesis import Phase, settings

        settings.register_profile("mutation", settings.get_profile("quick"), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """A failure is all that is asked for: nothing is said about it."""
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            os._exit(_KILLED)


def _run_tests(items: Sequence[pytest.Item], selection: Selection, announce: Callable[[str], None]) -> None:
    """Each in a limited time, of the processor and of the clock."""
    for item, following in zip(items, [*items[1:], None]):
        seconds = selection.measured[item.nodeid].seconds
        signal.setitimer(signal.ITIMER_PROF, 5 + 10 * seconds)
        signal.setitimer(signal.ITIMER_REAL, 120 + 40 * seconds)
        announce(item.nodeid)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


# ---- tests without a change ----


def _measure(files: Sequence[Path], send: Callable[[Any], None]) -> None:
    measuring = Measuring()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    pytest.main([*_PYTEST, "-k", f"not ({' or '.join(_IN_OTHER_PROCESSES)})", *map(str, files)], plugins=[measuring])
    for name, found in measuring.measured.items():
        send((name, asdict(found)))


# ---- changes in place ----


def _try_in_place(
    chosen: dict[str, Callable[[Mutant], float]], selection: Selection, verdicts: Verdicts, send: Callable[[Any], None]
) -> None:
    """Send for each chosen mutant: its module, its name, what kills it, and whether it has to be loaded to be tried."""
    at_import = _lines_run_at_import()
    plugin = _InPlace(chosen, selection, verdicts, at_import, send)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    files = sorted({name.partition("::")[0] for name in selection.measured})
    pytest.main([*_PYTEST, *files], plugins=[plugin])


def _lines_run_at_import() -> set[tuple[str, int]]:
    """File and line of all that runs while the package is imported."""
    lines: set[tuple[str, int]] = set()
    root = str(path_of("").parent)

    def trace(frame: Any, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(root):
            return None
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        importlib.import_module(PACKAGE)
        importlib.import_module(f"{PACKAGE}.__main__")
    finally:
        sys.settrace(None)
    return lines


class _InPlace(_Ending):
    """A pytest plugin that tries mutants in place of running tests."""

    def __init__(
        self,
        chosen: dict[str, Callable[[Mutant], float]],
        selection: Selection,
        verdicts: Verdicts,
        at_import: set[tuple[str, int]],
        send: Callable[[Any], None],
    ) -> None:
        self._chosen = chosen
        self._selection = selection
        self._verdicts = verdicts
        self._at_import = at_import
        self._send = send
        self._items: dict[str, pytest.Item] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Every chosen mutant in turn."""
        self._items = {item.nodeid: item for item in session.items}
        functions = {module: _functions(path_of(module)) for module in self._chosen}
        gc.collect()
        gc.freeze()  # children share the pages of all this
        for module, seconds_for in self._chosen.items():
            for mutant in mutants(module):
                seconds = seconds_for(mutant)
                if seconds > 0:
                    killed_by, loads = self._try(mutant, functions[module], seconds)
                    self._send((module, mutant.name, killed_by, loads))
        return True

    def _try(self, mutant: Mutant, functions: _Functions, seconds: float) -> tuple[str | None, bool]:
        if mutant.function is None:
            return None, True
        names = self._selection.of(mutant, seconds, first=self._verdicts.hint(mutant))

        def run(announce: Callable[[str], None]) -> int:
            if not _change_in_place(mutant, functions):
                return _TO_BE_LOADED
            _run_tests([self._items[name] for name in names if name in self._items], self._selection, announce)
            return _SURVIVES

        code, tried, last = _fate(run)
        self._selection.learn(mutant, tried, noticed=code == _KILLED)
        if code == _KILLED:
            return last, False
        runs_at_import = any((str(path_of(mutant.module)), line) in self._at_import for line in mutant.lines)
        return None, code == _TO_BE_LOADED or runs_at_import


_Functions = dict[tuple[str, int], list[FunctionType]]


def _functions(path: Path) -> _Functions:
    """All functions of a file that are loaded, by name and first line."""
    found: _Functions = defaultdict(list)
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == str(path):
            found[thing.__code__.co_qualname, thing.__code__.co_firstlineno].append(thing)
    return found


def _change_in_place(mutant: Mutant, functions: _Functions) -> bool:
    """Give the loaded function the code or the default of the mutant; whether that can be done."""
    done = False
    for code in _codes(compile(mutant.tree, str(path_of(mutant.module)), "exec")):
        if code.co_qualname != mutant.function:
            continue
        for function in functions.get((code.co_qualname, code.co_firstlineno), ()):
            if function.__code__.co_freevars != code.co_freevars:
                return False
            if mutant.argument is not None:
                _set_default(function, mutant.argument, mutant.default)
            function.__code__ = code
            done = True
    return done


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _set_default(function: FunctionType, argument: str, default: object) -> None:
    if function.__kwdefaults__ and argument in function.__kwdefaults__:
        function.__kwdefaults__ = function.__kwdefaults__ | {argument: default}
        return
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = dict(zip(positional[::-1], (function.__defaults__ or ())[::-1])) | {argument: default}
    function.__defaults__ = tuple(defaults[name] for name in positional if name in defaults)


# ---- changes that have to be loaded ----


def _try_loaded(mutant: Mutant, selection: Selection, seconds: float, hint: str | None) -> str | None:
    """What kills a mutant whose package is loaded with the change, None if nothing does."""
    names = selection.of_module(mutant, seconds, first=hint)

    def run(announce: Callable[[str], None]) -> int:
        sys.meta_path.insert(0, _Changed(mutant))
        importlib.import_module(PACKAGE)
        files = sorted({name.partition("::")[0] for name in names})
        pytest.main([*_PYTEST, *files], plugins=[_Loaded(names, selection, announce)])
        return _SURVIVES

    code, tried, last = _fate(run)
    selection.learn(mutant, tried, noticed=code != _SURVIVES)
    return None if code == _SURVIVES else last


class _Loaded(_Ending):
    """A pytest plugin that runs some tests, in their order."""

    def __init__(self, names: list[str], selection: Selection, announce: Callable[[str], None]) -> None:
        self._names = names
        self._selection = selection
        self._announce = announce

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tests that cannot be collected notice the change."""
        if report.failed:
            self._announce(f"{report.nodeid} cannot be collected")
            os._exit(_KILLED)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The named tests alone."""
        items = {item.nodeid: item for item in session.items}
        _run_tests([items[name] for name in self._names if name in items], self._selection, self._announce)
        return True


class _Changed(SourceFileLoader):
    """Finds and loads the module of a mutant with the change in it, all others as ever."""

    def __init__(self, mutant: Mutant) -> None:
        name = f"{PACKAGE}.{mutant.module}" if mutant.module else PACKAGE
        super().__init__(name, str(path_of(mutant.module)))
        self._tree = mutant.tree

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Answer for one module."""
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        """The changed code."""
        return compile(self._tree, self.path, "exec")
