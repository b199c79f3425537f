"""Fixtures shared by all tests."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# pytest-xdist runs two processes; threads on top of them only get in each other's way. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NGLDM_WARM", "0")  # the environment differs from test to test: each would start a warm process

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
# Tests send these signals to programs that they start. `nohup` and a shell's `&` would let those programs ignore them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# diffusers copies the code of a pipeline's folder there before it runs it. Before diffusers is imported.
MODULES = tempfile.TemporaryDirectory()
os.environ["HF_MODULES_CACHE"] = MODULES.name
LONG = ("test_dvc.py", "test_fid.py", "test_benchmarks.py", "test_comparison.py", "test_browser.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that none of two processes waits at the end for the other to finish one."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def forget_the_store() -> None:
    """Let MLflow know no store: neither the one in the environment nor the one that the process was told."""
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


def pytest_configure() -> None:
    forget_the_store()  # no test writes into the store of the person who runs the tests


@pytest.fixture(autouse=True)
def no_store_of_another_test() -> Iterator[None]:
    """A test, and the fixtures of its module, start without an MLflow store, whatever ran before in this process.

    `mlflow.set_tracking_uri` also sets the environment variable, which ngldm reads. monkeypatch does not put that back,
    for it knows only what it has changed itself. A later test would look for its runs in the store of an earlier one.
    """
    forget_the_store()
    yield
    forget_the_store()


@pytest.fixture
def ngldm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`ngldm <arguments>`, run in this process, which has its imports already: exit code, stdout, stderr."""
    from ngldm.pipeline.cli.main import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ngldm", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture
