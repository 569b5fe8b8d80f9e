"""What is asked of the person: a line of text, one of some choices, a yes; and a text to look at."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Key, Paste
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from acp_runtime.core.plaintext import printable

_ESCAPE: list[BindingType] = [Binding("escape", "leave", "Leave")]


class _Dialog(ModalScreen[str | None]):
    """A box over the view; `escape` leaves it with None."""

    BINDINGS: ClassVar[list[BindingType]] = _ESCAPE

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = printable(title)

    def action_leave(self) -> None:
        self.dismiss(None)


class _Field(Input):
    """A line that takes all of what is pasted, and not its first line alone."""

    def on_paste(self, event: Paste) -> None:
        event.prevent_default()
        event.stop()
        self.replace(" ".join(event.text.splitlines()), *self.selection)


class Line(_Dialog):
    """Asks for one line; dismissed with it, or None where it is blank."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(self._title, markup=False)
            yield _Field(id="line")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        self.dismiss(event.value if event.value.strip() else None)


class Choice(_Dialog):
    """Asks for one of some choices; dismissed with the number of the chosen one, as text."""

    def __init__(self, title: str, choices: Sequence[str]) -> None:
        super().__init__(title)
        self._choices = [printable(each) for each in choices]

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(self._title, markup=False)
            numbered = (f"{number} {each}" for number, each in enumerate(self._choices, 1))
            yield OptionList(*(Text(each) for each in numbered), markup=False)

    def on_key(self, event: Key) -> None:
        """Choose by the digit of a line."""
        if event.character and event.character in "123456789" and int(event.character) <= len(self._choices):
            event.stop()
            self.dismiss(str(int(event.character) - 1))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter, or a click."""
        self.dismiss(str(event.option_index))


class Patch(_Dialog):
    """Shows a patch."""

    BINDINGS: ClassVar[list[BindingType]] = [*_ESCAPE, Binding("q", "leave", "Leave")]

    def __init__(self, title: str, patch: str) -> None:
        super().__init__(title)
        self._patch = patch

    def compose(self) -> ComposeResult:
        with Vertical(classes="box tall"):
            yield Static(self._title, markup=False)
            with VerticalScroll():
                yield Static(_coloured(printable(self._patch)))


def _coloured(patch: str) -> Text:
    text = Text()
    for line in patch.splitlines(keepends=True):
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        text.append(line, style)
    return text
