"""Folders of weights on the Hugging Face hub, by its own client: fetched and sent as they are (training/weights.py).

  python -m fgait_jax.interop.hub pull OWNER/NAME --out FOLDER [--revision REVISION]
  python -m fgait_jax.interop.hub push FOLDER OWNER/NAME [--private]

Needs `pip install huggingface_hub`. Of a repository only the three files of such a folder are fetched, their SHA-256 is
checked, and nothing in them is run. HF_ENDPOINT names another hub, and a token is what `hf auth login` left.
"""

import argparse
import os
import pathlib
import re
import sys

from fgait_jax.errors import CheckpointError, FgaitError, first_line
from fgait_jax.interop import card, publish
from fgait_jax.paths import local_path
from fgait_jax.training import weights

NAME = r"\w[\w.-]*/\w[\w.-]*"  # of a repository
_FILES = [weights.WEIGHTS, weights.ABOUT, weights.CARD]


def pull(name: str, *, out: pathlib.Path | None = None, revision: str | None = None) -> pathlib.Path:
  """The folder of the weights `name`, "owner/name", fetched unless it lies here already: into `out`, or the client's
  cache. Raises `CheckpointError` where there is none, it cannot be fetched, or is not what its config.json says."""
  folder = _fetched(name, out, revision)
  try:
    weights.check(folder)
  except CheckpointError:  # a file of the cache may be damaged, and is not fetched again unasked
    weights.check(folder := _fetched(name, out, revision, anew=True))
  return folder


def _fetched(name: str, out: pathlib.Path | None, revision: str | None, *, anew: bool = False) -> pathlib.Path:
  client, errors = _client(f"there is no folder {name}, and to look for it on the hub")
  try:
    folder = client.snapshot_download(name, revision=revision, local_dir=out, allow_patterns=_FILES,
                                      force_download=anew)
  except errors.RepositoryNotFoundError as error:
    raise CheckpointError(f"{name}: there is no such folder, and no such repository on the hub (or it is private: hf"
                          " auth login)") from error
  except errors.RevisionNotFoundError as error:
    raise CheckpointError(f"{name} on the hub has no revision {revision}") from error
  except Exception as error:  # no network, a full disk, an answer that is none; the client passes all of them on
    reason = first_line(error)
    raise CheckpointError(f"{name}: there is no such folder, and it cannot be fetched from the hub ({reason})"
                          ) from error
  return pathlib.Path(folder)


def push(folder: pathlib.Path, name: str, *, private: bool = False) -> str:
  """Sends a folder of weights to the repository `name`, made where there is none; returns the address of the commit.

  Raises `CheckpointError` where the folder is damaged, its card holds no figures or is of other weights, where the hub
  refuses, or holds something else afterwards.
  """
  if not re.fullmatch(NAME, name):
    raise CheckpointError(f"{name!r} is no name of a repository; expected OWNER/NAME")
  about = weights.check(folder)
  digest, identity = about["sha256"], about["identity"]
  try:
    text = (folder / weights.CARD).read_text(encoding="utf-8") if (folder / weights.CARD).is_file() else ""
  except (OSError, ValueError) as error:
    raise CheckpointError(f"{folder / weights.CARD} cannot be read as UTF-8 ({error})") from error
  if text and not re.search(rf"(?<![\w.-]){re.escape(identity)}(?![\w-])", text):
    raise CheckpointError(f"{folder / weights.CARD} is not of these weights: it does not name {identity}; python -m"
                          " fgait_jax.interop.publish writes their card")
  if not card.has_figures(text):
    raise CheckpointError(f"{folder / weights.CARD} has no table of figures, which tell others what the weights are"
                          " worth; evaluate them, and python -m fgait_jax.interop.publish writes the card")
  client, _ = _client("to push")
  try:
    client.create_repo(name, private=private, exist_ok=True)
    commit = client.upload_folder(repo_id=name, folder_path=folder, allow_patterns=_FILES,
                                  commit_message="Publish weights of fgait_jax")
    sent, = client.get_paths_info(name, weights.WEIGHTS)
  except Exception as error:  # of network, rights or the client
    raise CheckpointError(f"{name}: the hub refuses ({first_line(error)})") from error
  if (there := sent.lfs.sha256 if sent.lfs else None) != digest:
    raise CheckpointError(f"{name}: {weights.WEIGHTS} on the hub has SHA-256 {there}, {folder} has {digest}: push"
                          " again")
  return commit.commit_url


def _client(why: str):
  """(the hub's client, its module of errors)."""
  try:
    import huggingface_hub
    from huggingface_hub import errors
  except ImportError as error:
    raise CheckpointError(f"{why}, huggingface_hub is needed: pip install huggingface_hub") from error
  return huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="fgait_jax"), errors


def main(arguments: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m fgait_jax.interop.hub", description=__doc__.split("\n\n")[0])
  commands = parser.add_subparsers(dest="command", required=True)
  fetch = commands.add_parser("pull", help="fetch weights into a folder")
  fetch.add_argument("name", help="OWNER/NAME")
  fetch.add_argument("--out", required=True, help="folder that receives the files")
  fetch.add_argument("--revision", help="branch, tag or commit (default: main)")
  send = commands.add_parser("push", help="send a folder of weights")
  send.add_argument("folder")
  send.add_argument("name", help="OWNER/NAME")
  send.add_argument("--private", action="store_true", help="where the repository is new, for its owner alone")
  options = parser.parse_args(arguments)
  try:
    if options.command == "pull":
      publish.refuse_others(out := local_path(options.out, "--out"), None)
      print(pull(options.name, out=out, revision=options.revision))
    else:
      print(push(local_path(options.folder, "the folder"), options.name, private=options.private))
  except FgaitError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
