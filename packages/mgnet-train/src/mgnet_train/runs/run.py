"""One run from its spec to its result, every step forward: finished already? -> data -> network -> training -> result.json."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

import mgnet_models
from mgnet_records.errors import ExitCode, InputError
from mgnet_records.files import write_json
from mgnet_records.run_result import (
    CorrectCounts,
    DatasetPart,
    Environment,
    RecipePart,
    RunResult,
    new_run_id,
)
from mgnet_records.run_result import (
    Execution as ExecutionRecord,
)
from mgnet_train.config.execution import Options
from mgnet_train.config.network import check_size, notation_of, parameters_of
from mgnet_train.config.run_spec import RunSpec
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.digest import contents_sha256
from mgnet_train.data.loaders import Dataset, make_eval_loader, make_train_loader
from mgnet_train.data.loading import load_dataset
from mgnet_train.data.untracked import note_untracked
from mgnet_train.data.workers import worker_failures
from mgnet_train.errors import DivergedError, StoppedError
from mgnet_train.runs.callbacks import RunCallbacks
from mgnet_train.runs.checkpoint import Checkpoints
from mgnet_train.runs.folder import (
    CERTIFICATE,
    CONFUSION,
    WEIGHTS,
    read_json,
    utc_now,
    writable_folder,
    write_config,
    write_state,
)
from mgnet_train.runs.integrity import Opened, finished_files, open_run, require_finished
from mgnet_train.runs.journal import Journal
from mgnet_train.runs.lock import FolderLock
from mgnet_train.runs.progress import Progress
from mgnet_train.runs.result import environment, read_result, write_result
from mgnet_train.runs.signals import StopRequest
from mgnet_train.tracking.store import check_store
from mgnet_train.tracking.uploader import start_uploader, unsent
from mgnet_train.train.distributed import Processes, start_processes
from mgnet_train.train.feasibility import require_trainable
from mgnet_train.train.precision import Executor, apply_global_settings
from mgnet_train.train.trainer import Trainer

Value = TypeVar("Value")

_UPLOADER_SECONDS = 90.0
_SILENT_SECONDS = 2.0
_CERTIFY_SECONDS = 300.0  # other processes wait meanwhile, at most ten minutes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run; `was_finished` when it had been trained before, `is_sent` when the tracker has all of it."""

    folder: Path
    result: RunResult
    was_finished: bool
    is_sent: bool


def fit(spec: RunSpec, options: Options | None = None, processes: Processes | None = None) -> Outcome:
    """Train what `spec` describes, from its last checkpoint if there is one; of a finished run, return the result.

    Sets PyTorch's process-wide switches for the precision (`apply_global_settings`). Raises InputError (and its kinds
    BusyError, DivergedError, DataError) and StoppedError; everything written stays usable.
    """
    options = options or Options()
    # 1. Finished already? Asked first, so that a sweep over finished runs loads no data and builds no network.
    folder = options.runs / spec.folder_name
    finished = read_result(folder) if processes is None else processes.broadcast(read_result(folder))
    if options.certify:
        _check_certifiable(folder, is_finished=finished is not None)
    if finished is not None:
        return _finished(folder, finished, spec, processes)
    # 2. Data.
    processes = processes or start_processes(spec.execution.device)
    if processes.device.type != spec.execution.device:
        raise InputError(
            f"the run is for {spec.execution.device} and this process is on {processes.device.type}: name one with --device"
        )
    if spec.code.dirty and processes.is_main:
        note_untracked(options.data_dir)
    data = load_dataset(spec.dataset, options.data_dir, source=options.source, workers=options.workers)
    # 3. The network, in a process that is set up for the execution.
    apply_global_settings(spec.execution)
    network = spec.network.make(spec.recipe.init, spec.seed)
    check_size(network, data.size)
    executor = Executor(spec.execution, processes.device)
    require_trainable(network, spec.recipe, data, executor=executor, processes=processes.world)
    # 4. The run.
    runs = writable_folder(options.runs)
    if options.track == "now" and not options.allow_unreachable_store:
        _on_main(processes, lambda: None if folder.exists() else check_store(runs))
    return Run(spec, options, processes, folder, data, network).train()


