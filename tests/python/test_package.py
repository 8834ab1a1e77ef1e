"""What is shipped: types, versions, the wheel, the guide."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
import zipfile

from support import ROOT, Case, Daemon

PACKAGE = ROOT / "python"
SOURCES = sorted((PACKAGE / "slotd").glob("*.py"))
ENV = {**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
MODULES = {path.name for path in SOURCES}


def run(argv, **options):
    return subprocess.run([str(arg) for arg in argv], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, timeout=300, **options)


def python_with(*modules):
    """A Python that can import all of them, None where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        if os.access(python, os.X_OK) and run(
                [python, "-c", f"import {','.join(modules)}"]).returncode == 0:
            return python
    return None


class Sources(unittest.TestCase):
    def test_mypy_has_nothing_to_say(self):
        python = python_with("mypy")
        if python is None:
            self.skipTest("no mypy")
        with tempfile.TemporaryDirectory() as cache:
            done = run([python, "-m", "mypy", "--strict", "--python-version", "3.9", "--cache-dir",
                        cache, PACKAGE / "slotd", ROOT / "tests" / "python" / "typed_user.py"],
                       env={**ENV, "MYPYPATH": str(PACKAGE)}, cwd=cache)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_python_3_9_can_read_them(self):
        for path in SOURCES:
            text = path.read_text("utf-8")
            tree = ast.parse(text, str(path), feature_version=(3, 9))
            if path.name not in ("__init__.py", "_version.py"):
                self.assertIn("from __future__ import annotations", text, path)
            for node in ast.walk(tree):  # ast lets these pass
                self.assertNotIsInstance(node, getattr(ast, "Match", ()), path)
                self.assertNotIsInstance(node, getattr(ast, "TryStar", ()), path)

    def test_they_use_nothing_newer_nor_private_and_no_package_of_others(self):
        newer = re.compile(r"asyncio\.(timeout|TaskGroup|Runner|Barrier)\b|ExceptionGroup|anext\(|aiter\("
                           r"|zip\([^)]*strict=|itertools\.(pairwise|batched)|slots=True|kw_only=True"
                           r"|\.bit_count\(|asyncio\._|threading\._|_get_loop\b|\bfutures\._(?!_)")
        for path in SOURCES:
            text = path.read_text("utf-8")
            code = "\n".join(row for row in ast.unparse(ast.parse(text)).splitlines())
            without_docs = re.sub(r'"""(?s:.*?)"""', "", code)
            self.assertIsNone(newer.search(without_docs), (path, newer.search(without_docs)))
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                else:
                    continue
                for name in names:
                    self.assertIn(name.split(".")[0], STANDARD, path)

    def test_whatever_is_public_has_a_docstring(self):
        for path in SOURCES:
            tree = ast.parse(path.read_text("utf-8"))
            self.assertTrue(ast.get_docstring(tree), path)
            if path.name not in ("aio.py", "executor.py", "jobs.py", "completion.py", "errors.py"):
                continue
            for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
                if cls.name.startswith("_") or cls.name == "Jobs":
                    continue
                for node in (cls, *cls.body):
                    public = isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) \
                        and not node.name.startswith("_")
                    if public and node.name != "cancelled":
                        self.assertTrue(ast.get_docstring(node), f"{path}: {cls.name}.{node.name}")

    def test_version_and_licence_are_slotds(self):
        configure = (ROOT / "configure.ac").read_text("utf-8")
        version = re.search(r"AC_INIT\(\[slotd\], \[([^\]]*)\]", configure).group(1)
        said = run([sys.executable, "-c", "import slotd; print(slotd.__version__)"], env=ENV)
        self.assertEqual(said.stdout.strip(), version)
        self.assertEqual((PACKAGE / "LICENSE").read_bytes(), (ROOT / "LICENSE").read_bytes())


STANDARD = {"__future__", "ast", "asyncio", "atexit", "base64", "collections", "concurrent",
            "dataclasses", "enum", "functools", "itertools", "json", "os", "re", "secrets", "socket",
            "stat", "struct", "threading", "time", "typing", "warnings", "weakref"}


