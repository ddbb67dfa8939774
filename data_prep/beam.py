"""Writes shards with Apache Beam, an optional extra (requirements-beam.txt).

One element of the pipeline is one shard, so the bytes are those of a build on one machine. Every worker must have this
code, and must see --raw and --out under the same paths (a shared file system).
"""

import pathlib
import pickle
from collections.abc import Sequence

from data_prep.shards import Job, write_shard
from fgait_jax.errors import DataError


def run(jobs: Sequence[Job], *, runner: str, options: Sequence[str]) -> None:
  """Writes `jobs` on `runner` (DirectRunner, FlinkRunner, SparkRunner, DataflowRunner, ...), and waits.

  `options` are that runner's own flags, such as "--direct_num_workers=4". Raises `DataError` without Beam, for a runner
  it does not know, and where the pipeline did not write every shard.
  """
  try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as error:
    raise DataError(
      f"--runner {runner} needs Apache Beam ({error}); install it with: pip install -r requirements-beam.txt"
    ) from error
  # The elements are paths of pickled jobs: a job with thousands of walks is larger than engines allow an element.
  files = [job.path.with_name(f"{job.path.name}.job") for job in jobs]
  try:
    for file, job in zip(files, jobs, strict=True):
      file.write_bytes(pickle.dumps(job))
    try:
      with beam.Pipeline(options=PipelineOptions([f"--runner={runner}", *options])) as pipeline:
        (
          pipeline
          | beam.Create([str(file.resolve()) for file in files])
          | beam.Reshuffle()  # one shard a bundle, however the engine would group so few elements
          | beam.Map(write)
        )
    except Exception as error:  # every engine fails in its own way
      done = sum(job.report_path.is_file() for job in jobs)
      last_line = str(error).strip().rpartition("\n")[2]
      raise DataError(
        f"--runner {runner}: the pipeline failed ({type(error).__name__}: {last_line});"
        f" {done} of {len(jobs)} shards are finished, the same command continues from them"
      ) from error
  finally:
    for file in files:
      file.unlink(missing_ok=True)
  if unfinished := [job.path.name for job in jobs if not job.report_path.is_file()]:
    raise DataError(
      f"--runner {runner}: {len(unfinished)} of {len(jobs)} shards are missing here after the pipeline"
      f" ({unfinished[0]}, ...); all workers must write to the same --out"
    )


def write(file: str) -> None:
  """Writes the shard whose job is pickled in `file`; called by the engine's workers."""
  write_shard(pickle.loads(pathlib.Path(file).read_bytes()), lambda: None)
