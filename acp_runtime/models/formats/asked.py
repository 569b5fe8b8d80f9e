"""What a request to a model asks for."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from acp_runtime.models.formats.picking import Picker
from acp_runtime.models.formats.usage import model_name

__all__ = ["Asked"]

# Gemini has the model in the address.
_IN_ADDRESS: Final = re.compile(rb"/models/([A-Za-z0-9._-]{1,200}):\w+$")
_FREE: Final = re.compile(rb"(?:/count_tokens|:countTokens|/input_tokens)$")
# What Gemini CLI asks about a subscription, and tells of its use, beside calls of the model.
_ACCOUNT: Final = re.compile(
    rb"/v1internal:(?:loadCodeAssist|onboardUser|listExperiments|fetchAdminControls|retrieveUserQuota"
    rb"|setCodeAssistGlobalUserSetting|recordCodeAssistMetrics)"
)
_BATCH: Final = re.compile(rb"/batches(?:/|$)|:(?:batchGenerateContent|asyncBatch\w+)$", re.IGNORECASE)
# An answer that was asked for in the background, or kept: fetched by its id.
_KEPT: Final = re.compile(rb"/(?:responses|chat/completions)/[^/]+", re.IGNORECASE)
_MODEL: Final = ("model",)


class Asked:
    """One request. `model` is the one that it names, as far as its body was seen; empty where it names none."""

    def __init__(self, method: bytes, target: bytes) -> None:
        path = target.partition(b"?")[0]
        found = _IN_ADDRESS.search(path)
        self._named = found.group(1).decode() if found is not None else ""
        self._picker = Picker((_MODEL,), once=True)
        self._post = method == b"POST"
        self._free = _FREE.search(path) is not None or _ACCOUNT.fullmatch(path) is not None
        bare = unquote_to_bytes(path)
        self._later = (_BATCH if self._post else _KEPT).search(bare) is not None

    @property
    def charged(self) -> bool:
        """Whether it is a call of a model: everything that is posted, but for some questions that cost nothing.

        They are how many tokens a text has, and those about a subscription. What is not recognised counts: an agent
        chooses how it writes an address.
        """
        return self._post and not self._free

    @property
    def later(self) -> bool:
        """Whether it is for answers that come later, by a way on which nobody could count what they used."""
        return self._later

    @property
    def model(self) -> str:
        return model_name(self._picker.found.get(_MODEL)) or self._named

    def feed(self, data: bytes) -> None:
        """Look at the next piece of its body. Raises nothing."""
        self._picker.feed(data)
