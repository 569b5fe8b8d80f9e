"""What a person sees on a terminal, and that an agent's words never become commands of it."""

import re
import subprocess

import pytest

from tests.e2e.stage import Stage

NASTY = "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x9b1mbold \u202eevil\u2066 \x08\x7f\u200b\r\x1bPdcs\x1b\\ end"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def screen(out: bytes) -> str:
    """Return what was written to the terminal, whose own line ends are CR LF."""
    return out.decode().replace("\r\n", "\n")


def test_a_person_sees_progress_the_last_message_a_diffstat_and_a_line_that_applies_it(stage: Stage):
    done = stage.on_terminal("[[write:new.txt|made]][[failtool:build]][[say:All done.]]").end()
    shown = screen(done.out)
    assert done.code == 0, shown
    order = ["scripted-agent 1 is ready", "✓ edit: write new.txt", "✗ other: build", "All done.", ": completed"]
    order += [" new.txt | 1 +", "1 file changed, 1 insertion(+)", "apply it with: git -C "]
    places = [shown.find(words) for words in order]
    assert -1 not in places, shown
    assert places == sorted(places), shown
    subprocess.run(["sh", "-c", shown.rpartition("apply it with: ")[2]], check=True, cwd="/")
    assert (stage.repository / "new.txt").read_text() == "made"


@pytest.mark.parametrize("where", ["in part/of it", "not a repository's"])
def test_the_line_that_applies_the_work_fits_every_kind_of_folder(stage: Stage, where: str):
    folder = (stage.repository if "part" in where else stage.root) / where
    folder.mkdir(parents=True)
    (folder / "old.txt").write_text("old\n")
    done = stage.on_terminal("[[write:sub/new.txt|made]][[run:rm old.txt]]", workspace=str(folder)).end()
    shown = screen(done.out)
    subprocess.run(["sh", "-c", shown.rpartition("apply it with: ")[2]], check=True, cwd="/")
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.txt")] == ["sub/new.txt"], shown


def test_what_an_agent_says_and_names_cannot_control_the_terminal(stage: Stage):
    script = f"[[failtool:{NASTY}]][[run:printf '%s' x #{NASTY}]][[write:{NASTY.replace('/', '')}|x]][[say:{NASTY}]]"
    stage.kind("scripted", "--noise-at-start")
    stage.write_config()
    done = stage.on_terminal(script, "--check", f"printf '%s' '{NASTY}'").end()
    shown = screen(done.out)
    assert "redbold evil" in shown
    assert FORBIDDEN.findall(shown) == [], shown


def test_a_check_that_fails_is_told_plainly(stage: Stage):
    done = stage.run("[[say:done]]", "--check", f"printf '%s' '{NASTY}'; exit 1")
    assert "redbold evil" in done.err
    assert FORBIDDEN.findall(done.err) == []


@pytest.mark.parametrize(
    ("end", "form"),
    [
        ("[[ask:{}]]", "text"),
        ("[[error:1|{}]]", "text"),
        ("[[stop:{}]]", "patch"),
        ("[[raw:{}]][[kill]]", "json"),
        ("[[failtool:{0}]][[say:{0}]]", "json"),
    ],
)
def test_no_end_of_a_task_lets_control_characters_out(stage: Stage, end: str, form: str):
    done = stage.run(end.format(NASTY), "--output", form)
    assert FORBIDDEN.findall(done.err) == [], done.err
    assert FORBIDDEN.findall(done.out.decode()) == []


def test_what_an_agent_writes_as_it_dies_at_its_start_is_told_plainly(stage: Stage):
    argv = ["/bin/sh", "-c", "printf '\\033[31mI cannot\\007 start\\302\\233' >&2; exit 3"]
    stage.kinds["scripted"] = f"[agents.scripted]\nargv = {argv}\n"
    stage.write_config()
    done = stage.run("anything")
    assert done.code == 1
    assert "it wrote: I cannot start" in done.err
    assert FORBIDDEN.findall(done.err) == []


def test_twenty_thousand_updates_are_a_few_lines(stage: Stage):
    done = stage.on_terminal("[[updates:20000]][[failtool:end]][[say:the last]]").end()
    assert done.code == 3
    shown = screen(done.out)
    assert shown.count("\n") < 20, shown
    assert "\nthe last\n" in shown


def test_a_message_that_is_too_long_to_keep_is_said_to_be_cut(stage: Stage):
    done = stage.run("[[updates:20000]]", "--output", "text")
    assert "(the message goes on; these are its first 65536 characters)" in done.out.decode()


def test_three_thousand_tool_calls_are_a_few_lines_that_say_how_many_are_missing(stage: Stage):
    done = stage.run("[[failtool:again]]" * 3000, "--output", "json", "--allow-empty")
    assert done.lines[-1]["tools"]["failed"] == 3000
    told = done.err.count("✗ other: again")
    assert 10 < told < 1000, "60 at once and 2 a second are the limit"
    assert told + sum(int(number) for number in re.findall(r"… (\d+) more", done.err)) == 3000


def test_quiet_says_nothing_of_a_run_that_goes_well(stage: Stage):
    done = stage.run("-q", "[[write:new.txt|made]]")
    assert (done.code, done.err) == (0, "")
    assert b"+made" in done.out


def test_quiet_still_tells_why_a_run_failed(stage: Stage):
    done = stage.run("-q", "[[stop:refusal]]")
    assert done.code == 4
    assert re.fullmatch(r"[a-z]+-[a-z]+: refused: the agent refused the task\n", done.err)


def test_ctrl_c_typed_on_the_terminal_cancels_and_shows_the_work(stage: Stage):
    done = stage.on_terminal("[[write:half.txt|half]][[hang-politely]]").until("✓ edit", "out").type(b"\x03").end()
    assert done.code == 130
    shown = screen(done.out)
    assert "cancelled: cancelled by Ctrl-C" in shown
    assert " half.txt | 1 +" in shown


def test_ctrl_c_typed_twice_stops_an_agent_that_hangs(stage: Stage):
    stage.write_config("[limits]\ncancel_grace = 3600")
    running = stage.on_terminal("[[write:half.txt|half]][[hang]]").until("✓ edit", "out").type(b"\x03")
    done = running.until("press Ctrl-C again", "out").type(b"\x03").end()
    assert done.code == 130
    assert " half.txt | 1 +" in screen(done.out)
