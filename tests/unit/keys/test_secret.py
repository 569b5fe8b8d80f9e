import copy
import pickle

import pytest

from acp_runtime.keys import Secret
from acp_runtime.models import Route

KEY = "sk-canary-4711"


def test_nothing_that_shows_a_secret_shows_its_value():
    secret = Secret(KEY, name="MY_KEY")
    route = Route.parse("http://127.0.0.1/v1", key=secret)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret]), repr(route), str(route)]
    assert not [text for text in shown if KEY in text]
    assert all("MY_KEY" in text for text in shown)
    assert secret.reveal() == KEY.encode()


def test_a_secret_is_neither_pickled_nor_copied():
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            leak(Secret(KEY, name="MY_KEY"))
