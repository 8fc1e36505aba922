"""The command as a process: what it imports, its streams and its signals."""

import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = "import sys; from sb3_spiking_cli import command; sys.exit(command())"
HEAVY = ("torch", "numpy", "gymnasium", "stable_baselines3", "sb3_spiking", "rich")


def run(*words, script=COMMAND, **kwargs):
    return subprocess.run([sys.executable, "-c", script, *words], text=True, check=False, timeout=120, **kwargs)


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--help"], 0), (["--version"], 0), (["convert", "--help"], 0), (["no-such"], 2), (["watch", "--no-such"], 2)],
)
def test_what_needs_no_library_imports_none(words, code):
    script = (
        "import atexit, sys; from sb3_spiking_cli import command; "
        f"atexit.register(lambda: print('heavy:', [name for name in {HEAVY} if name in sys.modules])); "
        "sys.exit(command())"
    )
    result = run(*words, script=script, capture_output=True)
    assert result.returncode == code
    assert result.stdout.endswith("heavy: []\n")


def test_completion_imports_no_library():
    pytest.importorskip("shtab", reason="completion is an extra")
    script = COMMAND.replace("import sys;", "import sys; sys.modules['torch'] = None;")
    result = run("--print-completion", "bash", script=script, capture_output=True)
    assert result.returncode == 0
    assert "--sweep-threshold" in result.stdout


@pytest.mark.skipif(os.name == "nt", reason="of POSIX")
def test_a_closed_standard_output_is_no_error(tmp_path):
    """Nor may a file that is opened later become the standard output."""
    script = (
        "import os, sys; os.close(1); sys.stdout = None\n"
        "from sb3_spiking_cli import process\n"
        "process.prepare()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); print('not for the file', flush=True)\n"
        "os.write(1, b'nor this'); print(file.fileno(), file=sys.stderr); sys.exit(process.settle(0))"
    )
    result = run(script=script, capture_output=True)
    assert (result.returncode, result.stdout) == (0, "")
    assert int(result.stderr) > 2
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.skipif(os.name == "nt", reason="of POSIX")
def test_work_goes_on_when_its_reader_has_left(tmp_path):
    script = (
        "import sys; from sb3_spiking_cli import process; process.prepare()\n"
        "print('first', flush=True); sys.stdin.readline()\n"
        "for _ in range(10_000): print('x' * 100)\n"
        f"open({str(tmp_path / 'done')!r}, 'w'); sys.exit(process.settle(0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    _, said = process.communicate(b"\n", timeout=60)
    assert (process.returncode, said) == (0, b"")
    assert (tmp_path / "done").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")  # noqa: PTH110 (a device)
def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = run("--version", stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 2
    assert result.stderr == "sb3-spiking: error: standard output: No space left on device\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_text_can_be_printed_anywhere(encoding):
    script = "from sb3_spiking_cli import process; process.prepare(); print('\\u2192 \\udcff')"
    result = run(script=script, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert result.returncode == 0
    assert result.stdout == "\\u2192 \\udcff\n"


@pytest.mark.skipif(os.name == "nt", reason="of POSIX")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_is_quiet_and_cleans_up(tmp_path, sent, code):
    script = (
        "import sys, time, types, pathlib; import sb3_spiking_cli\n"
        f"half = pathlib.Path({str(tmp_path / 'half')!r})\n"
        "def run(args):\n"
        "    try:\n"
        "        half.touch(); print('working', flush=True); time.sleep(60)\n"
        "    finally:\n"
        "        half.unlink()\n"
        "sys.modules['sb3_spiking'] = types.ModuleType('sb3_spiking')\n"
        "sys.modules['sb3_spiking.cli'] = module = types.ModuleType('sb3_spiking.cli'); module.run = run\n"
        "sys.exit(sb3_spiking_cli.command())"
    )
    words = [sys.executable, "-c", script, "info"]
    # A test run in the background ignores interrupts, and what it starts would inherit that.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, heard)
    assert process.stdout.readline() == "working\n"
    time.sleep(0.1)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, "")
    assert not list(tmp_path.iterdir())


def test_the_parser_offers_what_the_library_has():
    from sb3_spiking.cli.convert import CONSTANTS
    from sb3_spiking.conversion.methods import DEFAULT, METHODS
    from sb3_spiking.evaluation import rollout
    from sb3_spiking_cli import environment, make_parser
    from sb3_spiking_cli.convert import CODINGS

    assert set(CODINGS) == set(METHODS)
    assert CODINGS[0] == DEFAULT
    options = {action.dest for action in make_parser()._subparsers._group_actions[0].choices["convert"]._actions}
    assert options > CONSTANTS
    assert environment.MAX_STEPS == rollout.MAX_STEPS
