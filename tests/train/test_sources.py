"""ImageNet from tar shards and from a Hugging Face data set: the same images, order and bits as from the folder."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import shutil
import signal
import socket
import sys
import tarfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from mgnet_records.provenance import UNKNOWN
from mgnet_train import InputError, Options, RunSpec, fit, load_dataset, make_spec
from mgnet_train.cli.main import main
from mgnet_train.config.recipes import find_recipe
from mgnet_train.data.decoding import decode
from mgnet_train.data.digest import contents_sha256
from mgnet_train.data.files import FileEvalLoader, FileTrainLoader
from mgnet_train.data.imagenet.images import StreamedDataset
from mgnet_train.errors import DataError
from mgnet_train.runs.journal import JOURNAL, read_records
from mgnet_train.train.distributed import Processes

wds = pytest.mark.skipif(find_spec("webdataset") is None, reason="webdataset is missing: install mgnet-train[wds]")
hfds = pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is missing: install mgnet-train[hfds]")
ALONE = Processes(rank=0, world=1, device=torch.device("cpu"))
TIMMS = {"train": "train", "val": "validation"}  # our name of a split -> timm's
CLASSES = ("n01440764", "n01443537")
SOURCES = [None, pytest.param("wds/shards", marks=wds), pytest.param("hfds/rows", marks=hfds)]


class Sample(NamedTuple):
    """One image as it is stored."""

    label: int
    name: str
    suffix: str
    content: bytes


def _samples(split: str, n: int) -> list[Sample]:
    """JPEGs, and one PNG, of both classes in turn, so that neither storage has them in the order of the folder."""
    random = np.random.default_rng(len(split))
    samples = []
    for i in range(n):
        label, suffix = i % 2, "png" if i == 1 else "jpg"
        content = io.BytesIO()
        pixels = random.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(content, "PNG" if suffix == "png" else "JPEG")
        samples.append(Sample(label, f"{CLASSES[label]}_{n - i}", suffix, content.getvalue()))
    return samples


IMAGES = {"train": _samples("train", 10), "val": _samples("val", 6)}


def _write_shard(path: Path, samples: Iterable[Sample]) -> None:
    with tarfile.open(path, "w") as tar:
        for sample in samples:
            for suffix, content in (("cls", str(sample.label).encode()), (sample.suffix, sample.content)):
                member = tarfile.TarInfo(f"{sample.name}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _write_rows(folder: Path, split: str, samples: list[Sample]) -> None:
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=1000)})
    images = [{"bytes": sample.content, "path": f"{sample.name}.{sample.suffix}"} for sample in samples]
    rows = datasets.Dataset.from_dict({"image": images, "label": [sample.label for sample in samples]}, features=features)
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The same images as folder, shards (with the info file that timm reads) and rows."""
    root = tmp_path / "data"
    for split, samples in IMAGES.items():
        for sample in samples:
            folder = root / "imagenet" / split / CLASSES[sample.label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{sample.name}.{sample.suffix}").write_bytes(sample.content)
        if find_spec("datasets"):
            _write_rows(root / "rows" / "data", TIMMS[split], samples)
    (root / "shards").mkdir()
    info = {}
    for split, name in TIMMS.items():
        names, parts = [f"in1k-{name}-{i:02d}.tar" for i in range(2)], [IMAGES[split][:4], IMAGES[split][4:]]
        for file, part in zip(names, parts, strict=True):
            _write_shard(root / "shards" / file, part)
        lengths = [len(part) for part in parts]
        info[name] = {"name": name, "filenames": names, "shard_lengths": lengths, "num_samples": sum(lengths)}
    (root / "shards" / "_info.json").write_text(json.dumps({"splits": info}))
    return root


def _load(data: Path, source: str | None, workers: int = 0) -> StreamedDataset:
    found = load_dataset("imagenet", data, source=source, workers=workers)
    assert isinstance(found, StreamedDataset)
    return found


def _epoch(data: Path, source: str | None, *, workers: int = 0, rank: int = 0, world: int = 1, first_step: int = 0) -> list[Any]:
    recipe = find_recipe("paper-v2", dataset="imagenet", model="x").with_overrides({"batch_size": "4"})
    processes = Processes(rank=rank, world=world, device=torch.device("cpu"))
    found = _load(data, source, workers)
    return list(FileTrainLoader(found, recipe, seed=0, processes=processes, workers=workers).epoch(1, first_step=first_step))


@pytest.mark.parametrize("source", SOURCES[1:])
def test_no_pixel_and_no_digest_depends_on_where_the_images_are_kept(data: Path, source: str) -> None:
    folder = _load(data, None)
    other = _load(data, source)
    assert other.sha256 == folder.sha256
    assert contents_sha256(other, threads=2, between=int) == contents_sha256(folder, threads=1, between=int)
    expected = _epoch(data, None)
    assert len(expected) == 3
    for batch, same in zip(expected, _epoch(data, source), strict=True):
        assert torch.equal(batch.images, same.images)
        assert torch.equal(batch.labels, same.labels)


@pytest.mark.parametrize("source", SOURCES[1:])
def test_workers_processes_and_restarts_do_not_change_a_pixel_of_a_source(data: Path, source: str) -> None:
    alone = _epoch(data, source)
    for batch, other in zip(alone, _epoch(data, source, workers=2), strict=True):
        assert torch.equal(batch.images, other.images)
    for batch, other in zip(alone[1:], _epoch(data, source, first_step=1), strict=True):
        assert torch.equal(batch.images, other.images)
    for batch, other in zip(alone, _epoch(data, source, rank=1, world=2), strict=True):
        assert torch.equal(batch.images[1::2], other.images)


@wds
def test_shards_hold_what_timms_own_reader_finds_in_them(data: Path) -> None:
    from timm.data import create_dataset

    ours = _load(data, "wds/shards").test
    theirs = create_dataset("wds/", root=str(data / "shards"), split="validation")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its shards open
        read = {(np.asarray(image).tobytes(), label) for image, label in theirs}
        gc.collect()
    assert {(decode(ours.encoded(i)).permute(1, 2, 0).numpy().tobytes(), int(ours.labels[i])) for i in range(6)} == read  # type: ignore[union-attr]
    assert len(read) == 6


@wds
def test_shards_without_info_file_are_found_by_their_names(data: Path) -> None:
    with_info = _load(data, "wds/shards").sha256
    (data / "shards" / "_info.json").unlink()
    assert _load(data, "WDS/shards").sha256 == with_info


def _damage(data: Path, source: str | None, split: str, *numbers: int) -> list[str]:
    """Spoil the first bytes of some images in place, without changing a size; the places as a message gives them."""
    if source == "hfds/rows":
        spoiled = [
            sample._replace(content=bytes(20) + sample.content[20:]) if number in numbers else sample
            for number, sample in enumerate(IMAGES[split])
        ]
        _write_rows(data / "rows" / "data", TIMMS[split], spoiled)
        return [f"{data / 'rows'}, {TIMMS[split]}: row {number}" for number in numbers]
    places = []
    for number in numbers:
        sample = IMAGES[split][number]
        if source is None:
            path = data / "imagenet" / split / CLASSES[sample.label] / f"{sample.name}.{sample.suffix}"
            places.append(str(path))
        else:
            path = data / "shards" / f"in1k-{TIMMS[split]}-0{int(number > 3)}.tar"
            places.append(f"{path}: {sample.name}")
        content = path.read_bytes()
        at = content.index(sample.content)
        path.write_bytes(content[:at] + bytes(20) + content[at + 20 :])
    return places


@pytest.mark.parametrize("source", SOURCES)
def test_two_processes_count_every_test_image_once_and_name_the_corrupt_one(data: Path, source: str | None) -> None:
    (place,) = _damage(data, source, "val", 3)
    labels, damaged, corrupt = [], set[str](), 0
    for rank in range(2):
        test = FileEvalLoader(_load(data, source), batch_size=2, processes=replace(ALONE, rank=rank, world=2), workers=0)
        labels += [int(label) for _, part in test for label in part]
        damaged, corrupt = damaged | test.corrupt_files, corrupt + test.corrupt
    assert sorted(labels) == [0, 0, 0, 1, 1]
    assert corrupt == 1
    assert [file.startswith(f"{place} (") for file in damaged] == [True]


@pytest.mark.parametrize("source", SOURCES)
def test_a_corrupt_training_image_is_replaced_by_one_of_its_class(data: Path, source: str | None) -> None:
    before = _epoch(data, source)
    _damage(data, source, "train", 5)
    after = _epoch(data, source)
    different = [
        label for batch, other in zip(before, after) for image, same, label in zip(batch.images, other.images, other.labels)
        if not torch.equal(image, same)
    ]  # fmt: skip
    assert different == [IMAGES["train"][5].label]


def test_a_class_without_a_decodable_image_is_reported_in_one_line_from_a_worker_too(data: Path) -> None:
    for sample in IMAGES["train"][2::2]:
        (data / "imagenet" / "train" / CLASSES[0] / f"{sample.name}.{sample.suffix}").unlink()
    (place,) = _damage(data, None, "train", 0)
    with pytest.raises(
        DataError,
        match=rf"^no other image of its class can be decoded in place of {re.escape(place)} \(no image .*\): get them again$",
    ):
        _epoch(data, None, workers=2)


@pytest.mark.parametrize("source", SOURCES)
def test_only_the_digest_of_contents_depends_on_bytes_that_changed_in_place(data: Path, source: str | None) -> None:
    before = _load(data, source)
    digests = before.sha256, contents_sha256(before, threads=1, between=int)
    _damage(data, source, "val", 0)
    after = _load(data, source)
    assert after.sha256 == digests[0]
    assert contents_sha256(after, threads=1, between=int) != digests[1]


def _cut(shard: Path, at: int) -> None:
    shard.write_bytes(shard.read_bytes()[:at])


def _scribble(shard: Path) -> None:
    """Spoil the header of the fifth member."""
    with tarfile.open(shard) as tar:
        at = tar.getmembers()[4].offset
    content = shard.read_bytes()
    shard.write_bytes(content[:at] + b"?" + content[at + 1 :])


def _cut_between_members(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        _cut(shard, tar.getmembers()[4].offset)


def _relabel(shard: Path, label: object) -> None:
    _write_shard(shard, [sample._replace(label=label) for sample in IMAGES["val"][:4]])  # type: ignore[arg-type]


def _compress(shard: Path) -> None:
    with tarfile.open(shard, "w:gz"):
        pass


@wds
@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda shard: _cut(shard, 3000), r"is no whole tar file \(unexpected end of data\): get it again"),
        (_cut_between_members, r"is truncated or corrupt at byte \d+: get it again"),
        (_scribble, r"is truncated or corrupt at byte \d+: get it again"),
        (_compress, r"is no whole tar file .*: get it again, not compressed"),
        (Path.unlink, r"is missing: get the shard"),
        (lambda shard: shard.write_bytes(b""), r"is no whole tar file \(empty file\)"),
        (lambda shard: _relabel(shard, "dog"), r": n01440764_6 has the label b'dog', no number"),
        (lambda shard: _relabel(shard, 1000), r": n01440764_\d has label 1000, outside 0\.\.999 of imagenet"),
        (lambda shard: _write_shard(shard, IMAGES["val"][:3]), r"has 3 images, its folder's info file says 4: get it again"),
        (lambda shard: _write_shard(shard, [IMAGES["val"][0]._replace(suffix="txt")]), r"n01440764_6 has no image \(\.jpeg, "),
    ],
)
def test_a_shard_that_would_give_fewer_or_other_images_is_rejected_by_name(
    data: Path, spoil: Callable[[Path], object], message: str
) -> None:
    shard = data / "shards" / "in1k-validation-00.tar"
    spoil(shard)
    with pytest.raises(DataError, match=rf"^{shard}.*{message}"):
        _ = _load(data, "wds/shards", workers=2).test


