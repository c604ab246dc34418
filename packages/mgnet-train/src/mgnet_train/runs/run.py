"""One run from its settings to its result: check everything, then train, resume or find it finished."""

from __future__ import annotations

import hashlib
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mgnet_models
from mgnet_train.atomic import write_json
from mgnet_train.certificate import CERTIFICATE, certify, verifier
from mgnet_train.config.network import check_size, executed_form, notation_of, parameters_of
from mgnet_train.config.run_spec import Options, RunSpec
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.digest import contents_sha256
from mgnet_train.data.loaders import Dataset, test_images, training_images
from mgnet_train.data.loading import load_dataset
from mgnet_train.errors import DivergedError, ExitCode, StoppedError, UserError
from mgnet_train.provenance import environment
from mgnet_train.runs.callbacks import FileKeeper
from mgnet_train.runs.checkpoint import Checkpoints
from mgnet_train.runs.folder import CONFIG, read_json, utc_now, writable_folder, write_state
from mgnet_train.runs.journal import Journal
from mgnet_train.runs.lock import FolderLock
from mgnet_train.runs.progress import Progress
from mgnet_train.runs.result import DatasetPart, RecipePart, Result, TestPart, read_result
from mgnet_train.runs.signals import StopRequest
from mgnet_train.tracking.client import WEIGHTS
from mgnet_train.tracking.figures import CONFUSION
from mgnet_train.tracking.uploader import start_sender
from mgnet_train.tracking.uri import check_store, store_uri
from mgnet_train.train.distributed import Processes
from mgnet_train.train.trainer import Course, Training

