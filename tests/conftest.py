"""One thread for every test: tiny tensors gain nothing from more, and the results don't depend on the machine."""

import pytest
import torch

from bptrain.errors import RequestError

torch.set_num_threads(1)


@pytest.fixture
def built():
    """The run of some settings; a test is skipped whose data must be fetched first, with how to do it."""
    from bptrain.train.run import build

    def built(settings):
        try:
            return build(settings)
        except RequestError as error:
            if "make data" in str(error) or "pip install" in str(error):
                pytest.skip(str(error))
            raise

    return built
