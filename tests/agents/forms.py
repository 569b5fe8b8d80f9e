"""What has the scripted agent ask by a form."""

import json
from typing import Any, Final

FORM: Final = "elicitation/create -> "
"""What its word on the answer begins with."""


def form(message: str, schema: dict[str, Any]) -> str:
    asked = json.dumps({"mode": "form", "message": message, "requestedSchema": schema}).replace("]]", "] ]")
    return f"[[request:elicitation/create|{asked}]]"
