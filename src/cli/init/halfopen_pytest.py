"""Written by `halfopen init pytest`, for halfopen __VERSION__. After an upgrade: remove this file and write it anew.

The fixture `halfopen_run` is a test of what a client makes of a server whose node loses its power:

    def client(lab):
        session = requests.Session()
        lab.every(1, lambda: session.get(lab.url, timeout=3))

    def test_recovers(halfopen_run):
        halfopen_run(client, within=10)

The client is a program of its own: a Python that imports the function, which must stand at its module's top level, and calls it in a
lab. What it does there reaches nothing outside. Time passes in the lab at once.

Environment: HALFOPEN names the program, if it is not in PATH. Where it or the virtual clock's kernel is missing, the test is
skipped, or fails with HALFOPEN_REQUIRE=1. HALFOPEN_CLOCK=real runs in real time. HALFOPEN_RECORDS is the folder for records of
failures, instead of pytest's own for temporary files.
"""

import importlib
import importlib.util
import inspect
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

VERSION = "__VERSION__"


class Lab:
    """What the client finds in the lab."""

    def __init__(self):
        self.url = os.environ.get("HALFOPEN_URL")  # of the service: http://service/, or tcp://service:8080 with `serve`
        self.address = os.environ.get("HALFOPEN_ADDRESS")  # the service's IP address and port
        self.ca = os.environ.get("HALFOPEN_CA")  # file with the certificate authority

    def every(self, pause, request):
        """Calls a request again and again, and says how each went: a second witness. It never returns."""
        while True:
            try:
                request()
                print("halfopen: ok", flush=True)
            except Exception as error:
                print(f"halfopen: error: {error!r}", flush=True)
            time.sleep(pause)


def run(client, folder_of, test, within=30, cause=None, phase=None, tls=False, serve=None, scenario=None):
    """Runs `client(lab)` in a lab, and fails the test if it does not recover as expected. It must go on until it is ended.

    within    the client must have recovered so many seconds after the fault
    cause     what must have ended its wait: one or more of docs/scenario.md, "Cause", with commas
    phase     lose the power when the client is idle, request_unacknowledged or waiting_for_response
    tls       the built-in HTTP servers speak TLS; SSL_CERT_FILE and REQUESTS_CA_BUNDLE name their authority
    serve     the servers instead of the built-in ones: `serve(host, port)`, which goes on
    scenario  a scenario file of your own instead of all of the above
    """
    import pytest

    __tracebackhide__ = True
    if serve and tls:
        pytest.fail("halfopen: tls is for the built-in servers; with serve it is the servers' own affair", pytrace=False)
    for function in filter(None, (client, serve)):
        name = getattr(function, "__qualname__", repr(function))
        if name != getattr(function, "__name__", None) or name == "<lambda>":
            pytest.fail(f"halfopen: {name} must stand at its module's top level: another Python imports it", pytrace=False)
    program = _program(pytest)
    folder = folder_of()
    path = _launchers(folder, client, serve)
    clock = os.environ.get("HALFOPEN_CLOCK") or "virtual"
    own = scenario is not None

    def execute(name, duration):
        file = folder / f"{name}.yaml"
        if not own:
            file.write_text(_scenario(test, duration, within, cause, phase, tls, serve))
        return _execute(program, scenario if own else file, clock, folder / name, path)

    code, told, stderr, record = execute("run", "")
    if code == 1 and not own and clock == "virtual":
        # In virtual time the failure can be followed to its end: the kernel's own, after a quarter of an hour.
        longer = execute("outage", "duration: 1200s")
        if longer[0] == 1:
            code, told, stderr, record = longer
    if code == 0:
        print(told, end="")
        shutil.rmtree(folder, ignore_errors=True)
    elif code == 3 and told is None:
        shutil.rmtree(folder, ignore_errors=True)
        _missing(pytest, stderr.strip())
    elif code == 2:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.fail(f"halfopen refuses the scenario\n{stderr}", pytrace=False)
    else:
        kept = f"kept: {folder} (halfopen explain {record})"
        pytest.fail(f"halfopen, exit code {code}: {told or ''}{stderr}{kept}", pytrace=False)


