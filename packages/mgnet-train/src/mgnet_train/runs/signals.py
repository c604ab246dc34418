"""Signals that ask a run to stop: the handler only sets a flag, and the loops read it after each batch."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class StopRequest:
    """Inside the context, `asked` becomes true at the first signal; a second Ctrl-C interrupts at once.

    Nested contexts share the request, before and after, so that no signal is lost between two runs.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, object] = {}
        self._outer: object = None

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._note) for number in _STOP_SIGNALS}
        self._outer = getattr(self._before[signal.SIGTERM], "__self__", None)
        if isinstance(self._outer, StopRequest):
            self.asked = self._outer.asked
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if isinstance(self._outer, StopRequest):
            self._outer.asked |= self.asked

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
