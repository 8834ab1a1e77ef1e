"""slotctl run with a terminal: the job gets a pty that slotctl relays."""

import shutil
import signal
import subprocess

from slottest import Case, Terminal, eventually, find_binary, limit, scaled, wait_gone


class InATerminal(Case):
    def terminal(self, *args, rows=24, cols=80):
        term = Terminal([find_binary("slotctl"), *args], self.ctl.env, str(self.tmp), rows, cols)
        self.addCleanup(term.close)
        return term

    def terminal_of(self, *argv):
        term = Terminal(argv, self.ctl.env, str(self.tmp))
        self.addCleanup(term.close)
        return term

    def run_in(self, *argv, **more):
        return self.terminal("run", "--", *argv, **more)


class Pty(InATerminal):
    async def test_the_job_has_a_terminal_of_the_same_size(self):
        term = self.run_in("sh", "-c", "tty; stty size; echo err >&2", rows=31, cols=97)
        await term.expect(rb"/dev/pts/\d+\r\n31 97\r\nerr\r\n")
        self.assertEqual(await term.wait(), 0)

    async def test_it_is_the_jobs_controlling_terminal(self):
        term = self.run_in("sh", "-c", "echo hello >/dev/tty; ps -o tty= -p $$")
        await term.expect(rb"hello\r\n\s*pts/\d+")
        self.assertEqual(await term.wait(), 0)

    async def test_exit_status(self):
        term = self.run_in("sh", "-c", "exit 7")
        self.assertEqual(await term.wait(), 7)
        term = self.run_in("sh", "-c", "kill -9 $$")
        self.assertEqual(await term.wait(), 137)
        term = self.run_in("no-such-command-anywhere")
        self.assertEqual(await term.wait(), 127)

    async def test_typing_reaches_the_job(self):
        term = self.run_in("sh", "-c", "echo ready; read x; echo \"<$x>\"")
        await term.expect(rb"ready")
        term.type(b"typed\r")
        await term.expect(rb"<typed>")
        self.assertEqual(await term.wait(), 0)

    async def test_end_of_file_typed(self):
        term = self.run_in("sh", "-c", "echo ready; cat; echo over")
        await term.expect(rb"ready")
        term.type(b"line\r")
        await term.expect(rb"line\r\nline\r\n")
        term.type(b"\x04")
        await term.expect(rb"over")
        self.assertEqual(await term.wait(), 0)

    async def test_ctrl_c_is_the_jobs(self):
        term = self.run_in("sh", "-c", "trap 'echo caught; exit 6' INT; echo ready; "
                                       "while :; do sleep 0.05; done")
        await term.expect(rb"ready")
        term.type(b"\x03")
        await term.expect(rb"caught")
        self.assertEqual(await term.wait(), 6)

    async def test_resize_passes_through(self):
        term = self.run_in("sh", "-c", "trap 'stty size' WINCH; stty size; "
                                       "while :; do sleep 0.05; done")
        await term.expect(rb"24 80")
        term.resize(40, 132)
        await term.expect(rb"40 132")
        term.resize(10, 20)
        await term.expect(rb"10 20")
        term.popen.send_signal(signal.SIGTERM)
        self.assertEqual(await term.wait(), 143)

    async def test_the_terminals_modes_are_restored(self):
        for script, status in (("exit 0", 0), ("exit 3", 3), ("stty raw -echo; exit 0", 0),
                               ("kill -9 $$", 137)):
            term = self.run_in("sh", "-c", script)
            before = term.before
            self.assertEqual(await term.wait(), status)
            self.assertEqual(term.modes(), before, script)

    async def test_modes_are_restored_when_the_daemon_dies(self):
        term = self.run_in("sh", "-c", "echo ready; sleep 300")
        await term.expect(rb"ready")
        await self.d.kill()
        self.assertEqual(await term.wait(), 125)
        self.assertEqual(term.modes(), term.before)

    async def test_a_killed_slotctl_takes_the_job_with_it(self):
        mark = self.mark("pid")
        term = self.run_in("sh", "-c", 'echo $$ >"$1"; exec sleep 300', "sh", mark.path)
        pid = await mark.pid()
        term.popen.kill()
        await term.wait()
        await wait_gone(pid)

    async def test_a_terminal_that_hangs_up_ends_the_job(self):
        mark = self.mark("pid")
        term = self.run_in("sh", "-c", 'echo $$ >"$1"; exec sleep 300', "sh", mark.path)
        pid = await mark.pid()
        term.popen.send_signal(signal.SIGHUP)
        await term.wait()
        await wait_gone(pid)

    async def test_in_the_background_it_is_not_stopped(self):
        """Modes and keys of the terminal are those of who is in front."""
        term = self.terminal_of("sh", "-c", "set -m; \"$0\" run -- sh -c 'echo out; exit 3' & "
                                "wait $!; echo status $?", find_binary("slotctl"))
        await term.expect(rb"out\r\n(.|\n)*status 3\r\n")
        self.assertEqual(await term.wait(), 0)
        self.assertEqual(term.modes(), term.before)

    async def test_brought_to_the_front_it_takes_the_keys(self):
        term = self.terminal_of("bash", "-c", "set -m; \"$0\" run -- sh -c 'echo out; read x; "
                                "echo \"<$x>\"' & echo back; read go; fg >/dev/null",
                                find_binary("slotctl"))
        await term.expect(rb"out\r\n")
        term.type(b"go\r")

        def taken():
            return term.modes() != term.before
        await eventually(taken, 20, "the terminal is raw")
        term.type(b"typed\r")
        await term.expect(rb"<typed>")
        self.assertEqual(await term.wait(), 0)

    async def test_a_large_output_comes_whole(self):
        term = self.run_in("sh", "-c", "seq 1 20000; echo the-end")
        await term.expect(rb"\r\n19999\r\n20000\r\nthe-end\r\n")
        self.assertEqual(await term.wait(), 0)

    async def test_a_pipe_on_stdout_gets_no_pty(self):
        done = await self.ctl.run("run", "--", "sh", "-c", "test -t 1 && echo tty || echo no tty")
        self.assertEqual(done.text, "no tty\n")

    async def test_ctrl_z_stops_nothing_of_the_relay(self):
        """^Z goes to the job, which has no shell around it that could wake it; CONT does."""
        term = self.run_in("sh", "-c", "trap '' TSTP; echo ready; read x; echo \"<$x>\"")
        await term.expect(rb"ready")
        term.type(b"\x1a")
        term.type(b"on\r")
        await term.expect(rb"<on>")
        self.assertEqual(await term.wait(), 0)

    async def test_less_pages_a_file(self):
        if not shutil.which("less"):
            self.skipTest("no less")
        path = self.tmp / "text"
        path.write_text("".join(f"line-{i}\n" for i in range(1, 201)))
        term = self.run_in("less", str(path))
        await term.expect(rb"line-20\b")
        term.type(b"G")
        await term.expect(rb"line-200\b")
        term.type(b"g")
        await term.expect(rb"line-1\b")
        term.type(b"q")
        self.assertEqual(await term.wait(), 0)


