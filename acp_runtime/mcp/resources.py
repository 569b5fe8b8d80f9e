"""What clients read beside the tools: transcripts and patches of a parent's own subagents, a page at a time."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from acp_runtime.callers import admitted
from acp_runtime.core.errors import Rejected
from acp_runtime.core.plaintext import one_line, set_back
from acp_runtime.tools import Desk
from acp_runtime.views import EventView, SubagentView

SCHEME: Final = "subagents"
PAGE_CHARS: Final = 50_000
LISTED: Final = 100
Kind = Literal["transcript", "patch"]
_URI: Final = re.compile(r"subagents://([a-z0-9-]{1,40})/(transcript|patch)(?:\?offset=([0-9]{1,12}))?")
# How the lines of a transcript begin that are not what an agent says.
_OURS: Final = r"[\[(]"


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of resource: what it is, and its media type."""

    about: str
    mime: str


TEMPLATES: Final[Mapping[Kind, Template]] = {
    "transcript": Template("What a subagent said and did, so far.", "text/plain"),
    "patch": Template("What an ended subagent changed, for git apply.", "text/x-patch"),
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of one subagent. `uri` names it without a page."""

    subagent: str
    kind: Kind
    offset: int = 0

    @property
    def uri(self) -> str:
        return f"{SCHEME}://{self.subagent}/{self.kind}"

    @classmethod
    def of(cls, uri: str) -> "Resource":
        """Return the resource that a URI names. Raises `Rejected` (unknown_resource)."""
        found = _URI.fullmatch(uri)
        if found is None:
            raise Rejected("unknown_resource", f"there is no resource {one_line(uri, 100)}")
        return cls(found[1], "patch" if found[2] == "patch" else "transcript", int(found[3] or 0))


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a resource. `following` is the URI of the next one, None for the last; `total` counts characters."""

    text: str
    total: int
    following: str | None


async def listed(desk: Desk) -> list[tuple[Resource, SubagentView]]:
    """Return the resources of a parent's newest subagents."""
    views = await desk.runtime.list_subagents(admitted(desk.parent), ended=True)
    found: list[tuple[Resource, SubagentView]] = []
    for view in views[-LISTED:]:
        found.append((Resource(view.id, "transcript"), view))
        if view.status.over:
            found.append((Resource(view.id, "patch"), view))
    return found


async def read(desk: Desk, wanted: Resource) -> Page:
    """Return a page. Raises `Rejected`: unknown_subagent, also for a foreign one; no_patch where there is none."""
    if wanted.kind == "transcript":
        transcript = await desk.runtime.transcript(admitted(desk.parent), wanted.subagent)
        cut = "(the oldest part is left out)\n" if transcript.cut else ""
        text = cut + "".join(_lines(transcript.entries))
    else:
        work = await desk.runtime.work(admitted(desk.parent), wanted.subagent)
        if work is None:
            why = "it has not ended (its work is taken out when it is stopped), or nothing was exported"
            raise Rejected("no_patch", f"{wanted.subagent} has no patch: {why}")
        text = work.patch.decode("utf-8", "replace")
    end = wanted.offset + PAGE_CHARS
    following = f"{wanted.uri}?offset={end}" if end < len(text) else None
    return Page(text[wanted.offset : end], len(text), following)


def _lines(entries: tuple[EventView, ...]) -> Iterator[str]:
    for entry in entries:
        text = set_back(entry.text, _OURS)
        match entry.kind:
            case "agent_message_chunk":
                yield f"{text}\n"
            case "tool_call" | "tool_call_update":
                yield f"[{one_line(str(entry.data.get('status', 'pending')), 20)}] {text}\n"
            case kind:
                yield f"({one_line(kind, 40)}) {text}\n"