def other_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Torch has four threads, and a look at the cores has found as many free as this says."""
    import torch

    from ngldm.io import threads

    before, free = torch.get_num_threads(), 2
    for variable in threads.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(threads, "EVERY", float("inf"))  # no other look
    monkeypatch.setattr(threads.Threads, "last", threads.Look(threads.Clocks.read(), free, free))
    torch.set_num_threads(4)
    yield free
    torch.set_num_threads(before)


@pytest.fixture
def content() -> dict[str, Any]:
    """The tracked params.yaml as nested dictionaries, free to be changed by a test."""
    loaded: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
    return loaded


@pytest.fixture
def make_model() -> Callable[..., Any]:
    """`make_model(noise, autoencoder)`: an untrained model, no layer of which is zero, so that every weight shows."""
    import torch
    from torch import nn

    from ngldm.data.cache.statistics import LatentStatistics
    from ngldm.model import Model

    autoencoders = {
        "identity": ({"kind": "identity"}, [1, 7, 5]),
        "kl": ({"kind": "kl", "latent_channels": 2, "levels": 1, "width": 8, "kl_weight": 1e-6}, [3, 8, 6]),
        "paper": ({"kind": "paper", "latent_channels": 2, "latent_size": 4, "width": 8}, [1, 6, 6]),
    }

    def make(
        noise: str = "laplace", kind: str = "kl", params: dict[str, float] | None = None, head: str = "element"
    ) -> Model:
        autoencoder, image_shape = autoencoders[kind]
        config = {
            "noise": {"name": noise, "params": params or {}},
            "schedule": {"name": "cosine", "num_train_timesteps": 30, "beta_start": 1e-4, "beta_end": 0.02},
            "diffusion": {"objective": "eps", "weighting": "none", "gamma": None, "stein_head": head},
            "unet": {
                "widths": [8, 8],
                "blocks_per_level": 1,
                "attention_levels": [1],
                "attention_head_dim": 4,
                "time_embedding": "sinusoidal",
                "dropout": 0.2,
            },
            "autoencoder": autoencoder,
            "image_shape": image_shape,
            "dataset": "none",
        }
        torch.manual_seed(0)
        model = Model.build(config)
        for parameter in model.network.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
        model.network.eval()
        model.autoencoder.eval()
        channels = model.autoencoder.latent_shape[0]
        statistics = LatentStatistics(torch.linspace(-0.2, 0.3, channels), torch.linspace(0.4, 0.5, channels))
        return replace(model, statistics=statistics)

    return make


@pytest.fixture
def dinov2_state() -> Callable[..., dict[str, Any]]:
    """`dinov2_state(patches)`: random weights of a small DINOv2, as its authors save them, for patches^2 positions."""
    import torch

    dim, depth = 128, 2

    def make(patches: int = 16) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, dim), "pos_embed": (1, 1 + patches**2, dim)}
        shapes |= {"mask_token": (1, dim), "patch_embed.proj.weight": (dim, 3, 14, 14), "patch_embed.proj.bias": (dim,)}
        for i in range(depth):
            block = {"norm1": (dim,), "attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "norm2": (dim,)}
            block |= {"mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
            for name, shape in block.items():
                shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
            shapes |= {f"blocks.{i}.ls1.gamma": (dim,), f"blocks.{i}.ls2.gamma": (dim,)}
        shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
        return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    return make


class Server:
    """Files by name; what was asked for; how many bytes short an answer is."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.short = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, body: bool) -> None:
                name = self.path.lstrip("/")
                if name not in outer.files:
                    self.send_error(404)
                    return
                content = outer.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    outer.asked.append(name)
                    self.wfile.write(content[: len(content) - outer.short])

            def do_GET(self) -> None:
                self.answer(True)

            def do_HEAD(self) -> None:
                self.answer(False)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server of this machine, for the tests of downloads."""
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def together(tmp_path: Path) -> Callable[..., list[subprocess.CompletedProcess[str]]]:
    """`together(code, count, ...)`: run Python code in processes that know of each other, as torchrun tells them.

    Each has a folder of its own, `tmp_path/<rank>`, made if there is none.
    """

    def run(
        code: str, count: int = 2, started: int | None = None, arguments: tuple[str, ...] = (), **variables: str
    ) -> list[subprocess.CompletedProcess[str]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        script = tmp_path / "together.py"
        script.write_text(code)
        running = []
        for rank in range(count if started is None else started):
            (tmp_path / str(rank)).mkdir(exist_ok=True)
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1"}
            known = {key: str(value) for key, value in {**place, "MASTER_PORT": port}.items()}
            environment = {**os.environ, "PYTHONPATH": str(ROOT), **known, **variables}
            call = {"env": environment, "cwd": tmp_path / str(rank), "text": True}
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            running.append(subprocess.Popen([sys.executable, str(script), *arguments], **call, **pipes))
        done = []
        for process in running:
            out, err = process.communicate(timeout=150)
            done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        return done

    return run


class Shards:
    """Shards of small grey images in a folder. Image `number` is always the same, its class is the number modulo 3."""

    side = 8

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pixels(self, number: int) -> Any:
        """(8, 8, 1) uint8."""
        import numpy as np

        return np.random.default_rng(number).integers(0, 256, (self.side, self.side, 1), dtype=np.uint8)

    def png(self, number: int) -> bytes:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(self.pixels(number)[..., 0]).save(file, "PNG")
        return file.getvalue()

    def tar(self, files: dict[str, bytes], mode: str = "w") -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return file.getvalue()

    def samples(self, first: int, count: int) -> dict[str, bytes]:
        """Files of `count` images, from the number `first`: image and class, as WebDataset names them."""
        numbers = range(first, first + count)
        return {
            f"{number:06d}.{suffix}": content
            for number in numbers
            for suffix, content in (("png", self.png(number)), ("cls", str(number % 3).encode()))
        }

    def write(self, *counts: int, stem: str = "train", first: int = 0) -> Path:
        """Tar files <stem>-000.tar, ... with so many images each, numbered on; returns the folder."""
        self.folder.mkdir(exist_ok=True)
        for number, count in enumerate(counts):
            (self.folder / f"{stem}-{number:03d}.tar").write_bytes(self.tar(self.samples(first, count)))
            first += count
        return self.folder

    def options(self, **changed: object) -> dict[str, object]:
        """Of the data set `webdataset`, without keeping pixels."""
        usual = {"name": "webdataset", "source": str(self.folder), "shards": "train-{000..002}.tar", "seed": 0}
        form = {"image": "png", "label": "cls", "size": self.side, "channels": 1, "min_side": 4, "on_error": "fail"}
        return {**usual, **form, "test_size": 6, "keep_pixels": False, "keep_images": 10, **changed}


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return Shards(tmp_path / "shards")


@pytest.fixture(scope="session")
def make_shards() -> type[Shards]:
    """For fixtures of a module."""
    return Shards


SMOKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.params import load_params
compose_params(Path("params.yaml"), ["recipe=smoke", "noises=[gaussian,laplace]"])
from stages import autoencoder, curve, download, evaluate, latents, reference, report, sample, study, theory, train
params = load_params()
download.download()
for stage in (autoencoder.autoencoder, latents.latents, reference.reference):
    stage("cpu")
for noise in params.noises:
    train.train(noise, "cpu")
    for sampler in params.samplers:
        sample.sample(noise, sampler, "cpu")
    evaluate.evaluate(noise, "cpu")
curve.curve("cpu")
study.study("cpu")
theory.theory()
report.report()
"""


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which recipe `smoke` has run with two noises, MLflow's store included. Shared: do not change it.

    Made once for all of pytest-xdist's processes, without DVC: half a minute, most of it imports.
    """
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder = shared / "smoke"
    with FileLock(shared / "smoke.lock"):
        if not (folder / "reports").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(ROOT / "conf", folder / "conf")
            for name in ("dvc.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
            call = {"cwd": folder, "check": True}
            identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
            for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
                subprocess.run(["git", *command], **call)
            done = subprocess.run([sys.executable, "-c", SMOKE, str(ROOT)], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            (shared / "smoke.log").write_text(done.stdout)
    return folder


@pytest.fixture
def copied(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`copied("data", "params.yaml")`: a folder with these folders and files of `smoke`. It becomes the current one."""

    def copy(*names: str) -> Path:
        for name in names:
            (shutil.copytree if (smoke / name).is_dir() else shutil.copy)(smoke / name, tmp_path / name)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return copy


