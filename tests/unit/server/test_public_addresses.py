import socket

import pytest

from dwell.server.public_addresses import AddressRefused, is_public, resolved

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
NOT = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104 - nobody listens
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd00::1", "fdff::1"],
    "link-local": ["169.254.0.1", "fe80::1", "fe80::1%eth0", "fec0::1"],
    "shared": ["100.64.0.1", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.1", "198.18.0.1", "192.88.99.1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "metadata of clouds": ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1"],
    "translated": ["64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:808:808::1", "2001:0:7f00:1::"],
    "no address": ["", "localhost", "1.1.1", "0x7f000001", "2130706433", "1.1.1.1 ", "::1::"],
}


@pytest.mark.parametrize("text", PUBLIC)
def test_what_everybody_can_reach(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize("text", [text for texts in NOT.values() for text in texts])
def test_what_only_some_can_reach(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "017700000001", "::1", "localhost"])
def test_no_way_of_writing_this_machine_is_resolved(host: str) -> None:
    with pytest.raises(AddressRefused):
        resolved(host, 443)


def test_numbers_are_resolved_to_themselves() -> None:
    assert resolved("1.1.1.1", 443) == (socket.AF_INET, ("1.1.1.1", 443))


def test_one_address_that_is_refused_refuses_the_name() -> None:
    seen: list[str] = []

    def but_the_last(address: str) -> bool:
        seen.append(address)
        return False

    with pytest.raises(AddressRefused):
        resolved("localhost", 443, is_allowed=but_the_last)
    assert seen
