"""What the relay refuses to begin."""

from pathlib import Path

import pytest

from tests.integration.relay_process import (
    free_port,
    refusal,
    running,
    talk,
)


async def test_a_client_is_reset_at_once_where_there_can_be_no_socket(program):
    async with running(program, Path("/dev/null/host.sock")) as relay:
        with pytest.raises(OSError, match=r"reset|not connected|Broken|Connect call failed"):
            await talk(relay, b"")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ([], "usage"),
        (["127.0.0.1:1"], "usage"),
        (["health", "/s"], "usage"),
        (["health", "", "127.0.0.1:80", "/s"], "socket path"),
        (["check", ""], "socket path"),
        (["127.0.0.1:1", "/s", "127.0.0.1:2"], "usage"),
        (["127.0.0.1:1", "/s"] * 9, "at most 8"),
        (["10.0.0.1:80", "/s"], "loopback"),
        (["0.0.0.0:80", "/s"], "loopback"),
        (["localhost:80", "/s"], "loopback"),
        (["[::1]:80", "/s"], "loopback"),
        (["127.0.0.1", "/s"], "not an address"),
        (["x" * 5000 + ":80", "/s"], "not an address"),
        (["127.0.0.1:", "/s"], "no port"),
        (["127.0.0.1:0", "/s"], "no port"),
        (["127.0.0.1:65536", "/s"], "no port"),
        (["127.0.0.1:99999999999999999999", "/s"], "no port"),
        (["127.0.0.1:+80", "/s"], "no port"),
        (["127.0.0.1:80x", "/s"], "no port"),
        (["127.0.0.1:80", ""], "socket path"),
        (["127.0.0.1:80", "/" + "s" * 107], "socket path"),
    ],
)
async def test_bad_arguments_are_refused_with_one_sentence(program, args, word):
    code, said = await refusal(program, *args)
    assert code == 2
    assert word in said
    assert said.startswith("relay: ")
    assert said.count("\n") == 1


async def test_a_port_that_is_taken_is_named(program, relay):
    code, said = await refusal(program, f"127.0.0.1:{free_port()}", "/s", f"127.0.0.1:{relay.port}", "/s")
    assert code == 1
    assert said.startswith(f"relay: cannot listen on 127.0.0.1:{relay.port}: Address")
    assert said.endswith("; choose a free port.\n")
