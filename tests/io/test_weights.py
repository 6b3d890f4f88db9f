import hashlib
import http.server
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seriatim.errors import ConfigError, ModelError
from seriatim.io import weights
from seriatim.io.weights import load_weights

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3).half(), "norm.num_batches_tracked": torch.tensor(3)}


class Server:
    """A loopback web server that gives the files of one folder and remembers what was asked."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, directory=str(folder), **kwargs)

            def do_GET(self):
                outer.asked.append(self.path)
                super().do_GET()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """One published file ``models/tiny-<hash>.pth`` in a folder; returns (folder, file)."""
    folder = tmp_path / "mirror"
    (folder / "models").mkdir(parents=True)
    draft = folder / "draft"
    torch.save(STATE, draft)
    path = draft.rename(folder / "models" / f"tiny-{hashlib.sha256(draft.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setattr(weights, "_published_url", lambda name: f"https://nowhere.invalid/models/{path.name}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SERIATIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SERIATIM_OFFLINE", raising=False)
    return folder, path


@pytest.fixture
def server(published, monkeypatch):
    server = Server(published[0])
    monkeypatch.setenv("SERIATIM_WEIGHTS_MIRROR", server.url)
    yield server
    server.server.shutdown()
    server.server.server_close()


def check(found: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(STATE)
    assert found["conv.weight"].dtype == torch.float32
    assert torch.equal(found["conv.weight"], STATE["conv.weight"].float())
    assert found["norm.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize(
    "content",
    [STATE, {"state_dict": STATE, "epoch": 3}, {"model": {f"module.{k}": v for k, v in STATE.items()}}],
    ids=["plain", "wrapped", "parallel"],
)
def test_a_file_gives_its_state_dict_in_float32(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    check(load_weights(str(tmp_path / "w.pth"), name="any"))


def test_safetensors_give_the_same(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    check(load_weights(str(tmp_path / "w.safetensors"), name="any"))


class Trap:
    def __reduce__(self):
        return (print, ("code of a weights file ran",))


@pytest.mark.parametrize("content", [Trap(), {"a": Trap()}])
def test_a_pickle_with_code_is_refused_and_never_run(tmp_path, content, capsys):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="more than tensors"):
        load_weights(str(tmp_path / "w.pth"), name="any")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 50, b"PK\x03\x04" + bytes(200)])
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        load_weights(str(tmp_path / name), name="any")


def test_what_is_no_state_dict_is_refused(tmp_path):
    torch.save({"lr": 0.1}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"'lr'.*no tensor"):
        load_weights(str(tmp_path / "w.pth"), name="any")
    torch.save([torch.ones(2)], tmp_path / "w.pth")
    with pytest.raises(ModelError, match="no state dict"):
        load_weights(str(tmp_path / "w.pth"), name="any")
    (tmp_path / "w.ckpt").touch()
    with pytest.raises(ModelError, match="by its name"):
        load_weights(str(tmp_path / "w.ckpt"), name="any")
    with pytest.raises(ModelError, match="does not exist"):
        load_weights(str(tmp_path / "nothing.pth"), name="any")


def test_imagenet_weights_are_fetched_once(server, published, tmp_path):
    check(load_weights("imagenet", name="tiny"))
    check(load_weights("imagenet", name="tiny"))
    assert server.asked == [f"/models/{published[1].name}"]
    assert [path.name for path in (tmp_path / "cache/weights").iterdir()] == [published[1].name]


def test_a_wrong_hash_is_refused_and_leaves_nothing(server, published, tmp_path):
    published[1].write_bytes(published[1].read_bytes()[:-1])
    with pytest.raises(ModelError, match="another sha256"):
        load_weights("imagenet", name="tiny")
    assert list((tmp_path / "cache/weights").iterdir()) == []


def test_a_missing_file_on_the_mirror_is_told_with_the_repair(server, published, tmp_path):
    published[1].unlink()
    with pytest.raises(ModelError, match=r"404.*Put the file at .*weights"):
        load_weights("imagenet", name="tiny")
    assert list((tmp_path / "cache/weights").iterdir()) == []


def test_a_damaged_cache_is_noticed(server, published, tmp_path):
    load_weights("imagenet", name="tiny")
    (tmp_path / "cache/weights" / published[1].name).write_bytes(b"half")
    with pytest.raises(ModelError, match="Delete it"):
        load_weights("imagenet", name="tiny")


def test_offline_never_asks_but_reads_what_is_there(server, published, monkeypatch):
    monkeypatch.setenv("SERIATIM_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"forbids.*Put the file at .*or give weights as a path"):
        load_weights("imagenet", name="tiny")
    assert server.asked == []
    monkeypatch.setenv("SERIATIM_WEIGHTS_MIRROR", str(published[0]))
    check(load_weights("imagenet", name="tiny"))
    assert server.asked == []


def test_a_folder_serves_as_mirror_with_or_without_the_publishers_path(published, monkeypatch, tmp_path):
    folder, path = published
    monkeypatch.setenv("SERIATIM_WEIGHTS_MIRROR", str(folder))
    check(load_weights("imagenet", name="tiny", cache=tmp_path / "one"))
    path.rename(folder / path.name)
    check(load_weights("imagenet", name="tiny", cache=tmp_path / "two"))
    monkeypatch.setenv("SERIATIM_WEIGHTS_MIRROR", "file:///etc")
    with pytest.raises(ModelError, match="no http address"):
        load_weights("imagenet", name="tiny", cache=tmp_path / "three")


def test_an_unwritable_cache_is_an_error_with_the_repair(published, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(ModelError, match=r"cannot be fetched.*Put the file at"):
        load_weights("imagenet", name="tiny")


def test_every_torchvision_network_has_a_checkable_address():
    from seriatim.compat import import_torchvision

    models = import_torchvision().models
    for name in models.list_models(module=models):
        assert weights.HASH_IN_NAME.search(weights._published_url(name)), name
    with pytest.raises(ConfigError, match="mobilenet_v2"):
        load_weights("imagenet", name="mobilenetv2")