class Run:
    """One start of a run, the first or a resumed one. Constructing it writes nothing and may raise InputError."""

    def __init__(
        self, spec: RunSpec, options: Options, processes: Processes, folder: Path, data: Dataset, network: nn.Module
    ) -> None:
        self._spec, self._options, self._processes = spec, options, processes
        self._folder, self._data = folder, data
        self._executor = Executor(spec.execution, processes.device)
        self._trainer = Trainer(
            network,
            spec.recipe,
            executor=self._executor,
            train=make_train_loader(data, spec.recipe, seed=spec.seed, processes=processes, workers=options.workers),
            test=make_eval_loader(data, batch_size=max(256, spec.recipe.batch_size), processes=processes, workers=options.workers),
            classes=data.info.num_classes,
            seed=spec.seed,
            processes=processes,
            log_every=options.log_every,
        )
        self._execution = self._executor.record(processes.world)
        self._environment = environment(processes.device)
        # Whether all that led to here was exact: what the checkpoint says, then what this start sees. None is "not known".
        self._was_exact: bool | None = True
        self._is_resumed, self._is_same_environment = False, True

    def train(self) -> Outcome:
        """Train under the folder's lock. A run that another process finished before the lock was free is returned."""
        held: list[FolderLock] = []

        def lock() -> RunResult | None:
            _make_folder(self._folder)
            held.append(FolderLock(self._folder))
            return read_result(self._folder)

        try:
            # BusyError reaches every process; else the others would wait for the main one, which has gone to another run.
            finished = self._on_main(lock)
            if finished is not None:
                return _finished(self._folder, finished, self._spec, self._processes)
            with StopRequest() as stop:
                return self._train(stop)
        finally:
            for one in held:
                one.release()

    def _train(self, stop: StopRequest) -> Outcome:
        # 1. What an earlier start left: its config, which this one must not contradict, and its last checkpoint.
        opened = self._on_main(self._open)
        state, config = opened.state, opened.config
        progress = self._progress(state)
        for note in (*self._options.notes, str(self._executor), *opened.notes):
            progress.say(note)
        if state is not None:
            self._trainer.load_state_dict(state)
            progress.say(f"resuming {self._folder.name} at epoch {self._trainer.epoch + 1}, step {self._trainer.step + 1}")
        # 2. The config of this start, if it is the first.
        if config is None:
            config = self._first_config(stop, progress)
        else:
            self._is_resumed, self._was_exact = True, opened.is_exact
            self._compare_environment(config, progress)
        # 3. The journal, the uploader beside it, and the training.
        journal = self._journal(opened.journal, progress)
        uploader = start_uploader(self._folder) if journal is not None and self._options.track == "now" else None
        callbacks = RunCallbacks(
            self._folder,
            checkpoints=Checkpoints(self._folder, self._spec.identity),
            journal=journal,
            progress=progress,
            stop=stop,
            processes=self._processes,
            seconds=self._options.checkpoint_seconds,
            keep=lambda: self._kept(config, journal),
        )
        result = self._to_the_end(callbacks, config, journal, progress)
        is_sent = uploader is not None and _wait(uploader, stop, progress) and not unsent(self._folder)
        return Outcome(folder=self._folder, result=result, was_finished=False, is_sent=is_sent)

    def _open(self) -> Opened:
        """What the folder holds. Raises InputError for other data, another execution, or files that cannot be used."""
        opened = open_run(self._folder, self._spec.identity)
        if opened.config is not None:
            self._require_same_start(opened.config)
        return opened

    def _journal(self, saved: bytes, progress: Progress) -> Journal | None:
        """The journal on the main process, mended where it must be. An InputError of it is raised on every process."""
        journal: Journal | None = None

        def make() -> str | None:
            nonlocal journal
            journal = Journal(self._folder, saved=saved)
            return journal.mended

        if mended := self._on_main(make):
            progress.say(mended)
            self._was_exact = self._was_exact and None  # what was computed before cannot be compared any more
        return journal

    def _kept(self, config: dict[str, Any], journal: Journal | None) -> dict[str, Any]:
        """What a checkpoint holds beside the state, so that no other file of the run is needed to go on."""
        content = b"" if journal is None else journal.content()
        return {"config": config, "journal": content.decode(), "is_exact": self._is_exact(journal)}

    def _to_the_end(
        self, callbacks: RunCallbacks, config: dict[str, Any], journal: Journal | None, progress: Progress
    ) -> RunResult:
        """Train to the end; whatever the end is, state.json and the journal say it."""
        if journal is not None:
            write_state(self._folder, "running", epoch=self._trainer.epoch)
        status, state, code, message = "FAILED", "failed", ExitCode.FAILED, ""
        try:
            with worker_failures():
                self._trainer.run(callbacks)
                if self._trainer.last_test is None:  # killed between the last checkpoint and the result
                    self._trainer.last_test = self._trainer.evaluate(lambda: callbacks.poll(self._trainer, in_test=True))
            result = self._result(config, progress)
            status, state, code = "FINISHED", "finished", ExitCode.DONE
            return result
        except StoppedError as end:
            status, state, code, message = "KILLED", "stopped", end.exit_code, str(end)
            raise
        except DivergedError as end:
            state, code = "diverged", end.exit_code
            message = f"{end}; the last good checkpoint is in {self._folder}: train again with a smaller --lr"
            raise DivergedError(message) from None
        except InputError as end:
            code, message = end.exit_code, str(end)
            raise
        except KeyboardInterrupt:  # a second Ctrl-C, which does not wait for the end of the step
            status, state, code = "KILLED", "stopped", ExitCode.STOPPED
            message = f"interrupted in epoch {self._trainer.epoch + 1}; the same command goes on from the last checkpoint"
            raise StoppedError(message) from None
        except BaseException as end:
            message = str(end)
            raise
        finally:
            if journal is not None:
                self._close(journal, status, progress)
                write_state(self._folder, state, exit_code=code, message=message, epoch=self._trainer.epoch)
            progress.close()

    def _close(self, journal: Journal, status: str, progress: Progress) -> None:
        if journal.replay_mismatches:
            progress.say(
                f"warning: {journal.replay_mismatches} records that were computed again after the resume differ from the first "
                "time; the journal keeps the first"
            )
        files = finished_files(self._folder) if status == "FINISHED" else None
        journal.end(status, is_exact=self._is_exact(journal), files=files)
        if waiting := journal.close():
            progress.say(f"{waiting} lines of the journal could not be written: make room, and the same command mends it")

    def _result(self, config: dict[str, Any], progress: Progress) -> RunResult:
        """Write the weights, then result.json, which holds their digest: the run is finished when that file is there."""
        return self._on_main(lambda: self._write_result(config, progress))

    def _write_result(self, config: dict[str, Any], progress: Progress) -> RunResult:
        spec, trainer, data = self._spec, self._trainer, self._data
        weights = self._folder / WEIGHTS
        if trainer.last_test is not None:
            write_json(self._folder / CONFUSION, {"counts": trainer.last_test.confusion.tolist()})
        mgnet_models.save_checkpoint(trainer.tested_network, weights, model_name=spec.network.entry, model_args=spec.network.args)
        if self._options.certify:
            progress.say(certify(verifier(), weights, self._folder / CERTIFICATE))
        correct = CorrectCounts(
            n=len(data.test),
            correct_last=trainer.correct[-1],
            correct_best=max(trainer.correct),
            correct_top5=None if trainer.last_test is None else trainer.last_test.correct_top5,
        )
        result = RunResult(
            run_id=config["run_id"],
            model=spec.network.name,
            notation=config["notation"],
            model_args=spec.network.args,
            parameters=config["parameters"],
            dataset=DatasetPart(name=data.name, split=data.info.test_split, n=len(data.test), sha256=config["data"]["sha256"]),
            recipe=RecipePart(name=spec.recipe.name, sha256=spec.recipe.sha256, values=spec.recipe.model_dump(mode="json")),
            execution=ExecutionRecord.model_validate(config["execution"]),
            seed=spec.seed,
            epochs=spec.recipe.epochs,
            commit=spec.code.sha,
            dirty=spec.code.dirty,
            environment=Environment.model_validate(config["environment"]),
            test=correct,
            train_seconds=round(trainer.seconds, 3),
            images_per_second=round(trainer.images_trained / trainer.seconds, 1),
            started=config["started"],
            finished=utc_now(),
            checkpoint_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        )
        write_result(self._folder, result)
        return result

    def _on_main(self, work: Callable[[], Value]) -> Value:
        return _on_main(self._processes, work)

    def _require_same_start(self, config: dict[str, Any]) -> None:
        """Raise InputError when the first start was on other data or by another execution."""
        _require_same_execution(self._folder, ExecutionRecord.model_validate(config["execution"]), self._spec)
        first, now = config["data"]["sha256"], self._data.sha256
        if first != now:
            raise InputError(
                f"{self._folder} was started on other {self._data.name} images (digest {first[:12]}, now {now[:12]}): "
                "give the first ones with --data-dir or --source, or another folder with --runs"
            )

    def _first_config(self, stop: StopRequest, progress: Progress) -> dict[str, Any]:
        contents = self._contents_sha256(stop, progress) if self._options.digest_contents else None
        return self._on_main(lambda: self._write_config(contents))

    def _write_config(self, contents: str | None) -> dict[str, Any]:
        data, network = self._data, self._trainer.network
        config: dict[str, Any] = {
            "schema_version": 3,
            "run_id": new_run_id(),
            "identity": self._spec.identity,
            **self._spec.as_json(),
            "execution": self._execution.model_dump(mode="json"),
            "notation": notation_of(network),
            "parameters": parameters_of(network),
            "data": {
                "name": data.name,
                "sha256": data.sha256,
                "contents_sha256": contents,
                "train_images": len(data.train),
                "test_images": len(data.test),
            },
            "environment": self._environment.model_dump(mode="json"),
            "started": utc_now(),
            "started_ms": time.time_ns() // 1_000_000,
        }
        return write_config(self._folder, config)

    def _contents_sha256(self, stop: StopRequest, progress: Progress) -> str | None:
        """Read all data; None on processes other than the main one, which meanwhile wait and pass on signals."""
        if isinstance(self._data, ResidentDataset):
            return self._data.sha256

        def go_on(*, done: bool = False) -> bool:
            asked, ended = self._processes.any_true(stop.asked, done)
            if asked:
                raise StoppedError("stopped by a signal before the first step; the same command goes on")
            return not ended

        if not self._processes.is_main:
            while go_on():
                pass
            return None
        progress.say(f"reading all of {self._data.name} for the digest of its contents")
        digest = contents_sha256(self._data, threads=max(1, self._options.workers), between=go_on)
        go_on(done=True)
        return digest

    def _compare_environment(self, config: dict[str, Any], progress: Progress) -> None:
        """Report when this start runs on other hardware, software or processes than the first one did."""
        before = {**config.get("environment", {}), **config.get("execution", {})}
        now = {**self._environment.model_dump(mode="json"), **self._execution.model_dump(mode="json")}
        changes = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
        if changes:
            self._is_same_environment = False
            progress.say(f"warning: resumed in another environment, the same bits are not promised: {', '.join(changes)}")

    def _is_exact(self, journal: Journal | None) -> bool | None:
        """Whether everything came out as it would have in one start; None when nobody can know."""
        if self._was_exact is False or not self._is_same_environment or (journal is not None and journal.replay_mismatches):
            return False
        if self._is_resumed and self._spec.execution.precision == "mixed":  # no promise about bits
            return None
        return self._was_exact

    def _progress(self, state: Any) -> Progress:
        images = len(self._data.train)
        done = 0
        if state is not None:
            done = images * state["epoch"] + min(images, state["step"] * self._spec.recipe.batch_size)
        quiet = self._options.quiet or not self._processes.is_main
        return Progress(images=images * self._spec.recipe.epochs, done=done, quiet=quiet)


