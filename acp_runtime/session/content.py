"""Content blocks of ACP as plain text.

Text stands as it is; everything else becomes a short description in brackets, so that a transcript says what was
there without holding it. Garbage reads as None. All text can be stored as UTF-8.
"""

from typing import Any, Final

from acp_runtime.wire.jsontext import compact, storable_text

MAX_DETAIL: Final = 4096
MAX_LABEL: Final = 200


def block_text(block: Any) -> str | None:
    """Return one content block as text, a text block whole; None when it is no content block."""
    if not isinstance(block, dict):
        return None
    text = block.get("text")
    if block.get("type") == "text" and isinstance(text, str):
        return text if text.isascii() else storable_text(text)
    kind = label(block.get("type"))
    if kind is None:
        return None
    body = block["resource"] if isinstance(block.get("resource"), dict) else block
    words = [kind, label(body.get("uri")) or label(body.get("name")), label(body.get("mimeType")), _size(body)]
    return f"[{' '.join(word for word in words if word)}]"


def _size(body: dict[str, Any]) -> str | None:
    """Return the size of what a block carries inline: base64 in `data` or `blob`, text in `text`."""
    for member, share in (("data", 0.75), ("blob", 0.75), ("text", 1.0)):
        inline = body.get(member)
        if isinstance(inline, str):
            size = int(len(inline) * share)
            return f"{size} B" if size < 1000 else f"{size // 1000} kB"
    return None


def label(value: Any, limit: int = MAX_LABEL) -> str | None:
    """Return a string of the agent cut to `limit` characters; None for anything else and for the empty string."""
    return storable_text(value[:limit]) if isinstance(value, str) and value else None


def tool_detail(update: dict[str, Any]) -> str | None:
    """Return what a tool call put out, else what it was given; None when the update says neither."""
    shown = _tool_content(update.get("content"))
    if shown:
        return shown
    for member in ("rawOutput", "rawInput"):
        raw = update.get(member)
        if isinstance(raw, str):
            return label(raw, MAX_DETAIL)
        if raw is not None:
            return compact(raw)[:MAX_DETAIL]
    return None


def _tool_content(content: Any) -> str | None:
    if not isinstance(content, list):
        return None
    texts: list[str] = []
    room = MAX_DETAIL
    for text in filter(None, map(_tool_item, content)):
        texts.append(text[:room])
        room -= len(text) + 1
        if room <= 0:
            break
    return "\n".join(texts)


def _tool_item(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    kind = item.get("type")
    if kind == "content":
        return block_text(item.get("content"))
    if kind == "diff":
        return f"[diff {label(item.get('path')) or 'of an unnamed file'}]"
    if kind == "terminal":
        return f"[terminal {label(item.get('terminalId')) or 'without an id'}]"
    return block_text(item)
