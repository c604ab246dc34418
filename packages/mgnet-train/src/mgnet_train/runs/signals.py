"""Signals that ask a run to stop: the handler only sets a flag, and the loops read it after each batch."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

# A scheduler's, a person's, that of a terminal which is closed, and that of a limit on CPU time.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)


class StopRequest:
    """Inside the context, `asked` becomes true at the first signal; a second Ctrl-C interrupts at once.

    Nested contexts share the request, before and after, so that no signal is lost between two runs.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, object] = {}
        self._outer: object = None

    def __enter__(self) -> StopRequest:
        # One that is ignored already stays so: nohup, and a shell that starts a job in the background, mean it.
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        if threading.current_thread() is not threading.main_thread():
            heard = []  # Python lets no other thread handle signals
        self._before = {number: signal.signal(number, self._note) for number in heard}
        self._outer = next((getattr(handler, "__self__", None) for handler in self._before.values()), None)
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