def _finished(folder: Path, result: RunResult, spec: RunSpec, processes: Processes | None) -> Outcome:
    _require_same_execution(folder, result.execution, spec)
    if processes is None or processes.is_main:
        for note in require_finished(folder, result, spec.identity):
            print(note, file=sys.stderr)
    return Outcome(folder=folder, result=result, was_finished=True, is_sent=not unsent(folder))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made a folder ({error.strerror}): move it away, or use another --runs") from None


def _require_same_execution(folder: Path, first: ExecutionRecord, spec: RunSpec) -> None:
    """Raise InputError when the folder's run is computed differently: one folder holds one execution."""
    if difference := spec.execution.difference(first):
        raise InputError(f"{folder} was started with {difference}: give the first ones, or another folder with --runs")


def _on_main(processes: Processes, work: Callable[[], Value]) -> Value:
    """What `work` returns on the main process, on every process; an InputError or OSError of it is raised on every process."""
    value: Any = None
    error: InputError | None = None
    if processes.is_main:
        try:
            value = work()
        except InputError as raised:
            error = raised
        except OSError as raised:  # else the other processes would wait for this one
            where = raised.filename or "a file of the run"
            error = InputError(f"{where} cannot be written ({raised.strerror}): make room, and the same command goes on")
    value, error = processes.broadcast((value, error))
    if error is not None:
        raise error
    result: Value = value
    return result


