"""What requests to models and their answers tell of model and tokens, and how one is refused. Pure; bounded memory."""

from acp_runtime.models.formats.asked import Asked
from acp_runtime.models.formats.refusals import no_batches, over_budget
from acp_runtime.models.formats.usage import Answer

__all__ = ["Answer", "Asked", "no_batches", "over_budget"]
