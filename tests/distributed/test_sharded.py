"""Classes sharded over 1, 2 and 3 processes give the results of one process with all classes."""

import contextlib
import io
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING

from lh2face.distributed import checkpoint, checkpoint_files
from lh2face.distributed.clipping import clip_grad_norm_
from lh2face.distributed.proxies import ROWS_PER_SEED, ShardedProxies
from lh2face.registry import MODELS

WORKER = Path(__file__).with_name("worker.py")
WORLDS = [1, 2, 3]
C = 7
# How DTensor divides 7 rows.
SHARDS = {1: [7], 2: [4, 3], 3: [3, 3, 1]}


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """Returns the results of the processes by scenario and number of processes."""
    folder = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(WORKER), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-5000:]

    def read(scenario: str, world: int) -> list[dict]:
        paths = sorted(folder.glob(f"{scenario}-{world}-*.pt"))
        assert len(paths) == max(world, 1)
        return [torch.load(path) for path in paths]

    return read


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the norm of the difference, relative to the norm."""
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("world", WORLDS)
def test_loss_gradients_and_statistics_equal_one_process(results, world):
    (plain,) = results("gradients", 0)
    ranks = results("gradients", world)
    assert len(plain) == 18
    for (head, dtype), expected in plain.items():
        bound = 1e-12 if dtype == torch.float64 else 1e-6
        parts = [rank[head, dtype] for rank in ranks]
        assert [len(part["proxies"]) for part in parts] == SHARDS[world]
        proxies = torch.cat([part["proxies"] for part in parts])
        assert error(proxies, expected["proxies"]) <= bound, head
        for part in parts:
            assert error(part["network"], expected["network"]) <= bound, head
            assert part["terms"].keys() == expected["terms"].keys()
            for name, value in expected["terms"].items():
                torch.testing.assert_close(part["terms"][name], value, rtol=bound, atol=bound)
            for name, value in part["statistics"].items():
                expected_value = expected["statistics"][name.removeprefix("head.")]
                torch.testing.assert_close(value, expected_value, rtol=bound, atol=bound)


def test_some_heads_have_statistics_to_compare(results):
    (plain,) = results("gradients", 0)
    kept = {head for (head, _), result in plain.items() if result["statistics"]}
    assert kept == {"CurricularFaceHead", "AdaFaceHead", "LH2FaceHead"}


def test_sampled_classes_are_those_of_the_batch_and_some_others(results):
    parts = results("sampling", 2)
    classes = torch.cat([part["classes"] for part in parts])
    labels = torch.randint(C, (6,), generator=torch.Generator().manual_seed(20))
    assert set(labels.tolist()) <= set(classes.tolist())
    assert len(classes) < C and len(classes.unique()) == len(classes)

    generator = torch.Generator().manual_seed
    draw = lambda *shape, seed: torch.randn(*shape, generator=generator(seed), dtype=torch.float64)  # noqa: E731
    head = {"type": "LH2FaceHead", "vmf_dim": 6, "in_channels": 8}
    few = MODELS.build({**head, "num_classes": len(classes)}).double()
    weight = draw(C, 8, seed=2)
    few.proxies.weight.data.copy_(weight[classes])
    embeddings = draw(6, 8, seed=10) @ draw(8, 8, seed=1).T
    terms = few.loss(embeddings, torch.searchsorted(classes, labels))
    loss = sum(value for name, value in terms.items() if "loss" in name)
    loss.backward()
    for part in parts:
        torch.testing.assert_close(part["loss"], loss.detach())
    expected = torch.zeros(C, 8, dtype=torch.float64)
    expected[classes] = few.proxies.weight.grad
    torch.testing.assert_close(torch.cat([part["proxies"] for part in parts]), expected)


def test_evaluation_uses_all_classes(results):
    parts = results("sampling", 2)
    assert [part["calls"] for part in parts] == [1, 1]
    torch.testing.assert_close(parts[0]["everything"], parts[1]["everything"])


def test_sampling_takes_the_given_share_of_classes():
    proxies = ShardedProxies(1000, 4, sample_rate=0.1)
    labels = torch.tensor([3, 999, 3])
    sampled = proxies._sample(*proxies._locate(labels))
    assert len(sampled) == 100 and {3, 999} <= set(sampled.tolist())
    assert torch.equal(sampled, sampled.unique())
    many = torch.arange(300)
    assert torch.equal(proxies._sample(*proxies._locate(many)), many)


@pytest.mark.parametrize("world", [0, 3])
def test_checkpoint_of_two_processes_resumes_on_another_number(results, world):
    expected = results("trained", 2)[0]
    for rank in results("resumed", world):
        torch.testing.assert_close(rank["losses"], expected["losses"], rtol=1e-12, atol=0)
        torch.testing.assert_close(rank["network"], expected["network"], rtol=1e-12, atol=1e-15)


def test_a_run_of_mmengine_equals_that_of_one_process(results):
    (plain,) = results("run", 0)
    for name in ("run", "run_on"):
        ranks = results(name, 3)
        for rank in ranks:
            assert error(rank["network"], plain["network"]) < 1e-5
            assert rank["lr"] == plain["lr"]
        proxies = torch.cat([rank["proxies"] for rank in ranks])
        assert error(proxies, plain["proxies"]) < 1e-5


def test_an_overflow_in_one_process_skips_the_step_in_all(results):
    for rank in results("overflow", 2):
        assert rank["parameter"].tolist() == [1.0, 1.0]
        assert rank["scale"] == 65536 / 2


def test_a_state_of_other_classes_is_refused(results):
    mine, *others = (rank.get("error") for rank in results("other_processes_state", 3))
    assert mine is None
    assert others[1].startswith(
        "proxies: expected the state of classes 6 … 6 of 7, found that of classes 0 … 2 of 7"
    )


def test_initial_values_do_not_depend_on_the_division(monkeypatch):
    def rows(start: int, stop: int) -> torch.Tensor:
        torch.manual_seed(5)
        return proxies_module._initial_rows(start, stop, 2)

    from lh2face.distributed import proxies as proxies_module

    whole = rows(0, 2 * ROWS_PER_SEED + 10)
    for start, stop in [(0, 5), (ROWS_PER_SEED - 3, 2 * ROWS_PER_SEED + 1), (7, 7)]:
        assert torch.equal(rows(start, stop), whole[start:stop])
    assert len(whole.unique(dim=0)) == len(whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes: expected at least 1, found 0"),
        ({"sample_rate": 0.0}, r"sample_rate: expected a share in \(0, 1\], found 0.0"),
        ({"sample_rate": 1.5}, r"sample_rate: expected a share in \(0, 1\], found 1.5"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShardedProxies(**{"num_classes": 5, "in_channels": 4, **arguments})


def test_clipping_in_one_process_equals_pytorchs():
    parameters = [torch.nn.Parameter(torch.zeros(3)) for _ in range(3)]
    grads = [torch.arange(3.0), torch.full((3,), 2.0), None]
    for sharded in ([], parameters[:1], parameters):
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = None if grad is None else grad.clone()
        total = clip_grad_norm_(parameters, 0.5, sharded=sharded)
        assert total.item() == pytest.approx(17**0.5)
        torch.testing.assert_close(parameters[0].grad, 0.5 / 17**0.5 * grads[0])
        torch.testing.assert_close(parameters[1].grad, 0.5 / 17**0.5 * grads[1])


@pytest.fixture(scope="module")
def checkpoint_of_one(tmp_path_factory):
    """A checkpoint that one process wrote, with its model and optimizer."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    path = tmp_path_factory.mktemp("checkpoint") / "last.dcp"
    checkpoint.save(path, model, optimizer, {"iter": 1})
    return path, model, optimizer