class Installed(Case):
    async def test_pip_installs_it_and_it_runs(self):
        python = python_with("setuptools", "wheel", "pip")  # pip first would hide distutils
        if python is None:
            self.skipTest("no Python with pip, setuptools and wheel")
        copy, target, wheels = (os.path.join(self.dir, d) for d in ("copy", "target", "wheels"))
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        offline = ["--no-build-isolation", "--no-index", "--no-deps"]
        env = {**os.environ, "HOME": self.dir, "PIP_CONFIG_FILE": os.devnull,
               "PIP_ROOT_USER_ACTION": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("PYTHONPATH", None)
        done = await self.in_thread(lambda: run([*pip, "wheel", *offline, "-w", wheels, copy], env=env))
        self.assertEqual(done.returncode, 0, done.stdout)
        (wheel,) = os.listdir(wheels)
        with zipfile.ZipFile(os.path.join(wheels, wheel)) as file:
            names = {re.sub(r"slotd-[^/]*\.dist-info", "info", name) for name in file.namelist()}
        info = {"METADATA", "RECORD", "WHEEL", "top_level.txt", "LICENSE"}
        self.assertEqual({name.replace("info/licenses/", "info/") for name in names},
                         {f"slotd/{name}" for name in MODULES | {"py.typed"}}
                         | {f"info/{name}" for name in info})
        done = await self.in_thread(lambda: run(
            [*pip, "install", *offline, "--target", target, os.path.join(wheels, wheel)], env=env))
        self.assertEqual(done.returncode, 0, done.stdout)
        program = os.path.join(self.dir, "program.py")
        shutil.copy(ROOT / "tests" / "python" / "typed_user.py", program)
        done = await self.in_thread(lambda: run([python, program, self.path], cwd="/",
                                                env={**env, "PYTHONPATH": target}))
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    async def test_offline_it_installs_as_the_guide_says(self):
        python = "/usr/bin/python3"
        modules = "import venv, ensurepip, setuptools, wheel"
        if not os.access(python, os.X_OK) or run([python, "-c", modules]).returncode != 0:
            self.skipTest("no Debian's python3-venv, python3-setuptools and python3-wheel")
        text = (PACKAGE / "README.md").read_text("utf-8")
        commands = re.findall(r"^(?:/usr/bin/python3 -m venv|v/bin/pip install) .*$", text, re.MULTILINE)
        self.assertEqual(len(commands), 2)
        shutil.copytree(PACKAGE, self.file("python"),
                        ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
        env = {"PATH": "/usr/bin:/bin", "HOME": self.dir, "PIP_CONFIG_FILE": os.devnull,
               "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = await self.in_thread(lambda: run(["sh", "-ec", "\n".join(commands)], env=env, cwd=self.dir))
        self.assertEqual(done.returncode, 0, done.stdout)
        left = set(os.listdir(self.file("python"))) - {path.name for path in PACKAGE.iterdir()}
        self.assertLessEqual(left, {"build", "slotd.egg-info"})
        done = await self.in_thread(lambda: run(
            [self.file("v/bin/python"), "-c", "import slotd; print(slotd.__file__)"], env=env, cwd="/"))
        self.assertIn(self.file("v/lib/"), done.stdout)

    async def test_the_typed_program_runs(self):
        done = await self.in_thread(lambda: run(
            [sys.executable, "-W", "error", ROOT / "tests" / "python" / "typed_user.py", self.path],
            env=ENV))
        self.assertEqual((done.returncode, done.stdout), (0, ""))


class Guide(Case):
    """Each block of README.md is a program; a block of text behind it is what it prints. One marked
    ``sh`` is for readers."""

    def blocks(self):
        text = (PACKAGE / "README.md").read_text("utf-8")
        return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    async def test_its_programs_print_what_it_says(self):
        blocks = self.blocks()
        programs = [n for n, (kind, _) in enumerate(blocks) if kind == "python"]
        self.assertGreater(len(programs), 8)
        work = os.path.join(self.dir, "work")
        os.mkdir(work)
        for n in programs:
            program = blocks[n][1]
            printed = blocks[n + 1][1] if n + 1 < len(blocks) and blocks[n + 1][0] == "text" else ""
            if re.search(r"^ *(await|async) ", program, re.MULTILINE) and "asyncio.run(" not in program:
                program = "import asyncio, slotd, slotd.aio\nasync def main():\n" + textwrap.indent(
                    ("" if "Client(" in program else "async with slotd.aio.Client() as client:\n")
                    + textwrap.indent(program, "" if "Client(" in program else "    "),
                    "    ") + "\nasyncio.run(main())\n"
            elif "SlotExecutor(" not in program and "executor." in program:
                program = ("import concurrent.futures, slotd\nwith slotd.SlotExecutor() as executor:\n"
                           + textwrap.indent(program, "    "))
            daemon = Daemon(self.dir, durability="memory", name=f"d{n}")  # one that is new
            await daemon.start()
            try:
                done = await self.in_thread(lambda: run(
                    [sys.executable, "-c", program], cwd=work,
                    env={**ENV, "SLOTD_SOCKET": str(daemon.socket)}))
            finally:
                await daemon.stop()
            with self.subTest(program=program):
                self.assertEqual((done.returncode, done.stdout), (0, printed))

    def test_it_names_every_error_and_every_member_of_a_spec(self):
        text = (PACKAGE / "README.md").read_text("utf-8")
        protocol = (ROOT / "docs" / "PROTOCOL.md").read_text("utf-8")
        spec = protocol.split("\n## The spec\n")[1].split("\nA job runs in a session")[0]
        members = set()
        for row in re.findall(r"^\| (`.*?) \|", spec, re.MULTILINE):
            members |= set(re.findall(r"`(\w+)`", row))
        self.assertGreater(len(members), 25)
        sys.path.insert(0, str(PACKAGE))
        import slotd
        errors = {name for name in slotd.__all__
                  if isinstance(getattr(slotd, name), type) and issubclass(getattr(slotd, name), Exception)}
        for name in sorted(members | errors):
            self.assertIn(f"`{name}`", text, name)


