"""The hub's own client against a stand-in on the loopback: what is sent comes back, and what is wrong is said."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import shutil
import threading
import urllib.parse

import numpy as np
import pytest

import fgait_jax
from fgait_jax.errors import CheckpointError
from fgait_jax.evaluation.results import parsed
from fgait_jax.interop import hub, publish
from fgait_jax.training import weights
from tests.interop.conftest import result_of

pytest.importorskip("huggingface_hub")
COMMIT = "c" * 40


class Hub(http.server.BaseHTTPRequestHandler):
  """As much of the hub as the client asks of it. `repositories` maps a name to files, `stored` a hash to content."""

  protocol_version = "HTTP/1.1"
  repositories: dict[str, dict[str, bytes]]
  stored: dict[str, bytes]
  private: dict[str, bool]

  def log_message(self, *_):
    pass

  def answer(self, content=b"", status=200, **headers):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    self.send_response(status)
    for name, value in ({"Content-Length": len(content)} | headers).items():
      self.send_header(name.replace("_", "-"), str(value))
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(content)

  def entry(self, path, content):
    digest = hashlib.sha256(content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": digest[:40]}
    large = {"lfs": {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 100}}
    return entry | large if path.endswith(".safetensors") else entry

  def do_GET(self):
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
    name = next((name for name in self.repositories if f"/{name}/" in f"{path}/"), None)
    if name is None:
      return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
    files = self.repositories[name]
    if f"/{name}/resolve/" in path:
      content = files[path.rsplit("/", 1)[-1]]
      digest = f'"{hashlib.sha256(content).hexdigest()}"'
      return self.answer(content, ETag=digest, X_Repo_Commit=COMMIT, X_Linked_Size=len(content), X_Linked_Etag=digest)
    if "/tree/" in path:
      return self.answer([self.entry(*item) for item in files.items()])
    if "/revision/" in path and not path.endswith(("/main", COMMIT)):
      return self.answer({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
    return self.answer({"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]})

  do_HEAD = do_GET

  def do_PUT(self):
    content = self.rfile.read(int(self.headers["Content-Length"]))
    self.stored[self.path.rsplit("/", 1)[-1]] = content
    self.answer()

  def do_POST(self):
    body = self.rfile.read(int(self.headers["Content-Length"]))
    path, here = self.path.partition("?")[0], f"http://{self.headers['Host']}"
    if path == "/api/repos/create":
      asked = json.loads(body)
      name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
      self.repositories.setdefault(name, {})
      self.private[name] = asked.get("visibility") == "private"
      return self.answer({"url": f"{here}/{name}", "name": name})
    if path == "/api/validate-yaml":
      return self.answer({"errors": [], "warnings": []})
    name = re.search(r"/(?:api/models/)?(\w+/[\w.-]+?)(?:\.git)?/", path)[1]
    if "/preupload/" in path:
      modes = {file["path"]: "lfs" if file["path"].endswith(".safetensors") else "regular"
               for file in json.loads(body)["files"]}
      return self.answer({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False}
                                    for path, mode in modes.items()]})
    if path.endswith("/info/lfs/objects/batch"):
      upload = [{"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{here}/upload/{o['oid']}"}}}
                for o in json.loads(body)["objects"]]
      return self.answer({"transfer": "basic", "objects": upload})
    if "/paths-info/" in path:
      wanted = urllib.parse.parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
      return self.answer([self.entry(p, self.repositories[name][p]) for p in wanted])
    if "/commit/" in path:
      for line in map(json.loads, body.splitlines()):
        value = line["value"]
        if line["key"] == "lfsFile":
          self.repositories[name][value["path"]] = self.stored[value["oid"]]
        if line["key"] == "file":
          self.repositories[name][value["path"]] = base64.b64decode(value["content"])
      return self.answer({"commitUrl": f"{here}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})
    return self.answer({"error": f"nothing at {path}"}, 404)


@pytest.fixture
def server(monkeypatch, tmp_path):
  """A hub without repositories, and a client whose cache and token lie in the test's folder."""
  handler = type("Empty", (Hub,), {"repositories": {}, "stored": {}, "private": {}})
  with contextlib.closing(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as running:
    running.close = running.server_close
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_token_of_a_test")
    yield handler
    running.shutdown()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
  out = tmp_path_factory.mktemp("published") / "walks"
  publish.write(network, out, results=[parsed(result_of(network.identity), origin="made up")])
  (out / "modeling.py").write_text("raise SystemExit('code of a repository was run')")
  return out


def test_what_is_pushed_is_pulled_and_nothing_else(server, folder, network, tmp_path, capsys):
  assert hub.main(["push", str(folder), "ann/walks"]) == 0
  assert f"/ann/walks/commit/{COMMIT}" in capsys.readouterr().out
  assert server.repositories["ann/walks"].keys() == {"model.safetensors", "config.json", "README.md"}
  server.repositories["ann/walks"]["modeling.py"] = (folder / "modeling.py").read_bytes()
  assert hub.main(["pull", "ann/walks", "--out", str(tmp_path / "here")]) == 0
  found = {path.name for path in (tmp_path / "here").iterdir() if path.is_file()}
  assert found == {"model.safetensors", "config.json", "README.md"}
  for name in found:
    assert (tmp_path / "here" / name).read_bytes() == (folder / name).read_bytes()
  model = fgait_jax.load("ann/walks")
  assert model.network.identity == network.identity
  assert hub.main(["pull", "ann/walks", "--out", str(tmp_path / "later"), "--revision", "v9"]) == 1
  assert "ann/walks on the hub has no revision v9" in capsys.readouterr().err


def test_what_is_to_be_private_is(server, folder):
  assert hub.main(["push", str(folder), "ann/walks"]) == hub.main(["push", str(folder), "ann/own", "--private"]) == 0
  assert server.private == {"ann/walks": False, "ann/own": True}


def test_what_the_hub_holds_after_a_push_is_looked_at(server, folder, monkeypatch):
  entry = Hub.entry
  monkeypatch.setattr(server, "entry", lambda self, path, content: entry(self, path, content + b"x"))
  with pytest.raises(CheckpointError, match="ann/walks: model.safetensors on the hub has SHA-256 .*: push again"):
    hub.push(folder, "ann/walks")


def test_a_damaged_cache_is_fetched_again(server, folder, network, tmp_path):
  server.repositories["ann/walks"] = {path.name: path.read_bytes() for path in folder.iterdir()}
  held = (hub.pull("ann/walks") / weights.WEIGHTS).resolve()
  held.write_bytes(held.read_bytes()[:1000])
  assert fgait_jax.load("ann/walks").network.identity == network.identity
  held.write_bytes(b"")
  assert weights.check(hub.pull("ann/walks", out=tmp_path / "here"))["identity"] == network.identity


def test_a_file_that_is_not_what_its_configuration_says_is_refused(server, folder):
  files = {path.name: path.read_bytes() for path in folder.iterdir()}
  changed = bytearray(files["model.safetensors"])
  changed[-1] ^= 1
  server.repositories["ann/changed"] = files | {"model.safetensors": bytes(changed)}
  with pytest.raises(CheckpointError, match="model.safetensors .* has SHA-256"):
    fgait_jax.load("ann/changed")
  with pytest.raises(CheckpointError, match="model.safetensors .* has SHA-256"):
    hub.pull("ann/changed")  # which reads no network


def test_nothing_is_pulled_into_a_runs_folder(server, folder, ended, capsys):
  server.repositories["ann/walks"] = {path.name: path.read_bytes() for path in folder.iterdir()}
  assert hub.main(["pull", "ann/walks", "--out", str(ended)]) == 1
  assert f"--out={ended} is a run's folder" in capsys.readouterr().err
  assert not (ended / "model.safetensors").exists()


def test_names_that_are_not_there_are_said(server, folder):
  with pytest.raises(CheckpointError, match="ann/nothing: there is no such folder, and no such repository on the hub"):
    fgait_jax.load("ann/nothing")
  server.repositories["ann/walks"] = {path.name: path.read_bytes() for path in folder.iterdir()}
  with pytest.raises(CheckpointError, match="ann/walks on the hub has no revision v9"):
    hub.pull("ann/walks", revision="v9")
  server.repositories["ann/bert"] = {"config.json": b'{"architectures": ["Bert"]}', "pytorch_model.bin": b"\x80"}
  with pytest.raises(CheckpointError, match="config.json is not of weights of fgait_jax"):
    hub.pull("ann/bert")
  with pytest.raises(CheckpointError, match="'walks' is no name of a repository; expected OWNER/NAME"):
    hub.push(folder, "walks")


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch, tmp_path):
  monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
  with pytest.raises(CheckpointError, match="ann/walks: there is no such folder, and it cannot be fetched"):
    hub.pull("ann/walks")


def test_a_card_without_figures_and_damaged_weights_are_not_sent(server, folder, tmp_path):
  copy = tmp_path / "copy"
  shutil.copytree(folder, copy)
  identity = weights.about(copy)["identity"]
  (copy / "README.md").write_text(f"# walks\n\n{identity}.\n\n## Figures\n\nNone are recorded yet.\n")
  with pytest.raises(CheckpointError, match="copy/README.md has no table of figures"):
    hub.push(copy, "ann/walks")
  (copy / "README.md").write_text(f"# others\n\n{identity}-fitted\n\n## Figures\n\n| a |\n|---|\n| 1 |\n")
  with pytest.raises(CheckpointError, match=f"copy/README.md is not of these weights: it does not name {identity}; "):
    hub.push(copy, "ann/walks")
  (copy / "README.md").write_bytes(b"\xff\xfe")
  with pytest.raises(CheckpointError, match="copy/README.md cannot be read as UTF-8"):
    hub.push(copy, "ann/walks")
  (copy / weights.WEIGHTS).write_bytes(np.zeros(10, np.uint8).tobytes())
  with pytest.raises(CheckpointError, match="has SHA-256"):
    hub.push(copy, "ann/walks")
  assert not server.repositories
