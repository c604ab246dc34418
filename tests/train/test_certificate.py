"""A certificate is requested, made by mgnet-verify, kept with the run, and never ends a training."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mgnet_train import InputError, Options, RunSpec, fit
from mgnet_train.runs.run import certify
from mgnet_train.train.distributed import Processes

Install = Callable[[str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a stand-in for mgnet-verify beside the interpreter: a shell script with `$2` the weights and `$4` the certificate."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))

    def put(script: str) -> Path:
        command = folder / "mgnet-verify"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        return command

    return put


def test_a_requested_certificate_is_made_of_the_trained_weights(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, install: Install
) -> None:
    install('test -s "$2" && printf \'{"status": "pass", "of": "%s"}\' "$(sha256sum < "$2" | cut -c1-64)" > "$4"')
    outcome = fit(tiny_spec(epochs="1"), replace(quietly, certify=True), one_process)
    certificate = json.loads((outcome.folder / "certificate.json").read_text())
    assert certificate == {"status": "pass", "of": outcome.result.checkpoint_sha256}
    assert fit(tiny_spec(epochs="1"), replace(quietly, certify=True), one_process).was_finished


def test_a_verification_that_cannot_run_does_not_cost_the_run(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, install: Install
) -> None:
    install("echo broken >&2; exit 3")
    outcome = fit(tiny_spec(epochs="1"), replace(quietly, certify=True), one_process)
    assert outcome.result.epochs == 1
    assert not (outcome.folder / "certificate.json").exists()


@pytest.mark.parametrize(
    "script, said",
    [
        ('echo \'{"status": "fail"}\' > "$4"; exit 1', "certificate .*: fail"),
        ("echo broken >&2; exit 3", "no certificate: mgnet-verify ended with code 3: broken"),
        ("exit 4", "ended with code 4: it printed nothing"),
    ],
)
def test_what_came_of_a_verification_is_one_line(tmp_path: Path, install: Install, script: str, said: str) -> None:
    (tmp_path / "certificate.json").write_text('{"status": "pass"}')  # of an earlier start
    line = certify(install(script), tmp_path / "weights", tmp_path / "certificate.json")
    assert "\n" not in line
    assert re.search(said, line)


@pytest.mark.usefixtures("install")
def test_a_certificate_is_rejected_before_training_when_nothing_can_make_it(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    with pytest.raises(InputError, match=r"--certify needs .*mgnet-verify, which is not there"):
        fit(tiny_spec(), replace(quietly, certify=True), one_process)
    assert not quietly.runs.exists()


def test_a_run_finished_without_a_certificate_says_how_to_get_one(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, install: Install
) -> None:
    fit(tiny_spec(epochs="1"), quietly, one_process)
    install("exit 1")
    with pytest.raises(InputError, match=r"was finished without --certify: use .*mgnet-verify certify .*model.safetensors"):
        fit(tiny_spec(epochs="1"), replace(quietly, certify=True), one_process)
