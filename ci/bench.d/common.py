"""What every benchmark needs: the program, its runs, and statistics."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HALFOPEN = pathlib.Path(os.environ.get("HALFOPEN", ROOT / "target/release/halfopen"))
SCENARIOS = ROOT / "fixtures/scenarios"
A1 = ROOT / "scenarios/incidents/a1-leader-election-h2.yaml"


def progress(text):
    print(text, file=sys.stderr, flush=True)


def figure(name, values, unit, goal=None, **more):
    """A line of the result: the median and the worst of `values`."""
    return {"name": name, "unit": unit, "median": statistics.median(values), "worst": max(values), "runs": len(values),
            "goal": goal, **more}


def skipped(name, why):
    return {"name": name, "skipped": why}


class NotMeasured(Exception):
    """A run that is no measurement, and why."""


def part(name, measure, *arguments):
    """The figures of one part; what can't be measured here and now takes no other part with it."""
    try:
        return measure(*arguments)
    except NotMeasured as why:
        return [skipped(name, str(why))]


class Run:
    """One call of `halfopen run`, to its end."""

    def __init__(self, arguments, record=False):
        with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as folder:
            report = f"{folder}/report.json"
            command = [HALFOPEN, "run", *arguments, "--report", f"json={report}"]
            if record:
                command += ["--record", f"{folder}/records"]
            begun = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            errors = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            self.wall_s = time.monotonic() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
            self.user_s, self.system_s = usage.ru_utime, usage.ru_stime
            self.exit = process.returncode
            # 3: a case could not be run, which the report tells of, if there is one.
            if self.exit not in (0, 1, 3) or not pathlib.Path(report).exists():
                raise NotMeasured(f"{' '.join(map(str, command))}: exit {self.exit}; {errors.strip()}")
            self.cases = json.loads(pathlib.Path(report).read_text())["cases"]
            records = sorted(pathlib.Path(folder).glob("records/*.ndjson"))
            self.records = [[json.loads(line) for line in path.open()] for path in records]

    @property
    def not_passed(self):
        return [case["case"] for case in self.cases if case["verdict"] not in ("pass", "measured")]


def passing(arguments, **more):
    """A run in which every case must pass: what fails is no measurement."""
    run = Run(arguments, **more)
    if run.not_passed:
        case = next(case for case in run.cases if case["case"] in run.not_passed)
        why = (case.get("reason") or {}).get("text") or "see `halfopen run`"
        raise NotMeasured(f"{len(run.not_passed)} of {len(run.cases)} cases did not pass, the first one with {case['verdict']}: {why}")
    return run


def many(scenario, client, count, folder, spread_ms=1):
    """A copy of a scenario file with `count` cases that differ only in when the client starts."""
    text = pathlib.Path(scenario).read_text().rstrip("\n")
    starts = ", ".join(f"{n * spread_ms}ms" for n in range(count))
    path = pathlib.Path(folder) / f"{count}-{pathlib.Path(scenario).name}"
    path.write_text(f"{text}\nmatrix:\n  clients.{client}.start: [{starts}]\n")
    return path