@wds
def test_shards_are_scanned_once_and_again_when_they_changed_or_the_index_is_corrupt(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def scanned() -> bool:
        assert len(_load(data, "wds/shards").test) == 6
        return "scanning 2 shards" in capsys.readouterr().err

    assert [scanned(), scanned()] == [True, False]
    os.utime(data / "shards" / "in1k-validation-01.tar", (1, 1))
    assert [scanned(), scanned()] == [True, False]
    kept = next((tmp_path / "cache" / "mgnet-train" / "shards").iterdir())
    whole = kept.read_bytes()
    for damaged in (b"", whole[:200], bytes(100) + whole[100:]):
        kept.write_bytes(damaged)
        assert [scanned(), scanned()] == [True, False]
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder can be made here")
    assert [scanned(), scanned()] == [True, True]


@wds
def test_an_info_file_that_timm_cannot_follow_is_rejected(data: Path) -> None:
    info = data / "shards" / "_info.json"
    told = json.loads(info.read_text())
    told["splits"]["validation"]["alt_label"] = "label_12k"
    info.write_text(json.dumps(told))
    with pytest.raises(DataError, match=r"shards keeps its labels as 'label_12k', not in \.cls files"):
        _ = _load(data, "wds/shards").test
    info.write_text('{"splits": {}}')
    with pytest.raises(DataError, match=r"shards cannot be opened by timm \(RuntimeError: split validation not found"):
        _ = _load(data, "wds/shards").test
    for path in (data / "shards").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"shards has neither _info\.json nor shards with 'val' in their names"):
        _ = _load(data, "wds/shards").test


