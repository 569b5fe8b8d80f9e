"""The engine policy, walked over every combination of facts, then the sentences people read."""

import dataclasses
import itertools

import pytest
from hostsetup.decide import Action, Facts, decide
from hostsetup.endpoint import Endpoint, default_endpoint
from hostsetup.engine_api import Answer, Ping

BY_HOST = Endpoint("unix:///run/other.sock", "DOCKER_HOST", chosen=True)
BY_CONTEXT = Endpoint("tcp://build-host:2376", "the context 'build'", chosen=True)
PLAIN = Facts(
    endpoint=default_endpoint(),
    ping=Ping(Answer.MISSING, "No such file or directory"),
    root=True,
    user="root",
    dockerd="",
    snap=False,
    apt=True,
    forbidden=False,
    in_group=False,
    user_socket="",
)
USER = dataclasses.replace(PLAIN, root=False, user="ada")
INSTALLED = "/usr/sbin/dockerd"


def every_machine():
    flags = (False, True)
    for answer, endpoint, root, dockerd, snap, apt, forbidden, in_group, rootless in itertools.product(
        Answer, (default_endpoint(), BY_HOST, BY_CONTEXT), flags, ("", INSTALLED), flags, flags, flags, flags, flags
    ):
        yield Facts(
            endpoint=endpoint,
            ping=Ping(answer, "detail"),
            root=root,
            user="ada",
            dockerd=dockerd,
            snap=snap,
            apt=apt,
            forbidden=forbidden,
            in_group=in_group,
            user_socket="/run/user/7/docker.sock" if rootless else "",
        )


def expected(facts):
    """The issue's own sentence, written as a condition."""
    answer = facts.ping.answer
    if answer is Answer.ANSWERS:
        return Action.USE
    nobody = answer in (Answer.REFUSED, Answer.MISSING)
    may = facts.root and not facts.forbidden and not facts.endpoint.chosen and nobody
    if may and facts.dockerd:
        return Action.START
    if may and not facts.snap and facts.apt and answer is Answer.MISSING:
        return Action.INSTALL
    return Action.STOP


def test_the_action_follows_the_policy_on_every_machine():
    machines = list(every_machine())
    assert len(machines) == 6 * 3 * 2**7
    assert [decide(facts).action for facts in machines] == [expected(facts) for facts in machines]


def test_every_end_is_told_in_a_sentence_that_ends_and_repeats_no_word():
    for facts in every_machine():
        sentence = decide(facts).sentence
        assert sentence.endswith((".", ")"))
        assert "\n" not in sentence
        assert ".." not in sentence
        assert len(sentence) <= 400


def with_ping(facts, answer, detail="detail", **changes):
    return dataclasses.replace(facts, ping=Ping(answer, detail), **changes)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (with_ping(USER, Answer.DENIED), "usermod -aG docker ada"),
        (with_ping(USER, Answer.DENIED, in_group=True), "log in again"),
        (with_ping(PLAIN, Answer.DENIED), "although it is root"),
        (with_ping(USER, Answer.REFUSED, dockerd=INSTALLED), "installed (/usr/sbin/dockerd) but stopped; start it"),
        (with_ping(PLAIN, Answer.REFUSED, dockerd=INSTALLED, forbidden=True), "NO_ENGINE_SETUP forbids starting"),
        (with_ping(PLAIN, Answer.MISSING, forbidden=True), "NO_ENGINE_SETUP forbids installing"),
        (with_ping(PLAIN, Answer.MISSING, apt=False), "by your distribution's means"),
        (with_ping(USER, Answer.MISSING), "sudo make engine"),
        (with_ping(PLAIN, Answer.MISSING, snap=True), "sudo snap start docker"),
        (with_ping(PLAIN, Answer.REFUSED), "delete the stale socket"),
        (with_ping(PLAIN, Answer.SILENT, "no answer within 10 s"), "no answer within 10 s"),
        (with_ping(PLAIN, Answer.STRANGE, "HTTP status 404"), "HTTP status 404"),
        (with_ping(PLAIN, Answer.REFUSED, endpoint=BY_HOST, dockerd=INSTALLED), "unset DOCKER_HOST"),
        (with_ping(PLAIN, Answer.MISSING, endpoint=BY_CONTEXT), "docker context use default"),
    ],
)
def test_each_reason_has_its_own_remedy(facts, words):
    decision = decide(facts)
    assert decision.action is Action.STOP
    assert words in decision.sentence


@pytest.mark.parametrize("changes", [{"dockerd": INSTALLED}, {}, {"apt": False}])
def test_a_user_who_has_a_rootless_engine_is_shown_its_address(changes):
    facts = with_ping(USER, Answer.MISSING, user_socket="/run/user/7/docker.sock", **changes)
    assert "DOCKER_HOST=unix:///run/user/7/docker.sock" in decide(facts).sentence


def test_denied_stopped_and_unreachable_are_told_apart():
    sentences = {
        decide(with_ping(USER, Answer.DENIED)).sentence,
        decide(with_ping(USER, Answer.MISSING, dockerd=INSTALLED)).sentence,
        decide(with_ping(USER, Answer.REFUSED, endpoint=BY_HOST)).sentence,
        decide(with_ping(USER, Answer.SILENT)).sentence,
    }
    assert len(sentences) == 4


def test_an_engine_over_ssh_is_refused_with_the_forwarding_line():
    facts = with_ping(PLAIN, Answer.STRANGE, endpoint=Endpoint("ssh://ada@far", "DOCKER_HOST", chosen=True))
    decision = decide(facts)
    assert decision.action is Action.STOP
    assert "ssh -nNT -L /tmp/docker-forwarded.sock:/var/run/docker.sock ada@far" in decision.sentence


def test_what_is_about_to_happen_is_said_with_its_size_and_the_way_back():
    sentence = decide(PLAIN).sentence
    assert "65 MB to download" in sentence
    assert "NO_ENGINE_SETUP=1 forbids it" in sentence
    assert "make engine-remove undoes it" in sentence
