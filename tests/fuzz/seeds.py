"""Small good files of every kind that a reader reads: what fuzzing begins with."""

import functools
import gzip
import io
import json
import pathlib
import pickle
import tarfile
import tempfile
import zipfile

import cv2
import numpy as np
import safetensors.numpy

from fgait_jax.data import schema
from fgait_jax.evaluation import results
from fgait_jax.evaluation.report import strips as played
from fgait_jax.training import weights as published

FRAMES = np.zeros((2, 64, 64), np.uint8)
FRAMES[:, 4:60, 25:40] = 255


def pickles() -> list[bytes]:
  small = [np.zeros((1, 1, 2), np.uint8), np.asfortranarray(np.zeros((2, 3), ">i4"))]  # mostly instructions
  return [pickle.dumps(array, protocol) for protocol in (2, 4, 5) for array in (FRAMES[:, :, 10:54], *small)]


def images() -> list[bytes]:
  colour = np.stack([FRAMES[0]] * 3, axis=-1)
  return [cv2.imencode(kind, image)[1].tobytes() for kind in (".png", ".jpg", ".bmp") for image in (FRAMES[0], colour)]


def zips() -> list[bytes]:
  made = []
  for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(file := io.BytesIO(), "w", method) as archive:
      for name in ("001/nm-01/000/1.png", "001/nm-01/000/2.png"):
        archive.writestr(name, name * 20)
    made.append(file.getvalue())
  return made


def tars() -> list[bytes]:
  made = []
  for layout in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w", format=layout) as archive:
      for name in ("001/nm-01/000/1.png", "ü" * 120, "001/link"):
        info = tarfile.TarInfo(name)
        info.size = 600
        if name == "001/link":
          info.size, info.type, info.linkname = 0, tarfile.LNKTYPE, "001/nm-01/000/1.png"
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    made.append(file.getvalue()[:8192])
  return made


def packed_tars() -> list[bytes]:
  return [gzip.compress(content, mtime=0) for content in tars()]