@hfds
def test_rows_are_read_without_asking_a_hub(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address))
    assert len(_load(data, "hfds/rows").test) == 6
    assert asked == []


@hfds
def test_a_data_set_that_save_to_disk_wrote_is_read_and_garbage_rejected(data: Path) -> None:
    import datasets

    expected = _load(data, "hfds/rows").sha256
    datasets.load_dataset(str(data / "rows"), cache_dir=str(data / "cache")).save_to_disk(data / "saved")
    assert _load(data, "hfds/saved").sha256 == expected
    (data / "notes").mkdir()
    (data / "notes" / "train.txt").write_text("no image\n")
    with pytest.raises(DataError, match=r"notes has no images and labels that timm can open, train \(.*\)$"):
        _ = _load(data, "hfds/notes").train


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--data", "imagenet", "--source", "tfds/imagenet2012"], 2, "'tfds/imagenet2012' is read in sequence only"),
        (["--data", "imagenet", "--source", "shards"], 2, "unknown source 'shards': use wds/NAME or hfds/NAME"),
        (["--data", "imagenet", "--source", "wds/"], 2, "unknown source 'wds/': use wds/NAME"),
        (["--source", "wds/shards"], 2, "source 'wds/shards' says nothing about digits: leave out --source"),
        pytest.param(["--data", "imagenet", "--source", "wds/none"], 66, "source 'wds/none' is not at data/none: put", marks=wds),
    ],
)
def test_a_source_that_cannot_be_read_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["fit", *arguments, "--runs", str(tmp_path / "runs")]) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("source, package, extra", [("wds/x", "webdataset", "wds"), ("hfds/x", "datasets", "hfds")])
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"source '{source}' needs the package {package}: install mgnet-train\[{extra}\]"):
        load_dataset("imagenet", tmp_path, source=source)


