"""What requests to models and their answers tell of model and tokens. Pure; bytes in, numbers out, bounded memory."""

from acp_runtime.models.formats.asked import Asked
from acp_runtime.models.formats.usage import Answer

__all__ = ["Answer", "Asked"]
