import asyncio
import threading

import pytest

from acp_runtime.egress.addresses import why_refused
from acp_runtime.egress.resolving import MOST_LOOKUPS, NameRefused, Resolver

REFUSED = {
    "127.0.0.1": "this machine",
    "127.255.255.254": "this machine",
    "0.0.0.0": "this machine",
    "10.1.2.3": "a private network",
    "172.16.0.1": "a private network",
    "172.31.255.255": "a private network",
    "192.168.1.1": "a private network",
    "100.64.0.1": "shared",
    "100.100.100.200": "a cloud's own service",
    "169.254.169.254": "the link",
    "168.63.129.16": "a cloud's own service",
    "192.0.0.192": "special",
    "192.88.99.1": "6to4",
    "198.18.0.1": "benchmarks",
    "224.0.0.251": "multicast",
    "239.255.255.250": "multicast",
    "255.255.255.255": "reserved",
    "::": "this machine",
    "::1": "this machine",
    "::ffff:127.0.0.1": "another form",
    "::ffff:8.8.8.8": "another form",
    "::127.0.0.1": "another form",
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b::808:808": "NAT64",
    "64:ff9b:1::1": "NAT64",
    "2002:7f00:1::1": "6to4",
    "2001::1": "special",
    "2001:db8::1": "documentation",
    "fc00::1": "a private network",
    "fd00:ec2::254": "a cloud's own service",
    "fe80::1": "the link",
    "fe80::1%1": "the link",
    "2606:4700::1%1": "the link",
    "ff02::1": "multicast",
    "4000::1": "reserved",
    "100::1": "reserved",
    "localhost": "no address",
}


@pytest.mark.parametrize(("address", "what"), REFUSED.items())
def test_an_address_that_is_not_public_is_refused_by_what_it_is_for(address, what):
    assert what in (why_refused(address) or "")


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "2a00::1"])
def test_a_public_address_is_none_of_these(address):
    assert why_refused(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "192.168.0.1", "::1", "fd12::1", "8.8.8.8"])
def test_a_rule_for_private_addresses_lets_them_through(address):
    assert why_refused(address, private=True) is None


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "0.0.0.0", "224.0.0.1",
     "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"],
)  # fmt: skip
def test_no_rule_leads_to_the_link_or_to_a_clouds_own_service(address):
    assert why_refused(address, private=True) is not None


async def resolved(*found: str, private: bool = False) -> tuple[str, ...]:
    return await Resolver(lambda _, __: list(found)).resolve("a.example.org", 443, private=private, seconds=60)


async def test_a_name_leads_to_its_addresses_each_once():
    assert await resolved("8.8.8.8", "8.8.4.4", "8.8.8.8") == ("8.8.8.8", "8.8.4.4")


@pytest.mark.parametrize("found", [("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("2606:4700::1", "::ffff:10.0.0.1")])
async def test_one_address_that_is_not_public_refuses_the_name(found):
    with pytest.raises(NameRefused, match=r"a\.example\.org leads to") as caught:
        await resolved(*found)
    assert caught.value.code == "address_refused"
    assert found[-1] not in str(caught.value)


async def test_a_name_without_an_address_or_unknown_to_the_system_is_told():
    def unknown(host: str, port: int) -> list[str]:
        raise OSError(f"nobody knows {host}")

    with pytest.raises(NameRefused, match="has no address"):
        await resolved()
    with pytest.raises(NameRefused, match="was not found: nobody knows") as caught:
        await Resolver(unknown).resolve("a.example.org", 443, private=False, seconds=60)
    assert caught.value.code == "name_unknown"


async def test_a_public_name_is_looked_up_whole_and_a_private_one_as_the_machine_knows_it():
    asked = []

    def lookup(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"]

    resolver = Resolver(lookup)
    await resolver.resolve("a.example.org", 443, private=False, seconds=60)
    await resolver.resolve("build.lan", 443, private=True, seconds=60)
    assert asked == ["a.example.org.", "build.lan"]


async def test_a_lookup_that_never_ends_is_waited_for_within_a_bound_and_few_are_under_way():
    release = threading.Event()

    def stuck(host: str, port: int) -> list[str]:
        release.wait(60)
        return ["8.8.8.8"]

    resolver = Resolver(stuck)
    asked = [resolver.resolve("a.example.org", 443, private=False, seconds=0.1) for _ in range(MOST_LOOKUPS + 1)]
    told = [str(error) for error in await asyncio.gather(*asked, return_exceptions=True)]
    assert sum("within" in text for text in told) == MOST_LOOKUPS
    assert sum("too many lookups" in text for text in told) == 1
    release.set()
    for thread in [each for each in threading.enumerate() if each.name.startswith("lookup of")]:
        await asyncio.to_thread(thread.join, 60)
    await asyncio.sleep(0)  # now they are heard
    assert await resolver.resolve("a.example.org", 443, private=False, seconds=60) == ("8.8.8.8",)