def test_any_damage_to_a_sharded_checkpoint_is_detected(checkpoint_of_one, tmp_path):
    path, *_ = checkpoint_of_one
    assert checkpoint.is_whole(path)
    rng = random.Random(0)
    for count in range(400):
        damaged = tmp_path / str(count)
        shutil.copytree(path, damaged)
        file = rng.choice(sorted(damaged.iterdir()))
        content = bytearray(file.read_bytes())
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        file.write_bytes(content if count % 2 else content[:place])
        assert not checkpoint.is_whole(damaged), file.name
    assert not checkpoint.is_whole(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["{}", "[1]", "[]", '{".metadata": 1}', '{"../x": "1"}'])
def test_an_incomplete_list_of_digests_is_detected(checkpoint_of_one, tmp_path, content):
    shutil.copytree(checkpoint_of_one[0], tmp_path / "last.dcp")
    (tmp_path / "last.dcp" / checkpoint.DIGESTS).write_text(content)
    assert not checkpoint.is_whole(tmp_path / "last.dcp")


class RunsCode:
    """Unpickling this object would call a function."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_reading_the_metadata_runs_no_code(checkpoint_of_one, tmp_path):
    path, model, optimizer = checkpoint_of_one
    crafted = tmp_path / "last.dcp"
    shutil.copytree(path, crafted)
    (crafted / checkpoint.METADATA).write_bytes(pickle.dumps(RunsCode(tmp_path / "ran")))
    with pytest.raises(pickle.UnpicklingError, match=r"^checkpoint: refused to read "):
        checkpoint.load(crafted, model, optimizer)
    assert not (tmp_path / "ran").exists()


def test_reading_an_entry_that_is_no_tensor_runs_no_code(checkpoint_of_one, tmp_path):
    _, model, optimizer = checkpoint_of_one
    state, _ = checkpoint._whole_state(model, optimizer)
    crafted = tmp_path / "last.dcp"
    dcp.save({**state, "progress": RunsCode(tmp_path / "ran")}, checkpoint_id=crafted)
    with pytest.raises(dcp.api.CheckpointException, match="Weights only load failed"):
        checkpoint.load(crafted, model, optimizer)
    assert not (tmp_path / "ran").exists()


def by_getattr(cls: str, name: str) -> bytes:
    """Return a pickle that calls ``getattr(cls, name)``."""
    module = "torch.distributed.checkpoint.metadata"
    return f"cbuiltins\ngetattr\n(c{module}\n{cls}\nV{name}\ntR.".encode()


def test_members_of_enumerations_are_read_from_any_python():
    """Python 3.11.2 pickles them as a call of ``getattr``, which is allowed for members alone."""

    def read(content: bytes) -> object:
        return checkpoint.MetadataUnpickler(io.BytesIO(content)).load()

    member = read(by_getattr("_MEM_FORMAT_ENCODING", "TORCH_CHANNELS_LAST"))
    assert member is _MEM_FORMAT_ENCODING.TORCH_CHANNELS_LAST
    assert read(pickle.dumps(member)) is member
    for cls, name in (
        ("Metadata", "__init__"),
        ("_MEM_FORMAT_ENCODING", "__class__"),
        ("_MEM_FORMAT_ENCODING", "__init_subclass__"),
    ):
        with pytest.raises(pickle.UnpicklingError, match=r"refused to read builtins\.getattr"):
            read(by_getattr(cls, name))


def test_a_new_checkpoint_keeps_the_previous_one(checkpoint_of_one, tmp_path):
    _, model, optimizer = checkpoint_of_one
    path = tmp_path / "last.dcp"
    for step in range(3):
        checkpoint.save(path, model, optimizer, {"iter": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["before.dcp", "last.dcp"]
    assert checkpoint.load(path, model, optimizer) == {"iter": 2}
    assert checkpoint.load(tmp_path / "before.dcp", model, optimizer) == {"iter": 1}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_at_any_moment_of_the_change_over_leaves_a_whole_checkpoint(
    tmp_path, monkeypatch, kind
):
    """The process is killed at each call that renames or removes something."""

    def write(path: Path, text: str) -> None:
        if kind == "folder":
            path.mkdir()
            path = path / "part"
        path.write_text(text)

    def is_whole(path: Path) -> bool:
        file = path / "part" if path.is_dir() else path
        return file.exists() and file.read_text() in ("old", "last", "new")

    for last_call in range(4):
        path = tmp_path / f"{kind}{last_call}" / "last"
        path.parent.mkdir()
        for text in ("old", "last"):
            write(checkpoint_files.unfinished(path), text)
            checkpoint_files.change_over(path)
        write(checkpoint_files.unfinished(path), "new")
        calls = []

        def killed(name, calls=calls, last_call=last_call):
            original = getattr(Path, name) if name == "rename" else checkpoint_files.remove

            def call(*args):
                if len(calls) == last_call:
                    raise KeyboardInterrupt
                calls.append(name)
                return original(*args)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killed("rename"))
            patch.setattr(checkpoint_files, "remove", killed("remove"))
            with contextlib.suppress(KeyboardInterrupt):
                checkpoint_files.change_over(path)
        assert len(calls) == min(last_call, 3)
        assert checkpoint_files.newest(path, is_whole) is not None


def test_a_checkpoint_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "last.dcp", []
    checkpoint_files.unfinished(path).mkdir()
    (checkpoint_files.unfinished(path) / "part").touch()
    fsync = os.fsync

    def note(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    checkpoint_files.change_over(path)
    assert [str(name) for name in synced] == ["last.dcp.new/part", "last.dcp.new", "."]