@pytest.fixture
def spec() -> RunSpec:
    return make_spec(
        "MgNet[1]-[4]-B^l",
        dataset="imagenet",
        recipe="paper-v2",
        overrides={"epochs": "2", "batch_size": "3"},
        code=UNKNOWN,
        model_args={"stem": "imagenet"},
    )


@pytest.fixture
def options(quietly: Options, data: Path) -> Options:
    return replace(quietly, data_dir=data, workers=1, checkpoint_seconds=0.0, log_every=1)


@pytest.mark.parametrize("source", SOURCES)
def test_a_run_from_a_source_killed_and_resumed_ends_with_the_bits_of_the_folder(
    spec: RunSpec,
    options: Options,
    child: Callable[[Callable[[], int]], Any],
    final_state: Callable[[Path], object],
    tmp_path: Path,
    source: str,
) -> None:
    undisturbed = final_state(fit(spec, replace(options, runs=tmp_path / "undisturbed"), ALONE).folder)
    options = replace(options, source=source)
    running = child(lambda: fit(spec, options, ALONE).was_finished)
    folder = options.runs / spec.folder_name
    deadline = time.monotonic() + 20
    while len(read_records(folder / JOURNAL, 0)[0]) < 2:
        assert time.monotonic() < deadline, "the child did not train"
        time.sleep(0.001)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    assert final_state(fit(spec, options, ALONE).folder) == undisturbed


