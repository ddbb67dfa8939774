"""Worker processes that do not outlive the process that started them."""

import multiprocessing
import multiprocessing.connection
import os
import threading


def end_with_parent() -> None:
  """Ends this worker process as soon as its parent has ended, however that was, even killed: workers would otherwise
  wait for it for ever, or go on writing. Called once by the worker; needs no signal of the parent's."""
  threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
  multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)
