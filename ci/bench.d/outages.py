"""Outages of 15 minutes on the virtual clock, and both clocks on the same outage."""
import pathlib
import subprocess
import tempfile
import time

from common import A1, HALFOPEN, NotMeasured, ROOT, SCENARIOS, figure, many, part, passing, progress, skipped

DAY = 92


def run(rounds):
    why = missing()
    if why:
        return [skipped("outages on the virtual clock", why)]
    return [
        *part("A1 on the virtual clock", one, rounds),
        *part("A1 with probes and without", probes, rounds),
        *part("a day of outages", day, rounds),
        *part("all of scenarios/incidents in one run", incidents, rounds),
    ]


def missing():
    """Why there is no virtual clock here, if so."""
    probe = subprocess.run([HALFOPEN, "run", "--clock", "virtual", SCENARIOS / "set-up.yaml"], capture_output=True,
                           text=True)
    return (probe.stderr or probe.stdout).strip() if probe.returncode not in (0, 1) else None


def one(rounds):
    progress(f"A1 on the virtual clock, {rounds} times …")
    runs, short, listed = [], [], []
    # By turns, so that what else the machine does hits all alike.
    for _ in range(rounds):
        runs.append(passing(["--clock", "virtual", A1]))
        short.append(passing(["--clock", "virtual", SCENARIOS / "set-up.yaml"]).wall_s)
        begun = time.monotonic()
        subprocess.run([HALFOPEN, "list", A1], stdout=subprocess.DEVNULL, check=True)
        listed.append(time.monotonic() - begun)
    walls = [run.wall_s for run in runs]
    wall = figure("A1 on the virtual clock, from the shell", walls, "s", goal="≤ 1 s (aim 0.6 s)")
    virtual = runs[0].cases[0]["duration_s"]
    plan, base = figure("  of this: program start, scenario, plan", listed, "s"), figure("", short, "s")
    return [
        wall,
        figure("A1: virtual seconds a second of wall time", [virtual / w for w in walls], "times") | {"worst": virtual / max(walls)},
        plan,
        parted("  of this: guest's boot, lab, power-off", base, plan),
        parted("  of this: the outage and its verdict", wall, base),
        figure("  CPU time: user", [run.user_s for run in runs], "s"),
        figure("  CPU time: system", [run.system_s for run in runs], "s"),
    ]


def probes(rounds):
    """What looking costs: A1 with all probes and its packets kept, by turns with the same and none of that."""
    progress(f"A1 with probes and without, {rounds} times …")
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as folder:
        folder = pathlib.Path(folder)
        off = folder / "off.yaml"
        off.write_text(A1.read_text() + "\nprobes: { sockets: off, counters: off, rules: off, packets: off }\n")
        runs = {"on": [], "recording": [], "off": []}
        for number in range(rounds):
            runs["on"].append(passing(["--clock", "virtual", A1]))
            runs["recording"].append(passing(["--clock", "virtual", "--record", folder / f"on-{number}", A1]))
            runs["off"].append(passing(["--clock", "virtual", off]))
    base = [run.wall_s for run in runs["off"]]
    ratio = lambda kind: [run.wall_s / wall for run, wall in zip(runs[kind], base)]
    return [
        figure("A1 with probes, wall time over that without", ratio("on"), "times", goal="≤ 1.10"),
        figure("A1 with probes, record and packets kept, the same", ratio("recording"), "times"),
    ]


def incidents(rounds):
    progress("all incidents in one run …")
    walls = []
    for _ in range(max(2, rounds // 10)):
        begun = time.monotonic()
        run = subprocess.run([HALFOPEN, "run", "--clock", "virtual", ROOT / "scenarios/incidents"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        if run.returncode:
            raise NotMeasured(f"exit {run.returncode}")
        walls.append(time.monotonic() - begun)
    return [figure("all of scenarios/incidents in one run", walls, "s", goal="< 60 s")]


def parted(name, whole, part):
    """What is left of `whole` without `part`, by their medians."""
    left = whole["median"] - part["median"]
    return {**whole, "name": name, "goal": None, "median": left, "worst": left, "note": "difference of medians"}


def day(rounds):
    progress(f"a day of outages, {DAY} cases …")
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as folder:
        scenario = many(A1, "standby", DAY, folder)
        runs = [passing(["--clock", "virtual", scenario]) for _ in range(max(3, rounds // 4))]
    walls = [run.wall_s for run in runs]
    virtual = sum(case["duration_s"] for case in runs[0].cases)
    return [
        figure(f"a day of outages ({DAY} cases, {virtual:,.0f} s), one run", walls, "s", goal="≤ 20 s (aim 8 s)"),
        figure("a day of outages: virtual seconds a second of wall time", [virtual / w for w in walls], "times") | {"worst": virtual / max(walls)},
    ]


def both_clocks():
    """The same cases on both clocks: verdict and cause must agree, times may differ by kernel and HZ."""
    if missing():
        return [skipped("both clocks", missing())]
    results = []
    for scenario in (ROOT / "scenarios/quickstart.yaml", SCENARIOS / "hundred-seconds.yaml"):
        progress(f"{scenario.stem} on both clocks …")
        real, virtual = (passing(["--clock", clock, scenario]).cases[0] for clock in ("real", "virtual"))
        for on_real, on_virtual in zip(real["clients"], virtual["clients"]):
            times = [client["recovered_after_s"] for client in (on_real, on_virtual)]
            agree = on_real["cause"] == on_virtual["cause"] and None not in times
            note = (f"{on_real['cause']}: {times[0]} s on Linux {real['kernel']}, HZ {real['hz']}; "
                    f"{times[1]} s on Linux {virtual['kernel']}, HZ {virtual['hz']}")
            if not agree:
                note = f"DISAGREE: {on_real['cause']} and {on_virtual['cause']}, {times[0]} s and {times[1]} s"
            apart = abs(times[0] - times[1]) if None not in times else float("nan")
            results.append(figure(f"both clocks: {scenario.stem}, {on_real['name']}, apart by", [apart], "s", note=note))
    return results
