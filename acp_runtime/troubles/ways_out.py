"""What goes wrong on the way out of a sandbox."""

from typing import Final

from acp_runtime.troubles.trouble import Area, Trouble

# fmt: off
MODEL: Final = Area(
    "The way to the model",
    "Answered to the agent's HTTP client in the container, and counted; an agent usually repeats the sentence.",
    (
        Trouble("upstream_unreachable", "the model's address cannot be reached", "no network, or a wrong address",
            "try the address from this machine"),
        Trouble("upstream_untrusted", "the model's certificate is not trusted",
            "an authority that this machine does not know", "add it to the machine's certificates"),
        Trouble("upstream_silent", "the model said nothing for too long", "an overloaded model",
            "try again, or another model"),
        Trouble("upstream_broken", "the model's answer broke off or is no HTTP", "a proxy, or an overloaded model",
            "try again"),
        Trouble("host_refused", "the agent asked for another host than its model's, or for an address",
            "only the one configured address is carried, and over the proxy only hosts with a name",
            "nothing: the sandbox reaches nothing else"),
        Trouble("path_refused", "the agent asked for a path outside of its model's address, or of a package registry",
            "only paths below the one are carried, and only those to packages of the other",
            "give the right base address with `--model-url`; for a registry of another kind an egress rule"),
        Trouble("method_refused", "the agent used a method that is not carried there",
            "a strange client; of package registries things are only read", "see its log"),
        Trouble("version_refused", "the agent did not speak HTTP/1.1", "a strange client", "see its log"),
        Trouble("bad_request", "the agent's request is not well-formed", "a strange client", "see its log"),
        Trouble("two_framings", "the agent's request has two lengths", "a client that smuggles", "see its log"),
        Trouble("head_too_large", "the head of the agent's request is too long", "too many headers", "see its log"),
        Trouble("body_too_large", "the agent's request is too long", "a very long context", "give it a smaller task"),
        Trouble("client_silent", "the agent's request stood still", "an agent that hangs", "see its log"),
        Trouble("too_many_connections", "the agent has too many connections open", "it does not close them",
            "see its log"),
    ),
)
EGRESS: Final = Area(
    "What else a sandbox reaches",
    "Answered to the agent's HTTP client in the container, beside those above; see [egress.md](egress.md).",
    (
        Trouble("egress_denied", "the agent asked for what its sandbox may not reach",
            "no rule names it; the sentence says which one would", "allow it with `--egress` or in a preset"),
        Trouble("address_refused", "a host that is allowed by name leads to an address that is not public",
            "it is in a private network or on this machine, or somebody points its name inwards",
            "where that is meant, a rule that begins with `unsafe_private:`"),
        Trouble("name_unknown", "a host that is allowed was not found", "a wrong name, or this machine has no network",
            "look it up on this machine"),
        Trouble("host_mismatch", "a request of the agent names two different hosts",
            "a strange client, or one that tries to get past the rules", "see its log"),
        Trouble("target_refused", "the agent asked the proxy for something that is none of its forms",
            "a client that does not know proxies", "see its log"),
        Trouble("hello_refused", "a tunnel was cut off: it was not used for TLS to the host that it leads to",
            "another protocol, another server's name in the TLS hello, or one that is hidden (ECH)",
            "have the client speak TLS with the host's name, and without ECH"),
    ),
)
GATEWAY: Final = Area(
    "The gateway",
    "Told where an agent's way to its model could not be opened, and in the manager's log.",
    (
        Trouble("gateway_unreachable", "the gateway of the store cannot be started or does not answer",
            "no room for its files beside the store, or it hangs; the sentence says more",
            "`subagents status` says why; see `log` in the `.gateway` folder beside the store; it is tried again"),
        Trouble("gateway_silent", "the gateway did not answer in time", "it hangs, or the machine is very busy",
            "nothing: one that stays silent is ended, and another one started"),
        Trouble("gateway_ending", "the gateway is about to end", "it hands over to another version",
            "nothing: the next one is asked"),
        Trouble("store_refused", "the gateway found is another store's", "one store was put in the place of another",
            "end the other store's manager first"),
        Trouble("attempt_over", "a later attempt of the subagent has an account already",
            "a manager that was replaced goes on", "nothing: the later attempt goes on"),
        Trouble("epoch_refused", "a later manager of the store has the gateway", "a manager that was replaced goes on",
            "nothing: the later one goes on"),
        Trouble("too_many_accounts", "the gateway has as many accounts as it takes", "very many agents",
            "stop some of them"),
        Trouble("bad_account", "the gateway could not read what it was asked to open", "a manager of another version",
            "restart the daemon"),
        Trouble("bad_line", "the gateway could not read what it was told", "a program that is no manager of ours",
            "look what connects to the gateway's socket"),
    ),
)
# fmt: on