def _execute(program, scenario, clock, record, path):
    """Its exit code, its brief report if it began, its standard error, and where the record is."""
    brief = record.with_suffix(".txt")
    command = [program, "run", scenario, "--quiet", "--clock", clock, "--record", record]
    command += ["--report", f"brief={brief}", "--report", f"json={record}.json"]
    running = subprocess.Popen(command, env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        stderr = running.communicate()[1].decode(errors="replace")
    except BaseException:
        # Ctrl-C, or a time limit: halfopen ends what it has started.
        running.terminate()
        running.wait()
        raise
    return running.returncode, brief.read_text() if brief.exists() else None, stderr, record


def _program(pytest):
    program = os.environ.get("HALFOPEN") or shutil.which("halfopen")
    if program is None:
        _missing(pytest, "there is no halfopen in PATH, and HALFOPEN names none")
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.fail(f"halfopen: {program} --version: {error}", pytrace=False)
    version = said.removeprefix("halfopen ").strip()
    if version != VERSION:
        own = os.path.basename(__file__)
        mend = f"{own} was written for {VERSION}: remove that file and run `halfopen init pytest`"
        pytest.fail(f"halfopen: {program} is version {version}, and {mend}", pytrace=False)
    return program


def _missing(pytest, why):
    if os.environ.get("HALFOPEN_REQUIRE") == "1":
        pytest.fail(f"halfopen: {why}", pytrace=False)
    pytest.skip(f"halfopen: {why} (HALFOPEN_REQUIRE=1 makes this a failure)")


def _launchers(folder, client, serve):
    """Writes the programs halfopen-test-client and halfopen-test-server, and returns the PATH with them.

    What PATH names can be seen in the lab, in folders for temporary files as well: Python itself, and what it imports.
    """
    programs = folder / "bin"
    programs.mkdir()
    modules = [entry for entry in sys.path if entry]
    seen = [str(programs), os.environ.get("PATH", os.defpath), os.path.dirname(sys.executable), *modules]
    for role, function in (("client", client), ("server", serve)):
        if function is None:
            continue
        file = os.path.abspath(inspect.getfile(function))
        seen.append(os.path.dirname(file))
        command = [sys.executable, "-u", os.path.abspath(__file__), role, function.__module__, function.__name__, file]
        exports = [f"PYTHONPATH={os.pathsep.join(modules)}", f"LD_LIBRARY_PATH={os.environ.get('LD_LIBRARY_PATH', '')}"]
        launcher = programs / f"halfopen-test-{role}"
        launcher.write_text(f'#!/bin/sh\nexport {shlex.join(exports)}\nexec {shlex.join(command)} "$@"\n')
        launcher.chmod(0o755)
    return os.pathsep.join(seen)


def _scenario(test, duration, within, cause, phase, tls, serve):
    server, port, url = "app: echo", "80", "http://service/"
    if serve:
        server = 'port: 8080, exec: { command: [halfopen-test-server, "{self}", "{port}"], memory: 512MiB }'
        port, url = "8080", "tcp://service:8080"
    elif tls:
        server, port, url = "app: echo, tls: true", "443", "https://service/"
    values = {
        "NAME": '"' + re.sub(r'["\\]', "'", test) + '"',
        "SERVER": server,
        "PORT": port,
        "URL": url,
        "WHEN": f"when: {{ client: test, phase: {phase}, after: 10s }}" if phase else "at: 10s",
        "WITHIN": f"{round(within * 1000)}ms",
        "CAUSE": f", cause: [{cause}]" if cause else "",
        "DURATION": duration,
    }
    return re.sub("|".join(values), lambda found: values[found[0]], SCENARIO)


def _inside(role, module, name, file, *arguments):
    """The client, or a server, in the lab."""
    try:
        function = getattr(_module(module, file), name)
        result = function(Lab()) if role == "client" else function(arguments[0], int(arguments[1]))
        print(f"halfopen: the {role} returned ({result!r}): it must go on until it is ended")
    except Exception:
        print(f"halfopen: the {role} raised an exception")
        # Without the lines of this file.
        kind, error, trace = sys.exc_info()
        traceback.print_exception(kind, error, trace.tb_next, limit=-3)
    sys.exit(1)


def _module(name, file):
    """The module of that name and file, however pytest has imported it (`--import-mode`)."""
    try:
        module = importlib.import_module(name)
        if os.path.abspath(module.__file__ or "") == file:
            return module
    except ImportError:
        pass
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


SCENARIO = """\
__SCENARIO__"""

if __name__ == "__main__":
    _inside(*sys.argv[1:])
else:
    import pytest

    @pytest.fixture
    def halfopen_run(request):
        """`halfopen_run(client, within=30, …)`: see `run` above, and the beginning of this file."""

        def folder():
            prefix = "halfopen-" + re.sub(r"\W+", "-", request.node.name)
            records = os.environ.get("HALFOPEN_RECORDS")
            if not records:
                return request.getfixturevalue("tmp_path_factory").mktemp(prefix)
            os.makedirs(records, exist_ok=True)
            return pathlib.Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=os.path.abspath(records)))

        def start(client, **options):
            __tracebackhide__ = True
            run(client, folder, request.node.name, **options)

        return start
