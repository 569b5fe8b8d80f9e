"""What a report for others leaves out: keys, tokens, passwords, addresses with a password, and the name of the home.

It leaves out too much rather than too little: what stands after a word like `token =` goes, whatever it is.
"""

import re
from collections.abc import Mapping
from typing import Final

GONE: Final = "***"
LEAST: Final = 6  # a shorter value of a variable would be found in half of the words
_NAMES: Final = r"(?:key|token|secret|passw(?:or)?d|passphrase|credentials?|authorization|cookie|bearer)"
_NAMED: Final = re.compile(
    rf"(?i)([\w.-]*{_NAMES}[\w.-]*[\"']?(?:\s*(?:[:=]+>?|\bis\b)\s*|(?<=bearer)\s+)[\"']?(?:(?:bearer|basic)\s+)?)"
    r"([^\s\"',;]+)"
)
_FORMS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){1,4}"
    r"|\b(?:sk|rk|pk)[-_][\w-]{8,}|\bgh[a-z]_\w{8,}|\bgithub_pat_\w{8,}|\bglpat-[\w-]{8,}|\bxox[a-z]-[\w-]{8,}"
    r"|\bAIza[\w-]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bhf_\w{8,}|\bnpm_\w{8,}|\bpypi-[\w-]{8,}|\bya29\.[\w-]{8,}",
    re.DOTALL,
)
# From the scheme to the last @ that a password may hold.
_ADDRESS: Final = re.compile(r"(\w+://)(?:[^/\s@:]*:\S*|[^/\s]*)@")
_SECRET_NAME: Final = re.compile(r"(?i)key|token|secret|passw|credential")


def redacted(text: str, environ: Mapping[str, str]) -> str:
    """Return text without what looks like a secret, and without the values that the environment has for one."""
    values = {value for name, value in environ.items() if _SECRET_NAME.search(name) and len(value) >= LEAST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, GONE)
    text = _ADDRESS.sub(rf"\1{GONE}@", text)
    text = _FORMS.sub(GONE, text)
    text = _NAMED.sub(rf"\1{GONE}", text)
    home = environ.get("HOME", "")
    return text.replace(home, "~") if len(home) > 1 else text
