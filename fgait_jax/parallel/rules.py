"""Sharding rules: one table from a parameter's path to logical axes, one from logical axes to mesh axes.

Every parameter must match exactly one row, and every sharded axis must divide: anything else is an error, never a
silent replication. Parameters that are not sharded (biases, norms, positions, first and last layers) have rows too.
Rows are defined beside the modules whose parameters they name; `models/backbones.py` joins them.
Axes are named from the last one backwards, so that stacked layers, which have a leading axis, need no further row.
"""

import functools
import re

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fgait_jax.errors import ConfigError
from fgait_jax.parallel.mesh import replicated

LOGICAL = {
  "whole": None,  # never sharded
  "embed": "fsdp",  # features between blocks, and inputs of convolutions
  "heads": "tensor",  # attention heads, or heads and their features in one axis
  "hidden": "tensor",  # inner features of an MLP, and outputs of convolutions
}

# (pattern over the whole "/"-joined path, logical names of the last axes)
Table = tuple[tuple[str, tuple[str, ...]], ...]

VECTORS: Table = ((r"(.*/)?(bias|scale)", ()),)  # small vectors of any module


def under(prefix: str, rows: tuple) -> tuple:
  """The rows (pattern, ..) of a module for its parent, which holds it at a path that matches `prefix`."""
  return tuple((f"{prefix}/(?:{pattern})", *rest) for pattern, *rest in rows)


def path_name(path: tuple) -> str:
  """The "/"-joined name of a path of `jax.tree_util.tree_map_with_path`."""
  return "/".join(str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry)))) for entry in path)


def match(name: str, *, table: Table) -> tuple[str, ...]:
  """The logical axes of the parameter `name`; raises `ConfigError` unless exactly one row matches."""
  rows = [(pattern, axes) for pattern, axes in table if re.fullmatch(pattern, name)]
  if len(rows) != 1:
    found = "no row" if not rows else f"{len(rows)} rows ({', '.join(pattern for pattern, _ in rows)})"
    raise ConfigError(f"parameter {name} matches {found} of the sharding table; it must match exactly one")
  return rows[0][1]


def partition_spec(name: str, shape: tuple[int, ...], mesh: Mesh, *, table: Table) -> PartitionSpec:
  """The spec of parameter `name` on `mesh`; raises `ConfigError` for an axis that does not divide."""
  axes = match(name, table=table)
  if len(axes) > len(shape):
    raise ConfigError(f"parameter {name} of shape {shape} has fewer axes than its sharding row {axes}")
  if unknown := [axis for axis in axes if axis not in LOGICAL]:
    raise ConfigError(f"parameter {name}: unknown logical axes {unknown}; known: {sorted(LOGICAL)}")
  cuts = [None] * (len(shape) - len(axes)) + [LOGICAL[axis] for axis in axes]
  for size, cut in zip(shape, cuts, strict=True):
    if cut and size % mesh.shape[cut]:
      raise ConfigError(
        f"parameter {name} of shape {shape}: an axis of {size} does not divide over config.mesh.{cut}="
        f"{mesh.shape[cut]}; choose a config.mesh.{cut} that divides it"
      )
  cuts = [cut if cut and mesh.shape[cut] > 1 else None for cut in cuts]
  while cuts and cuts[-1] is None:
    cuts.pop()
  return PartitionSpec(*cuts)


def shardings(params, mesh: Mesh, *, table: Table):
  """A tree like `params` (arrays or shapes) of `NamedSharding`s."""
  def of(path, leaf):
    return NamedSharding(mesh, partition_spec(path_name(path), leaf.shape, mesh, table=table))

  return jax.tree_util.tree_map_with_path(of, params)


def unsharded(params, mesh: Mesh, *, table: Table):
  """The same parameters inside a jitted program, gathered over `fsdp` and still sharded over `tensor`.

  Computations use these. With parameters sharded over `fsdp`, over which the batch is sharded too, the compiler would
  gather the batch instead and split every product along its inputs: devices would exchange activations and not weights.
  Gradients with respect to `params` are sharded as those are: summed over devices and scattered in one.
  """
  def of(path, leaf):
    spec = partition_spec(path_name(path), leaf.shape, mesh, table=table)
    whole = PartitionSpec(*(None if cut == "fsdp" else cut for cut in spec))
    return _gathered(leaf, NamedSharding(mesh, whole), NamedSharding(mesh, spec))

  return jax.tree_util.tree_map_with_path(of, params)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered(leaf, whole: NamedSharding, cut: NamedSharding):
  """`leaf` gathered from `cut` to `whole`; its gradient is `cut`. That of a plain constraint is `whole`, too: every
  device would receive the sum of all gradients before it keeps its own part."""
  del cut
  return jax.lax.with_sharding_constraint(leaf, whole)


def _gathered_forward(leaf, whole, cut):
  return _gathered(leaf, whole, cut), None


def _gathered_backward(whole, cut, kept, gradient):
  del whole, kept
  return (jax.lax.with_sharding_constraint(gradient, cut),)


_gathered.defvjp(_gathered_forward, _gathered_backward)


def optimizer_shardings(tree, params, params_shardings, mesh: Mesh):
  """Shardings of an optimizer's state `tree`: a leaf whose path ends in a parameter's path, and which has its shape, is
  sharded like it. Every other leaf must be a scalar (a step count) and is replicated; else raises `ConfigError`."""
  def names(path):
    return tuple(path_name((entry,)) for entry in path)

  leaves = zip(
    jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(params_shardings), strict=True
  )
  known = {names(path): (leaf.shape, sharding) for (path, leaf), sharding in leaves}

  def of(path, leaf):
    path = names(path)
    for start in range(len(path)):
      shape, sharding = known.get(path[start:], (None, None))
      if sharding is not None and shape == leaf.shape:
        return sharding
    if leaf.shape:
      raise ConfigError(f"optimizer state {'/'.join(path)} of shape {leaf.shape} follows no parameter")
    return replicated(mesh)

  return jax.tree_util.tree_map_with_path(of, tree)