_SENDER_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run; `was_finished` when it had been trained before, `is_sent` when the tracker has all of it."""

    folder: Path
    result: Result
    was_finished: bool
    is_sent: bool


def fit(spec: RunSpec, options: Options, processes: Processes) -> Outcome:
    """Train what `spec` describes, from its last checkpoint if there is one.

    Raises UserError (and its kinds BusyError, DivergedError, DataError) and StoppedError; everything written stays usable.
    """
    data = load_dataset(spec.dataset, options.data_dir, source=options.source, workers=options.workers)
    threads = options.threads or data.facts.cpu_threads
    if threads is not None:
        torch.set_num_threads(threads)
    network = spec.network.make(spec.recipe, spec.seed)
    executed_form(network, spec.recipe.form)
    check_size(network, data.size)
    runs = writable_folder(options.runs)
    folder = runs / spec.folder_name
    finished = read_result(folder)
    if options.certify:
        _check_certifiable(folder, is_finished=finished is not None)
    if finished is not None:
        return Outcome(folder=folder, result=finished, was_finished=True, is_sent=finished.mlflow_run_id is not None)
    if options.track == "now" and not options.allow_unreachable_store and not folder.exists():
        check_store(store_uri(runs))
    return _Start(spec, options, processes, folder, data, network).run()


class _Start:
    """One start of a run, first or resumed."""

    def __init__(
        self, spec: RunSpec, options: Options, processes: Processes, folder: Path, data: Dataset, network: nn.Module
    ) -> None:
        self._spec, self._options, self._processes = spec, options, processes
        self._folder, self._data = folder, data
        self._same_environment = True
        recipe = spec.recipe
        self._train_images = training_images(data, recipe, seed=spec.seed, processes=processes, workers=options.workers)
        self._test_images = test_images(data, batch_size=max(256, recipe.batch_size), processes=processes, workers=options.workers)
        self._training = Training(
            network,
            Course(
                recipe=recipe,
                train=self._train_images,
                test=self._test_images,
                classes=data.facts.model_data.num_classes,
                processes=processes,
                log_every=options.log_every,
            ),
        )

    def run(self) -> Outcome:
        """Train under the folder's lock."""
        lock = None
        if self._processes.leads:
            self._folder.mkdir(exist_ok=True)
            lock = FolderLock(self._folder)
        try:
            with StopRequest() as stop:
                return self._train(stop)
        finally:
            if lock is not None:
                lock.release()

    def _train(self, stop: StopRequest) -> Outcome:
        checkpoints = Checkpoints(self._folder, self._spec.identity)
        state = self._processes.share(checkpoints.load() if self._processes.leads else None)
        progress = self._progress(state)
        for note in (*self._options.notes, str(self._training.arithmetic)):
            progress.say(note)
        for complaint in checkpoints.complaints:
            progress.say(f"{complaint}; going on from the previous one")
        if state is not None:
            self._training.load_state_dict(state)
            progress.say(f"resuming {self._folder.name} at epoch {self._training.epoch + 1}, step {self._training.step + 1}")
            self._compare_environment(progress)
        self._settle_config(stop, progress)
        journal = Journal(self._folder) if self._processes.leads else None
        sender = start_sender(self._folder) if journal is not None and self._options.track == "now" else None
        keeper = FileKeeper(
            self._folder,
            checkpoints=checkpoints,
            journal=journal,
            progress=progress,
            stop=stop,
            processes=self._processes,
            damaged=self._damaged,
            seconds=self._options.checkpoint_seconds,
        )
        result = self._guarded(keeper, journal, progress)
        is_sent = sender is not None and _wait(sender)
        return Outcome(folder=self._folder, result=self._final(result), was_finished=False, is_sent=is_sent)

    def _guarded(self, keeper: FileKeeper, journal: Journal | None, progress: Progress) -> Result:
        """Train to the end; whatever the end is, state.json and the journal say it."""
        write_state(self._folder, "running", epoch=self._training.epoch)
        status, state, code, message = "FAILED", "failed", ExitCode.FAILED, ""
        try:
            self._training.run(keeper)
            result = self._result(progress)
            status, state, code = "FINISHED", "finished", ExitCode.DONE
            return result
        except StoppedError as end:
            status, state, code, message = "KILLED", "stopped", end.exit_code, str(end)
            raise
        except DivergedError as end:
            state, code = "diverged", end.exit_code
            message = f"{end}; the last good checkpoint is in {self._folder}: start anew with a smaller --lr"
            raise DivergedError(message) from None
        except BaseException as end:
            message = str(end)
            raise
        finally:
            if journal is not None:
                write_state(self._folder, state, exit_code=code, message=message, epoch=self._training.epoch)
                journal.end(status, is_exact=self._is_exact(journal, progress))
                journal.close()
            progress.close()

    def _result(self, progress: Progress) -> Result:
        """Write the weights, then the result that counts on them."""
        spec, training, data = self._spec, self._training, self._data
        weights = self._folder / WEIGHTS
        if self._processes.leads:
            if training.last_test is not None:
                write_json(self._folder / CONFUSION, {"counts": training.last_test.confusion.tolist()})
            mgnet_models.save_checkpoint(
                training.tested_network, weights, model_name=spec.network.entry, model_args=spec.network.args
            )
            if self._options.certify:
                progress.say(certify(verifier(), weights, self._folder / CERTIFICATE))
        self._processes.wait()
        config = read_json(self._folder / CONFIG)
        images = training.images_trained
        result = Result(
            mlflow_run_id=None,
            model=spec.network.name,
            notation=config["notation"],
            model_args=spec.network.args,
            parameters=config["parameters"],
            dataset=DatasetPart(name=data.name, split=data.facts.test_split, n=len(data.test), sha256=config["data"]["sha256"]),
            recipe=RecipePart(name=spec.recipe.name, sha256=spec.recipe.sha256, values=spec.recipe.model_dump(mode="json")),
            seed=spec.seed,
            epochs=spec.recipe.epochs,
            commit=spec.commit.sha,
            dirty=spec.commit.dirty,
            environment=config["environment"],
            test=TestPart(n=len(data.test), correct_last=training.correct[-1], correct_best=max(training.correct)),
            train_seconds=round(training.seconds, 3),
            images_per_second=round(images / training.seconds, 1),
            started=config["started"],
            finished=utc_now(),
            checkpoint_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        )
        if self._processes.leads:
            result.write(self._folder)
        return result

    def _final(self, result: Result) -> Result:
        """The result with the run id that the sender may have added."""
        return read_result(self._folder) or result

    def _compare_environment(self, progress: Progress) -> None:
        """Tell when this start runs on other hardware or software than the first one did."""
        first = read_json(self._folder / CONFIG)
        before = {**first.get("environment", {}), "processes": first.get("processes")}
        now = {**environment(self._processes.device), "processes": self._processes.world}
        changes = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
        if changes:
            self._same_environment = False
            progress.say(f"warning: resumed in another environment, the same bits are not promised: {', '.join(changes)}")

    def _is_exact(self, journal: Journal, progress: Progress) -> bool:
        if journal.replay_mismatches:
            progress.say(
                f"warning: {journal.replay_mismatches} records that were computed again after the resume differ from the first "
                "time; the journal keeps the first"
            )
        return self._same_environment and not journal.replay_mismatches

    def _damaged(self) -> set[str]:
        """The places of the damaged images that this process has met."""
        return set().union(*(getattr(images, "damaged", ()) for images in (self._train_images, self._test_images)))

    def _settle_config(self, stop: StopRequest, progress: Progress) -> None:
        """Write config.json at the first start; at a later one refuse other data than the first had."""
        leads = self._processes.leads
        if self._processes.share(not (self._folder / CONFIG).exists() if leads else None):
            contents = self._contents_sha256(stop, progress) if self._options.digest_contents else None
            if leads:
                self._write_config(contents)
        elif refusal := self._processes.share(self._other_data() if leads else None):
            raise UserError(refusal)

    def _other_data(self) -> str | None:
        first, now = read_json(self._folder / CONFIG).get("data", {}).get("sha256"), self._data.sha256
        if first in (None, now):
            return None
        return (
            f"{self._folder} was begun on other {self._data.name} images (digest {first[:12]}, now {now[:12]}): "
            "give the first ones with --data-dir or --source, or begin anew with --runs"
        )

    def _contents_sha256(self, stop: StopRequest, progress: Progress) -> str | None:
        """Read all data; None on processes that do not lead, which meanwhile wait and pass on signals."""
        if isinstance(self._data, ResidentDataset):
            return self._data.sha256

        def go_on(*, done: bool = False) -> bool:
            asked, ended = self._processes.any_of(stop.asked, done)
            if asked:
                raise StoppedError("stopped by a signal before the first step")
            return not ended

        if not self._processes.leads:
            while go_on():
                pass
            return None
        progress.say(f"reading all of {self._data.name} for the digest of its contents")
        digest = contents_sha256(self._data, threads=self._options.workers, between=go_on)
        go_on(done=True)
        return digest

    def _write_config(self, contents_sha256: str | None) -> None:
        data, network = self._data, self._training.network
        config: dict[str, Any] = {
            "schema_version": 1,
            "identity": self._spec.identity,
            **self._spec.as_json(),
            "notation": notation_of(network),
            "parameters": parameters_of(network),
            "data": {
                "name": data.name,
                "sha256": data.sha256,
                "contents_sha256": contents_sha256,
                "train_images": len(data.train),
                "test_images": len(data.test),
            },
            "environment": environment(self._processes.device),
            "processes": self._processes.world,
            "started": utc_now(),
            "started_ms": time.time_ns() // 1_000_000,
        }
        write_json(self._folder / CONFIG, config)

    def _progress(self, state: Any) -> Progress:
        images = len(self._data.train)
        done = 0
        if state is not None:
            done = images * state["epoch"] + min(images, state["step"] * self._spec.recipe.batch_size)
        quiet = self._options.quiet or not self._processes.leads
        return Progress(images=images * self._spec.recipe.epochs, done=done, quiet=quiet)


def _check_certifiable(folder: Path, *, is_finished: bool) -> None:
    """Raise UserError when --certify cannot be kept, before anything is trained."""
    command = verifier()
    weights, certificate = folder / WEIGHTS, folder / CERTIFICATE
    if is_finished and not certificate.exists():
        raise UserError(f"{folder} was finished without --certify: use {command} certify {weights} --json {certificate}")


def _wait(sender: subprocess.Popen[bytes]) -> bool:
    """Give the sender a while to finish; it goes on by itself if that is not enough."""
    try:
        return sender.wait(_SENDER_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False
