"""Where the command line of a vendor keeps the login of a subscription, and how it is read, renewed and sent.

The formats are those of Claude Code 2.1 (`~/.claude/.credentials.json`), Codex 0.166 (`~/.codex/auth.json`) and Gemini
CLI 0.61 (`~/.gemini/oauth_creds.json`). The ids of clients are public, and the same on every machine; one that has a
secret with it is read from the program that it was given to. Of logins that are not read it is said what is.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from acp_runtime.keys.client import Client

__all__ = ["INSTEAD", "VENDORS", "Tokens", "Vendor"]

Document = Mapping[str, Any]

INSTEAD: Final = {
    "copilot": "the login of Copilot CLI is not read; give a token that may make Copilot requests and nothing else, as "
    "file:PATH, to an agent kind of yours (docs/agents.md, GitHub Copilot CLI)",
}
"""Logins that are not read, and how their subscriptions are used."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login consists of. `until` is in seconds of the wall clock; None where the vendor does not say it."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    until: float | None
    beside: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def digest(self) -> bytes:
        """What tells this login from another, and nothing of its tokens."""
        return hashlib.sha256(f"{self.access} {self.refresh}".encode()).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor's way. `file` is below the folder that `variable` names, or below `folder` in the home.

    `client` is None where the installed program has it. `paths` are those of a model below its base,
    where the same host serves the account too: its sessions and files, and new keys. `read` raises KeyError, TypeError
    and ValueError for a document that holds no login. `merged` puts the answer of a renewal at a time into a document.
    """

    variable: str
    folder: str
    file: str
    renewed_at: str
    client: Client | None
    again: str
    read: Callable[[Document], Tokens]
    merged: Callable[[Document, Document, float], dict[str, Any]]
    paths: re.Pattern[bytes] = re.compile(rb".*")


def _read_claude(document: Document) -> Tokens:
    found = document["claudeAiOauth"]
    until = found.get("expiresAt")
    beside = ((b"anthropic-beta", b"oauth-2025-04-20"),)
    return Tokens(_text(found["accessToken"]), found.get("refreshToken"), until and float(until) / 1000, beside)


def _merged_claude(document: Document, answer: Document, now: float) -> dict[str, Any]:
    found = {**document["claudeAiOauth"], "accessToken": _given(answer)}
    found["expiresAt"] = int((now + float(answer["expires_in"])) * 1000)
    found |= {"refreshToken": answer["refresh_token"]} if answer.get("refresh_token") else {}
    return {**document, "claudeAiOauth": found}


def _read_codex(document: Document) -> Tokens:
    found = document["tokens"]
    access = _text(found["access_token"])
    account = found.get("account_id")
    beside = ((b"chatgpt-account-id", _text(account).encode("ascii")),) if account else ()
    return Tokens(access, found.get("refresh_token"), _expiry(access), beside)


def _merged_codex(document: Document, answer: Document, now: float) -> dict[str, Any]:
    given = {name: answer[name] for name in ("id_token", "refresh_token") if answer.get(name)}
    tokens = {**document["tokens"], **given, "access_token": _given(answer)}
    when = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {**document, "tokens": tokens, "last_refresh": when}


def _read_gemini(document: Document) -> Tokens:
    until = document.get("expiry_date")
    return Tokens(_text(document["access_token"]), document.get("refresh_token"), until and float(until) / 1000)


def _merged_gemini(document: Document, answer: Document, now: float) -> dict[str, Any]:
    given = {name: answer[name] for name in ("id_token", "refresh_token", "scope", "token_type") if answer.get(name)}
    until = int((now + float(answer["expires_in"])) * 1000)
    return {**document, **given, "access_token": _given(answer), "expiry_date": until}


def _given(answer: Document) -> str:
    """Return a new token. One that cannot be sent in a header is none: it would take the place of what is there."""
    token = _text(answer["access_token"])
    if not all("!" <= each <= "~" for each in token):
        raise ValueError("no token")
    return token


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("no text")
    return value


def _expiry(token: str) -> float | None:
    """Return when a JSON web token expires by its own words."""
    try:
        body = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


VENDORS: Final = {
    "claude": Vendor(
        variable="CLAUDE_CONFIG_DIR",
        folder=".claude",
        file=".credentials.json",
        renewed_at="https://platform.claude.com/v1/oauth/token",
        client=Client("9d1c250a-e61b-44d9-88ed-5944d1962f5e"),
        again="run `claude` and log in with /login",
        read=_read_claude,
        merged=_merged_claude,
        paths=re.compile(rb"(/v1)?/(messages(/count_tokens)?|models(/[^/]+)?)"),
    ),
    "codex": Vendor(
        variable="CODEX_HOME",
        folder=".codex",
        file="auth.json",
        renewed_at="https://auth.openai.com/oauth/token",
        client=Client("app_EMoamEEZ73f0CkXaXp7hrann"),
        again="run `codex login`",
        read=_read_codex,
        merged=_merged_codex,
    ),
    "gemini": Vendor(
        variable="GEMINI_CLI_HOME",
        folder="",
        file=".gemini/oauth_creds.json",
        renewed_at="https://oauth2.googleapis.com/token",
        client=None,
        again="run `gemini`, and log in with Google where it asks",
        read=_read_gemini,
        merged=_merged_gemini,
    ),
}
