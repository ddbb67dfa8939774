"""A checkpoint of a network that has learnt nothing."""

import pytest


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, save_untrained):
  """The test-sized transformer before its first step."""
  return save_untrained(tmp_path_factory.mktemp("run"), {}, {})