class Restart(InATerminal):
    """The terminal is slotctl's: a daemon that is killed and comes back takes nothing from it."""

    durability = "full"

    async def test_typing_size_and_ctrl_c_go_on(self):
        term = self.run_in("sh", "-c", "trap 'stty size' WINCH; trap 'echo caught; exit 6' INT; "
                           "echo ready; read x; echo \"<$x>\"; while :; do sleep 0.05; done")
        await term.expect(rb"ready")
        await self.d.restart()
        term.type(b"typed\r")
        await term.expect(rb"<typed>")
        term.resize(40, 132)
        await term.expect(rb"40 132")
        await self.d.restart(signal.SIGTERM)
        term.type(b"\x03")
        await term.expect(rb"caught")
        self.assertEqual(await term.wait(), 6)
        self.assertEqual(term.modes(), term.before)


class Tmux(Case):
    async def asyncSetUp(self):
        if not shutil.which("tmux"):
            self.skipTest("no tmux")
        await super().asyncSetUp()
        self.env = {**self.ctl.env, "TMUX_TMPDIR": str(self.tmp), "TERM": "screen",
                    "LC_ALL": "C.UTF-8"}

    def tmux(self, *args, check=True):
        done = subprocess.run(["tmux", "-f", "/dev/null", "-L", "t", *args], env=self.env,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=scaled(20))
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    async def asyncTearDown(self):
        if hasattr(self, "env"):
            self.tmux("kill-server", check=False)
        await super().asyncTearDown()

    def screen(self):
        return self.tmux("capture-pane", "-p", "-t", "s")

    def shows(self, text, not_text):
        screen = self.screen()
        return text in screen and not_text not in screen

    def open(self, command, rows=24, cols=80):
        self.tmux("new-session", "-d", "-s", "s", "-x", str(cols), "-y", str(rows),
                  f"{find_binary('slotctl')} run -- {command}; echo status=$?; exec cat")

    async def test_a_full_screen_program(self):
        if not shutil.which("less"):
            self.skipTest("no less")
        path = self.tmp / "text"
        path.write_text("".join(f"line-{i}\n" for i in range(1, 201)))
        self.open(f"less {path}")
        await eventually(lambda: "line-23" in self.screen(), 15, "a screen full of lines")
        self.assertNotIn("line-24", self.screen())
        self.tmux("send-keys", "-t", "s", "G")
        await eventually(lambda: "line-200" in self.screen(), 15, "the last line")
        self.tmux("send-keys", "-t", "s", "g")
        await eventually(lambda: "line-1\n" in self.screen(), 15, "the first line")
        self.tmux("resize-window", "-t", "s", "-x", "60", "-y", "12")
        await eventually(lambda: self.shows("line-11", "line-12\n"), 15, "the smaller screen")
        self.tmux("resize-window", "-t", "s", "-x", "100", "-y", "40")
        await eventually(lambda: "line-39" in self.screen(), 15, "the larger screen")
        self.tmux("send-keys", "-t", "s", "q")
        await eventually(lambda: "status=0" in self.screen(), 15, "the end")

    @limit(90)
    async def test_top_draws_and_leaves(self):
        if not shutil.which("top"):
            self.skipTest("no top")
        self.open("top -d 1")
        await eventually(lambda: self.shows("%CPU", "status="), 20, "top's table")
        self.tmux("send-keys", "-t", "s", "q")
        await eventually(lambda: "status=0" in self.screen(), 15, "the end")

    async def test_a_closed_window_ends_the_job(self):
        mark = self.mark("pid")
        self.open(f"sh -c 'echo $$ >{mark.path}; exec sleep 300'")
        pid = await mark.pid()
        self.tmux("kill-session", "-t", "s")
        await wait_gone(pid)
