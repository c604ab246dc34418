"""Fuzz targets: inputs drawn by Hypothesis for one parser, which must accept them soundly or refuse them in one line.

A target is a function in a module `targets_<area>.py`:

    @target(st.binary(max_size=200))
    def strict_json(content: bytes) -> None:
        value = accepted(lambda: parse(content))  # InputError in one line ends the example here: it is refused
        assert parse(written(value)) == value     # what is accepted must be sound

Whatever else is raised is a failure. `corpus/<name of the target>/` holds inputs that are replayed first: samples, and
every failure that was ever found.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from mgnet_records.errors import InputError

Value = TypeVar("Value")
Body = Callable[[Any], None]

FOLDER = Path(__file__).resolve().parent
CORPUS = FOLDER / "corpus"
# Seconds for one example, after which it counts as hanging.
PATIENCE = 60.0
_TICK = 0.5
# Examples between two looks at the clock.
_ROUND = 200


class Refused(Exception):  # noqa: N818 - the expected end of most examples, no error
    """The input was refused in one line."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parser under test. `form` says how an input is kept as a file; `quick` and `nightly` are numbers of examples."""

    name: str
    strategy: st.SearchStrategy[Any]
    body: Body
    form: Literal["bytes", "text", "json"]
    quick: int
    nightly: int

    @property
    def corpus(self) -> list[Path]:
        """The committed inputs."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())

    def encoded(self, value: Any) -> bytes:
        """An input as the content of a file."""
        match self.form:
            case "bytes":
                return bytes(value)
            case "text":
                return str(value).encode("utf-8", "surrogatepass")
            case "json":
                return json.dumps(value).encode()

    def decoded(self, content: bytes) -> Any:
        """The input in a file; sequences of a "json" input are lists."""
        match self.form:
            case "bytes":
                return content
            case "text":
                return content.decode("utf-8", "surrogatepass")
            case "json":
                return json.loads(content)


@dataclass
class Tally:
    """How many inputs were accepted and refused; the failing one, as small as it could be made, and what it raised."""

    accepted: int = 0
    refused: int = 0
    failing: list[Any] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def examples(self) -> int:
        """Inputs tried and found good."""
        return self.accepted + self.refused


@dataclass(frozen=True, repr=False)
class _Input:
    """A drawn input. Hypothesis writes each one as text, which takes longer than the example when it is large."""

    value: Any

    def __repr__(self) -> str:
        return "an input"


TARGETS: dict[str, Target] = {}


def target(
    strategy: st.SearchStrategy[Any], *, form: Literal["bytes", "text", "json"] = "bytes", quick: int = 20, nightly: int = 2_000
) -> Callable[[Body], Body]:
    """Register the decorated function as the target of its name."""

    def register(body: Body) -> Body:
        name = body.__name__
        assert name not in TARGETS, f"two fuzz targets are called {name}"
        TARGETS[name] = Target(name=name, strategy=strategy, body=body, form=form, quick=quick, nightly=nightly)
        return body

    return register


def all_targets() -> dict[str, Target]:
    """The targets of all modules beside this one, by name."""
    for path in sorted(FOLDER.glob("targets_*.py")):
        importlib.import_module(f"fuzz.{path.stem}")
    return dict(sorted(TARGETS.items()))


def accepted(read: Callable[[], Value], *, refusal: type[Exception] = InputError) -> Value:
    """What `read` returns. Raises Refused when it refuses in one line, and AssertionError for a refusal of more lines."""
    try:
        return read()
    except refusal as error:
        require_one_line(str(error))
        raise Refused(str(error)) from None


def accepted_by_command(main: Callable[[list[str]], int], arguments: list[str]) -> str:
    """The standard output of a command that is done. Raises Refused for exit code 2 with one line on standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as exit_:  # argparse, which prints its usage first
            code = exit_.code
            err = io.StringIO(err.getvalue()[err.getvalue().rfind("\n", 0, -1) + 1 :])
    if code == 2:
        require_one_line(err.getvalue().removesuffix("\n"))
        raise Refused(err.getvalue())
    assert code == 0, f"exit code {code}: {err.getvalue()}"
    return out.getvalue()


def require_one_line(message: str) -> None:
    """AssertionError unless the message is one printable line that a person reads to its end."""
    assert message.strip(), "the refusal says nothing"
    assert message.isprintable(), f"the refusal is not one printable line: {message!r}"
    assert len(message) <= 2_000, f"the refusal has {len(message)} characters"
    message.encode("utf-8")


def try_one(chosen: Target, value: Any, tally: Tally, *, patience: float = PATIENCE) -> None:
    """Run the body on one input. Raises what the body raises, and AssertionError when it does not end within `patience` s."""
    try:
        with _deadline(patience):
            chosen.body(value)
        tally.accepted += 1
    except Refused:
        tally.refused += 1
    except BaseException:
        tally.failing = [value]
        raise


def replay(chosen: Target, path: Path) -> None:
    """Run the body on one committed input."""
    try_one(chosen, chosen.decoded(path.read_bytes()), Tally())


def run_examples(chosen: Target, examples: int, *, seed: int | None = None, until: float | None = None) -> Tally:
    """Draw so many inputs, other ones each time unless a seed is given; after `until` (monotonic time) none is tried.

    A failure is returned, not raised.
    """
    tally = Tally()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(chosen.strategy.map(_Input))
    def property_of(drawn: _Input) -> None:
        # Once an input failed, each one is tried: Hypothesis must see the same failure again.
        if until is not None and time.monotonic() > until and not tally.failing:
            return
        try_one(chosen, drawn.value, tally)

    try:
        (property_of if seed is None else seeded(seed)(property_of))()
    except (Exception, SystemExit) as error:
        tally.error = error
    return tally


def run_minutes(chosen: Target, minutes: float) -> Tally:
    """Draw new inputs for so many minutes, or until one fails."""
    until = time.monotonic() + 60 * minutes
    total = Tally()
    while time.monotonic() < until and total.error is None:
        tally = run_examples(chosen, _ROUND, until=until)
        tally.accepted += total.accepted
        tally.refused += total.refused
        total = tally
    return total


def save_failure(chosen: Target, tally: Tally, corpus: Path = CORPUS) -> Path | None:
    """Keep the failing input in the corpus, from where it is replayed from now on; None where no input was drawn."""
    if not tally.failing:
        return None
    content = chosen.encoded(tally.failing[0])
    path = corpus / chosen.name / hashlib.sha256(content).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def shortened(value: Any, limit: int = 2_000) -> str:
    """An input for a person; the file in the corpus has all of it."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """AssertionError after so many seconds. They are counted one by one, so that a process that was stopped is not late."""
    left = seconds

    def late(*_: object) -> None:
        nonlocal left
        left -= _TICK
        if left <= 0:
            raise AssertionError(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
