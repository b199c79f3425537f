"""The exported folder, and its way to a hub, for which a fake stands."""

import numpy as np
import pytest
from huggingface_hub.errors import LocalTokenNotFoundError

from ngldm.interop.diffusers import Pipeline, export
from ngldm.io.errors import InputError
from ngldm.sampling.generator import Generator


def test_the_folder_is_whole(make_model, tmp_path):
    model = make_model("laplace").to("cpu")
    export.export(model, tmp_path / "made", "digits", {"auto": {"fd": 1.0}}, "cc0-1.0")
    assert "license: cc0-1.0" in (tmp_path / "made" / "README.md").read_text()
    assert {path.suffix for path in (tmp_path / "made").rglob("*") if path.is_file()} == {
        *(".json", ".md", ".py", ".safetensors")
    }
    pipeline = Pipeline.from_pretrained(tmp_path / "made")
    pipeline.set_progress_bar_config(disable=True)
    made = np.stack([np.asarray(image) for image in pipeline(3, seed=5).images])
    assert np.array_equal(made, Generator(model).sample(3, seed=5, batch_size=3))


def test_a_folder_with_files_is_left_alone(make_model, tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        export.export(make_model("laplace"), tmp_path, "digits")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


class FakeHub:
    """Takes what `huggingface_hub.HfApi` is asked for."""

    asked: list = []  # noqa: RUF012
    fault: Exception | None = None

    def create_repo(self, repo_id, exist_ok):
        if self.fault:
            raise self.fault
        self.asked.append(("create", repo_id, exist_ok))
        return f"hub/{repo_id}"

    def upload_folder(self, repo_id, folder_path):
        self.asked.append(("upload", repo_id, sorted(path.name for path in folder_path.iterdir())))


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(FakeHub, "asked", [])
    monkeypatch.setattr(export, "HfApi", FakeHub)
    return FakeHub


def test_a_push_makes_the_repository_and_uploads_the_folder(hub, tmp_path):
    (tmp_path / "README.md").touch()
    assert export.push(tmp_path, "me/digits") == "hub/me/digits"
    assert hub.asked == [("create", "me/digits", True), ("upload", "me/digits", ["README.md"])]


@pytest.mark.parametrize("fault", [LocalTokenNotFoundError("no token"), OSError("no network")])
def test_a_push_that_fails_says_so(hub, fault, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "fault", fault)
    with pytest.raises(InputError, match="me/digits: cannot be written on the hub"):
        export.push(tmp_path, "me/digits")
