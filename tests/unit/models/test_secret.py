import copy
import pickle

import pytest

from acp_runtime.core.errors import Rejected
from acp_runtime.models import Route, Secret

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


@pytest.mark.parametrize("environ", [{}, {"MY_KEY": ""}, {"MY_KEY": " \n"}, {"OTHER": KEY}])
def test_a_missing_or_empty_key_is_refused_with_the_name_of_its_variable(environ):
    with pytest.raises(Rejected, match="MY_KEY") as caught:
        Secret.read(environ, "MY_KEY")
    assert caught.value.kind == "key_missing"


@pytest.mark.parametrize("value", ["a b", "a\r\nx: y", "a\x00", "schlüssel", "x" * 9000])
def test_a_key_that_fits_into_no_header_is_refused_without_being_shown(value):
    with pytest.raises(Rejected, match="MY_KEY") as caught:
        Secret.read({"MY_KEY": value}, "MY_KEY")
    assert caught.value.kind == "key_malformed"
    assert value not in str(caught.value)


def test_white_space_around_a_key_is_dropped():
    assert Secret.read({"MY_KEY": f" {KEY}\n"}, "MY_KEY").reveal() == KEY.encode()
