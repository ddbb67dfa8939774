"""The main commands, where there is no network: nothing is fetched, sent, or looked up."""

import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Python asks this whenever it connects or looks up a name; processes of one machine talk by AF_UNIX, which is 1.
HOOK = """
import os, sys

def hook(event, args):
  named = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
  if named or event in ("socket.connect", "socket.sendto", "socket.sendmsg") and args[0].family != 1:
    with open(os.environ["ASKED"], "a") as file:
      file.write(f"{sys.argv} {event} {args[1:]}\\n")
    raise OSError(101, "Network is unreachable")

sys.addaudithook(hook)
"""
ASK = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9', timeout=5)"


def without_interfaces() -> list[str]:
  """What runs a command in a network of its own, which has no interface that is up; [] where that is not allowed."""
  words = ["unshare", "--map-root-user", "--net"]
  allowed = shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True, check=False)
  return words if allowed and allowed.returncode == 0 else []


@pytest.fixture
def cut(tmp_path):
  """`cut(*words, status=0)` runs a Python command in the repository without a network, and returns what was asked of
  it."""
  (tmp_path / "site").mkdir()
  (tmp_path / "site" / "sitecustomize.py").write_text(HOOK)
  env = os.environ | {
    "PYTHONPATH": str(tmp_path / "site"), "ASKED": str(tmp_path / "asked"), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"), "HOME": str(tmp_path / "home"),
  }
  (tmp_path / "home").mkdir()
  prefix = without_interfaces()

  def run(*words, status=0):
    done = subprocess.run([*prefix, sys.executable, *map(str, words)], cwd=ROOT, env=env, capture_output=True,
                          text=True, timeout=600, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    asked = tmp_path / "asked"
    return asked.read_text() if asked.exists() else ""

  return run


@pytest.mark.slow
def test_the_main_commands_ask_nothing_of_a_network(cut, tmp_path):
  for subject in range(16):
    for kind in ("gallery", "probe"):
      folder = tmp_path / "masks" / str(subject) / kind / "front"
      folder.mkdir(parents=True)
      for frame in range(6):
        mask = np.zeros((120, 160), np.uint8)
        mask[10 + subject : 110, 40 + frame : 70 + frame + 2 * subject] = 255
        cv2.imwrite(str(folder / f"{frame}.png"), mask)
  built, run, out = (tmp_path / name for name in ("built", "run", "results"))
  own = [f"--config.data_dir={built}", "--config.dataset=own", "--config.bootstrap=0", f"--out={out}"]
  commands = [
    ("-m", "data_prep.build", "own", "--raw", tmp_path / "masks", "--out", built, "--train-subjects", "0.5"),
    ("-m", "data_prep.verify", built / "own"),
    ("run_pretrain.py", "--config=configs/pretrain.py:test", f"--workdir={run}", f"--config.data.dir={built}",
     "--config.data.sets=own", "--config.train.steps=2", "--config.data.workers=1"),
    ("run_eval.py", "--config=configs/embed.py:own", f"--config.checkpoint={run}", *own),
    ("run_eval.py", "--config=configs/zero_shot.py", f"--config.checkpoint={run}", "--config.protocol=own",
     "--config.controls=False", "--config.baselines=False", *own),
    ("run_eval.py", "--config=configs/score.py", f"--config.embeddings={out}/embeddings.npz", "--config.protocol=own",
     *own),
    ("run_eval.py", "--config=configs/identify.py", f"--config.gallery={out}/embeddings.npz",
     f"--config.probes={out}/embeddings.npz", f"--out={out}"),
    ("run_eval.py", f"--report={out}", f"--out={tmp_path}/report.html"),
    ("-c", "import fgait_jax; fgait_jax.load('walkers-tiny')"),
  ]
  for words in commands:
    assert cut(*words) == "", words
  assert (tmp_path / "report.html").stat().st_size > 0
  assert "socket.getaddrinfo" in cut("-c", ASK, status=1)  # what would have been seen
