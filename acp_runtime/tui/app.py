"""`subagents top`: the tree of subagents, the live transcript of the chosen one, and keys to act on it.

The person at it is the operator: sees and answers everything, and moves no parent's cursor or nudge.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Static

from acp_runtime.api.errors import DaemonError
from acp_runtime.callers import OPERATOR
from acp_runtime.client import RemoteRuntime
from acp_runtime.core.errors import SubagentsError
from acp_runtime.core.plaintext import one_line, printable
from acp_runtime.tui.dialogs import Choice, Line, Patch
from acp_runtime.tui.following import Following
from acp_runtime.tui.rows import HEADS, cost, tree
from acp_runtime.views import RequestView, SubagentView

GAP_SECONDS: Final = 0.2
AWAY_SECONDS: Final = 1.0
CAUSE_CHARS: Final = 300
PATCH_CHARS: Final = 200_000
Connect = Callable[[], AbstractAsyncContextManager[RemoteRuntime]]


class TopApp(App[None]):
    """The view. `connect` opens the facade of a daemon; where that is lost it is opened again."""

    TITLE = "subagents top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #agents { height: 40%; }
    #head, #asks { height: auto; max-height: 8; padding: 0 1; }
    #head { background: $boost; }
    #asks { color: $warning; }
    #transcript { height: 1fr; padding: 0 1; }
    #said { min-height: 100%; }
    Line, Choice, Patch { align: center middle; }
    .box { width: 80%; height: auto; max-height: 80%; border: solid $accent; background: $surface; padding: 0 1; }
    .tall { height: 80%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "answer", "Answer"),
        Binding("s", "say", "Say"),
        Binding("c", "cancel", "Cancel task"),
        Binding("x", "stop", "Stop"),
        Binding("d", "diff", "Diff"),
        Binding("e", "ended", "Ended too"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, connect: Connect) -> None:
        super().__init__()
        self._connect = connect
        self._runtime: RemoteRuntime | None = None
        self._views: dict[str, SubagentView] = {}
        self._ended = False
        self._following: Following | None = None
        self._drawing = asyncio.Lock()
        self._asking = False
        self._shown = ""  # whose transcript is drawn

    def compose(self) -> ComposeResult:
        yield DataTable(id="agents", cursor_type="row", zebra_stripes=True)
        yield Static("", id="head", markup=False)
        yield Static("", id="asks", markup=False)
        with VerticalScroll(id="transcript"):
            yield Static("", id="said", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to follow the daemon."""
        self._table.add_columns(*HEADS)
        self._table.focus()
        self.run_worker(self._follow(), exclusive=True)

    @property
    def _table(self) -> "DataTable[Text]":
        return self.query_one("#agents", DataTable)

    @property
    def _transcript(self) -> VerticalScroll:
        return self.query_one("#transcript", VerticalScroll)

    # ---- what is shown

    async def _follow(self) -> None:
        """Draw whenever a log has grown, until the app ends; a daemon that goes is asked for again."""
        while True:
            try:
                async with self._connect() as runtime:
                    self._runtime = runtime
                    while True:
                        tick = runtime.tick
                        await self._draw(runtime)
                        await asyncio.sleep(GAP_SECONDS)  # many events are one picture
                        await runtime.changed(tick)
            except (DaemonError, SubagentsError) as error:
                self._show("head", Text(f"{printable(str(error))} (trying again)", "red"))
                await asyncio.sleep(AWAY_SECONDS)
            finally:
                self._runtime = None

    async def _draw(self, runtime: RemoteRuntime) -> None:
        async with self._drawing:
            views = await runtime.list_subagents(OPERATOR, ended=self._ended)
            self._views = {view.id: view for view in views}
            self._draw_table(views)
            await self._draw_chosen(runtime)

    def _draw_table(self, views: list[SubagentView]) -> None:
        rows, table = tree(views), self._table
        if [key.value for key in table.rows] == [row.id for row in rows]:
            for row in rows:
                for column, cell in zip(table.columns, row.cells, strict=True):
                    if table.get_cell(row.id, column).plain != cell:
                        table.update_cell(row.id, column, Text(cell), update_width=True)
            return
        chosen = self._chosen_id
        table.clear()
        for row in rows:
            table.add_row(*(Text(cell) for cell in row.cells), key=row.id)
        if chosen in self._views:
            table.move_cursor(row=table.get_row_index(chosen), animate=False)

    async def _draw_chosen(self, runtime: RemoteRuntime) -> None:
        view = self._views.get(self._chosen_id)
        if view is None:
            self._following = None
            self._show("head", Text("No open subagents. Keys: e shows ended ones, q leaves."))
            self._show("asks", Text(""))
            self._show("said", Text(""))
            return
        if self._following is None or self._following.subagent != view.id:
            self._following = Following(view.id, view.seq)
        self._show("head", _head(view))
        self._show("asks", _asks(view))
        found = await self._following.read(runtime)
        if self._shown != view.id:
            self._shown, found = view.id, True
            self._transcript.anchor()  # its end is seen, and whatever comes, until somebody scrolls up
        if found:
            self._show("said", _said(self._following))

    def _show(self, where: str, text: Text) -> None:
        self.query_one(f"#{where}", Static).update(text)

    async def on_data_table_row_highlighted(self) -> None:
        """Show another one."""
        if self._runtime is not None and (self._following is None or self._following.subagent != self._chosen_id):
            self._act(self._draw(self._runtime))

    @property
    def _chosen_id(self) -> str:
        table = self._table
        if not table.row_count:
            return ""
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value or ""

    # ---- what is done

    def _act(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do something beside the view; what goes wrong is told, and the view goes on."""

        async def told() -> None:
            try:
                await doing
            except (DaemonError, SubagentsError) as error:
                self.notify(printable(str(error)), severity="error", markup=False)

        self.run_worker(told())

    def _with_chosen(self, verb: Callable[[RemoteRuntime, SubagentView], Coroutine[Any, Any, None]]) -> None:
        view = self._views.get(self._chosen_id)
        if self._asking:
            return
        if view is None or self._runtime is None:
            self.notify("There is no subagent to do that with.", severity="warning", markup=False)
            return
        self._asking = True  # until the verb has passed `_asked`
        self._act(verb(self._runtime, view))

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Ask what a verb wants to know; until then a key begins no other verb, also between two dialogs of one."""
        try:
            yield
        finally:
            self._asking = False

    def action_answer(self) -> None:
        """Choose an answer to what the chosen one asks."""
        self._with_chosen(self._answer)

    async def _answer(self, runtime: RemoteRuntime, view: SubagentView) -> None:
        with self._asked():
            chosen, text = await self._choose(view)
        if chosen is not None and text is not None:
            await runtime.answer(OPERATOR, view.id, chosen.request, chosen.option or "", text=text)
            self.notify(f"{view.name} is answered", markup=False)

    async def _choose(self, view: SubagentView) -> "tuple[_Answer | None, str | None]":
        answers = [answer for request in view.requests for answer in _answers(request)]
        if not answers:
            self.notify(f"{view.name} asks nothing.", severity="warning", markup=False)
            return None, None
        number = await self.push_screen_wait(Choice(f"What {view.name} asks", [each.line for each in answers]))
        if number is None:
            return None, None
        chosen = answers[int(number)]
        if chosen.option is not None:
            return chosen, ""
        return chosen, await self.push_screen_wait(Line(f"Your answer to {view.name}: {chosen.line}"))

    def action_say(self) -> None:
        """Give the chosen one a message or its next task."""
        self._with_chosen(self._say)

    async def _say(self, runtime: RemoteRuntime, view: SubagentView) -> None:
        steer = view.steering and view.current_task is not None
        title = f"Into the running task of {view.name}" if steer else f"The next task of {view.name}"
        with self._asked():
            text = await self.push_screen_wait(Line(title))
        if text is None:
            return
        if view.status.over:
            await runtime.resume(OPERATOR, view.id, text)
            self.notify(f"{view.name} is starting again", markup=False)
        else:
            sent = await runtime.send(OPERATOR, view.id, text, mode="steer" if steer else "queue")
            self.notify(sent.sentence, markup=False)

    def action_cancel(self) -> None:
        """Cancel the task of the chosen one."""
        self._with_chosen(self._cancel)

    async def _cancel(self, runtime: RemoteRuntime, view: SubagentView) -> None:
        with self._asked():
            await runtime.cancel(OPERATOR, view.id, "cancelled by the operator")
        self.notify(f"{view.name}: its task is being cancelled", markup=False)

    def action_stop(self) -> None:
        """End the chosen one, after a question."""
        self._with_chosen(self._stop)

    async def _stop(self, runtime: RemoteRuntime, view: SubagentView) -> None:
        title = f"Stop {view.name}? What it did is kept."
        with self._asked():
            stop = await self.push_screen_wait(Choice(title, ("No, let it work", "Yes, stop it"))) == "1"
        if stop:
            ended = await runtime.stop(OPERATOR, view.id)
            self.notify(f"{ended.name}: {ended.status}", markup=False)

    def action_diff(self) -> None:
        """Show what the chosen one changed."""
        self._with_chosen(self._diff)

    async def _diff(self, runtime: RemoteRuntime, view: SubagentView) -> None:
        with self._asked():
            work = await runtime.work(OPERATOR, view.id)
            if work is None:
                self.notify(f"{view.name} is {view.status}: {_no_work(view)}", severity="warning", markup=False)
                return
            patch = work.patch.decode(errors="replace")
            cut = "" if len(patch) <= PATCH_CHARS else f"\n… cut; the whole: subagents work {view.id}\n"
            title = f"{view.name}: {work.files} changed, +{work.insertions} -{work.deletions}"
            await self.push_screen_wait(Patch(title, (patch[:PATCH_CHARS] + cut) or "(no files changed)"))

    def action_ended(self) -> None:
        """Show ended ones too, or no more."""
        self._ended = not self._ended
        if self._runtime is not None:
            self._act(self._draw(self._runtime))


@dataclass(frozen=True, slots=True)
class _Answer:
    """One way to answer a request; `option` is None where a text is asked for."""

    request: str
    option: str | None
    line: str


def _no_work(view: SubagentView) -> str:
    """Say why there is nothing to show of what one changed."""
    if not view.status.over:
        return "its work is taken out when it ends; x stops it"
    return "it ended before it had a session" if view.exported else "its work could not be taken out"


def _answers(request: RequestView) -> list[_Answer]:
    title = one_line(request.title, 200)
    found = [_Answer(request.id, each.id, f"{title}: {one_line(each.name, 80)}") for each in request.options]
    if request.writing:
        found.insert(0, _Answer(request.id, None, f"{title}: in words ({one_line(request.writing, 120)})"))
    return found


def _head(view: SubagentView) -> Text:
    task, spent, model = view.newest, view.spent, one_line(view.model or "", 80)
    used = f"{spent.tokens:,} tokens {cost(spent)}".strip() if spent.calls else "nothing used yet"
    lines = [
        f"{view.name} ({view.id}) of {one_line(view.parent, 80)}: {view.status}",
        f"{view.agent} {model} in {one_line(view.workspace, 100)}, {used}, {view.queued} queued",
        f"task {task.number}, {task.headline}: {one_line(task.text, CAUSE_CHARS)}",
    ]
    cause = next((each.trouble for each in view.tasks if each.trouble), "") or task.cause or view.cause
    if cause:
        lines.append(one_line(cause, CAUSE_CHARS))
    if view.unsafe:
        lines.append("UNSAFE: " + ", ".join(view.unsafe))
    return Text("\n".join(lines))


def _asks(view: SubagentView) -> Text:
    lines = []
    for request in view.requests:
        offered = [*(one_line(option.name, 60) for option in request.options), request.writing]
        names = " | ".join(filter(None, offered))
        until = f"  until {request.closes_at[11:16]} UTC" if request.closes_at else ""
        lines.append(f"asks: {one_line(request.title, CAUSE_CHARS)}  [{names}]{until}")
    return Text("\n".join(lines))


def _said(following: Following) -> Text:
    text = Text()
    for kind, said in following.lines():
        if kind:
            text.append(f"[{kind}] {said}\n", "dim")
        else:
            text.append(said if said.endswith("\n") else said + "\n")
    return text