def _wait(uploader: subprocess.Popen[bytes], stop: StopRequest, progress: Progress) -> bool:
    """Wait a while for the uploader, and no longer once somebody asks to stop; it goes on by itself."""
    begin, is_told = time.monotonic(), False
    while uploader.poll() is None:
        waited = time.monotonic() - begin
        if stop.asked or waited > _UPLOADER_SECONDS:
            progress.say("the uploader goes on sending to MLflow by itself")
            return False
        if waited > _SILENT_SECONDS and not is_told:
            progress.say(f"trained; sending the rest to MLflow, for at most {_UPLOADER_SECONDS:.0f} s (Ctrl-C: do not wait for it)")
            is_told = True
        time.sleep(0.05)
    return uploader.returncode == 0


def _check_certifiable(folder: Path, *, is_finished: bool) -> None:
    """Raise InputError when --certify cannot be satisfied, before anything is trained."""
    command = verifier()
    weights, certificate = folder / WEIGHTS, folder / CERTIFICATE
    if is_finished and not certificate.exists():
        raise InputError(f"{folder} was finished without --certify: use {command} certify {weights} --json {certificate}")


def verifier() -> Path:
    """The command mgnet-verify beside this interpreter. Raises InputError when it is not installed."""
    command = Path(sys.executable).with_name("mgnet-verify")
    if not command.exists():
        raise InputError(f"--certify needs {command}, which is not there: install mgnet-verify, or leave out --certify")
    return command


def certify(command: Path, weights: Path, certificate: Path) -> str:
    """Have the weights verified; one line that says the outcome. A verification that fails does not fail the training."""
    certificate.unlink(missing_ok=True)
    call = [str(command), "certify", str(weights), "--json", str(certificate)]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=_CERTIFY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no certificate: mgnet-verify took more than {_CERTIFY_SECONDS:.0f} s"
    status = read_json(certificate).get("status")
    if status is None:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        return f"no certificate: mgnet-verify ended with code {done.returncode}: {last}"
    return f"certificate {certificate}: {status}"