ASF = b""":units
  length 0.0254
  angle deg
:root
  order TX TY TZ RX RY RZ
  orientation 0 0 0
:bonedata
  begin
    name thigh
    direction 0 -1 0
    length 2
    axis 0 0 0 XYZ
    dof rx ry rz
  end
  begin
    name shin
    direction 0 -1 0
    length 1
    axis 0 0 0 XYZ
    dof rx
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""


AMC = b""":FULLY-SPECIFIED
:DEGREES
1
root 0 3 0 0 0 0
thigh 0 0 0
shin 0
2
root 0 3 0 0 0 90
thigh 90 0 0
shin 90
"""


def bvh() -> bytes:
  """A body that walks: the file that is rendered whole, if the fuzzer leaves it so."""
  offsets = {"head": (0, 70, 0)}
  for side, place in (("left", 10), ("right", -10)):
    offsets |= {f"{side}upleg": (0, 0, place), f"{side}leg": (0, -45, place), f"{side}foot": (0, -85, place),
                f"{side}toe": (15, -90, place), f"{side}arm": (0, 45, 2 * place), f"{side}forearm": (0, 15, 2 * place),
                f"{side}hand": (0, -10, 2 * place)}  # fmt: skip
  parts = "".join(f"JOINT {name} {{ OFFSET {x} {y} {z} }}\n" for name, (x, y, z) in offsets.items())
  channels = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
  moves = "".join(f"{100 * i} 90 0 0 0 0\n" for i in range(4))
  head = f"HIERARCHY\nROOT hips {{ OFFSET 0 0 0 {channels}\n{parts}}}\n"
  return f"{head}MOTION\nFrames: 4\nFrame Time: 0.04\n{moves}".encode()


def embeddings() -> list[bytes]:
  made = []
  for save in (np.savez, np.savez_compressed):
    save(file := io.BytesIO(), embeddings=np.eye(2, dtype=np.float32)[..., None], labels=np.array(["a", "b"]),
         types=np.array(["nm", "nm"]), views=np.array(["0", "1"]), identity=np.array("{}"))  # fmt: skip
    made.append(file.getvalue())
  return made


MANIFEST = {
  "name": "kth", "builder_version": schema.BUILDER_VERSION, "kind": "real", "content_hash": "a",
  "source_fingerprint": "b", "splits": {"train": {"sequences": 1, "subjects": 1, "frames": 1}},
  "shards": {"kth-train.array_record-00000-of-00001": {"split": "train", "sequences": 1, "bytes": 1, "sha256": "c"}},
  "indices": {"b": {"bytes": 1, "sha256": "c"}}, "metadata": {"c": {"bytes": 1, "sha256": "c"}},
}  # fmt: skip


def packed() -> list[bytes]:
  return [np.array([2, 64, width, 1], "<i4").tobytes() + schema.pack_frames(FRAMES[:, :, :width, None]).tobytes()
          for width in schema.WIDTHS]  # fmt: skip


@functools.cache
def results_of_a_run() -> list[bytes]:
  data = results.Data(name="walkers", split="test", kind="synthetic", walks=2, subjects=1, content_hash="d")
  values = {"rank1": 12.5, "map": 3.0, "ci": {"rank1": (12, 13)},
            "confusion": {"classes": ["a", "b"], "true_by_predicted": [[1, 0], [0, 1]]}}  # fmt: skip
  row = results.Row(
    name="model", title="tiny", figures=results.figures_of({"nm": values}), cmc={"nm": [12.5, 20.0]},
    per_view={"nm": results.ViewByView(probe_views=["0"], gallery_views=["1"], rank1=[[1.0]])},
    robustness={"hole": [1.0]},
  )  # fmt: skip
  found = results.Result(
    task="zero_shot", title="Zero-shot", data=data, notes=["one"], pretraining=results.Pretraining(steps=3),
    conditions=[results.Condition(name="nm", title="NM")], severities=[1], rows=[row], pictures=["a.png"],
    columns=[results.Column(key="rank1", title="rank-1 (%)")], config={"seed": 0},
    matches=[results.Match(probe="a", label="b", type="c", view="d", answer="e",
                           candidates=[results.Candidate(subject="a", distance=1.0)])],
  )  # fmt: skip
  with tempfile.TemporaryDirectory() as folder:
    return [results.write(pathlib.Path(folder) / "x.json", found).read_bytes()]


def strips() -> list[bytes]:
  walk = played.sheet(FRAMES[..., None]) | {"text": "a"}
  whole = {"format": 1, "kind": played.KIND, "title": "t", "frames_per_second": 20, "height": 64, "width": 44}
  return [json.dumps(whole | {"probes": [walk | {"neighbours": [walk | {"distance": 1, "right": True}]}]}).encode()]


def weights() -> list[bytes]:
  shapes = {"layer0.forward_block.0.weight": (4, 1, 1, 3, 3), "projector.3.fc_bin": (31, 4, 4)}
  shapes |= {f"layer{i}.0.conv1.forward_block.0.weight": (4, 4, 1, 3, 3) for i in (2, 3, 4)}
  state = {name: np.ones(shape, np.float16) for name, shape in shapes.items()}
  return [safetensors.numpy.save(state | {"layer1.count": np.array(3)})]


def torch_weights() -> list[bytes]:
  """State dicts as torch saves them, in its zip of today and as a bare pickle of before."""
  import torch

  shapes = {"layer0.forward_block.0.weight": (4, 1, 1, 3, 3), "projector.3.fc_bin": (31, 4, 4)}
  state = {"model": {name: torch.ones(shape, dtype=torch.float16) for name, shape in shapes.items()}}
  state["model"]["layer1.count"] = torch.tensor(3)
  made = []
  for zipped in (True, False):
    torch.save(state, file := io.BytesIO(), _use_new_zipfile_serialization=zipped)
    made.append(file.getvalue())
  return made


def about() -> list[bytes]:
  found = json.loads((published.PACKAGED / "walkers-tiny" / published.ABOUT).read_bytes())
  return [json.dumps(found | {"people": {"walkers": ["0001"]}}).encode()]


FACTS = b'{"video": "a.mp4", "decoded_frames": 30, "lost_frames": 0, "frame_rate": 25.0}'