@pytest.mark.parametrize("source", SOURCES)
def test_without_worker_processes_a_run_ends_with_the_same_bits(
    spec: RunSpec, options: Options, final_state: Callable[[Path], object], tmp_path: Path, source: str | None
) -> None:
    """As where /dev/shm is too small for them; the images are then augmented in the process that trains."""
    spec = replace(spec, network=replace(spec.network, args=spec.network.args | {"drop_rate": 0.5}))
    ends = [
        fit(spec, replace(options, source=source, workers=workers, digest_contents=True, runs=tmp_path / str(workers)), ALONE)
        for workers in (0, 2)
    ]
    assert final_state(ends[0].folder) == final_state(ends[1].folder)


@wds
def test_a_run_is_not_resumed_on_other_images_than_it_was_begun_on(
    spec: RunSpec, options: Options, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fit(spec, replace(options, digest_contents=True, quiet=False), ALONE).folder
    assert "reading all of imagenet for the digest of its contents" in capsys.readouterr().out
    told = json.loads((folder / "config.json").read_text())["data"]
    assert (told["sha256"], told["contents_sha256"]) == (
        _load(data, None).sha256,
        contents_sha256(_load(data, "wds/shards"), threads=1, between=int),
    )
    (folder / "result.json").unlink()
    _write_shard(data / "shards" / "in1k-train-01.tar", reversed([one._replace(label=0) for one in IMAGES["train"][4:]]))
    with pytest.raises(InputError, match=r"was started on other imagenet images \(digest .*\): give the first ones with"):
        fit(spec, replace(options, source="wds/shards"), ALONE)


@pytest.mark.parametrize("source", SOURCES)
def test_evaluate_names_what_it_counts_as_wrong_and_training_reports_corrupt_images(
    spec: RunSpec, options: Options, data: Path, capsys: pytest.CaptureFixture[str], source: str | None
) -> None:
    (tested,), (trained,) = _damage(data, source, "val", 3), _damage(data, source, "train", 0)
    result = fit(spec, replace(options, source=source, quiet=False), ALONE)
    printed = capsys.readouterr().out
    assert printed.count(f"corrupt image: {tested} (") == 1
    assert printed.count(f"corrupt image: {trained} (") == 1
    assert result.result.test.n == 6
    arguments = ["evaluate", str(result.folder / "model.safetensors"), "--data", "imagenet", "--data-dir", str(data)]
    arguments += ["--device", "cpu", "--workers", "1", *(["--source", source] if source else [])]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"corrupt, counted as wrong: {tested} (" in printed
    assert f"({result.result.test.correct_last} of 6 images)" in printed
    assert main([*arguments, "--strict"]) == 2


@pytest.mark.parametrize("source", SOURCES)
def test_two_processes_take_uneven_steps_name_every_corrupt_image_and_digest_all_contents(
    spec: RunSpec,
    options: Options,
    data: Path,
    ranks: Callable[[RunSpec, Options], list[Any]],
    capfd: pytest.CaptureFixture[str],
    source: str | None,
) -> None:
    places = _damage(data, source, "val", 4, 5)  # one for each process
    options.runs.mkdir()
    together = replace(options, source=source, digest_contents=True, quiet=False)
    assert [member.wait() for member in ranks(spec, together)] == [0, 0]
    printed = capfd.readouterr().out
    assert [printed.count(f"corrupt image: {place} (") for place in places] == [1, 1]
    folder = options.runs / spec.folder_name
    assert json.loads((folder / "result.json").read_text())["test"]["n"] == 6
    digest = json.loads((folder / "config.json").read_text())["data"]["contents_sha256"]
    assert digest == contents_sha256(_load(data, source), threads=1, between=int)
