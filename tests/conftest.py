"""One thread for every test: tiny tensors gain nothing from more, and the results don't depend on the machine."""

import os
from pathlib import Path

import pytest
import torch

from bptrain.errors import RequestError

torch.set_num_threads(1)


def skip(reason):
    """Skips a test for want of fetched data, but fails it under BPTRAIN_DATA=required, as where `make data` was run."""
    if os.environ.get("BPTRAIN_DATA") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def fetched():
    """Asks for the folder of a fetched source."""

    def fetched(source):
        if not Path("datasets", source).is_dir():
            skip("run make data, or python -m bptrain.data.fetch")

    return fetched


@pytest.fixture
def built():
    """The run of some settings; a test is skipped whose data must be fetched first, with how to do it."""
    from bptrain.train.run import build

    def built(settings):
        try:
            return build(settings)
        except RequestError as error:
            if "make data" in str(error) or "pip install" in str(error):
                skip(str(error))
            raise

    return built
