"""A small model to read texts with."""

import pytest

from sae_lens_classif.hooks.token_states import TokenReader, open_reader
from tests.fakes.models import write_model


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> TokenReader:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, "GPTNeoX", "ForCausalLM")
    return open_reader(str(folder), device="cpu")