@pytest.fixture
def workspace(copied: Callable[..., Path]) -> Path:
    """Recipe smoke with the files that its trainings share, its models and conf/."""
    return copied("data", "models", "conf", "mlflow.db", "params.yaml")


@pytest.fixture(scope="session")
def write_model() -> Callable[..., Path]:
    """Write a small model file, of images 8x8 grey if no shape is named, and give its path.

    `spread` is added to its weights as noise: a fresh network's last layer is 0, which makes all images one grey.
    """
    import torch

    from ngldm.model import Model
    from ngldm.networks.autoencoders.build import build_autoencoder

    def make(
        path: Path,
        noise: str = "laplace",
        objective: str = "eps",
        shape: tuple[int, int, int] = (1, 8, 8),
        spread: float = 0.0,
        **more: object,
    ) -> Path:
        config = {
            "noise": {"name": noise, "params": {}},
            "diffusion": {"forward": "marginal", "objective": objective, "weighting": "none", "gamma": None},
            "schedule": {"name": "linear", "num_train_timesteps": 20, "beta_start": 1e-4, "beta_end": 0.02},
            "unet": {"widths": [8], "blocks_per_level": 1, "attention_levels": [], "attention_head_dim": 8},
            "autoencoder": {"kind": "identity"},
            "image_shape": shape,
            "dataset": "digits",
            **more,
        }
        torch.manual_seed(0)
        model = Model.build(config, build_autoencoder({"kind": "identity"}, shape))
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.add_(spread * torch.randn(parameter.shape))
        model.save(path)
        return path

    return make
