"""Labs on the real clock: memory, how many fit, and how far event times are from the packets' own stamps."""
import pathlib
import subprocess
import tempfile
import time

from common import HALFOPEN, SCENARIOS, Run, figure, many, part, passing, progress

TWO_SECONDS = SCENARIOS / "two-seconds.yaml"
# Time to build a lab in a crowd, generously.
BUILD_S = 0.1


def run(bound):
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as folder:
        return [
            *part("memory a lab", memory, folder),
            *part("labs at once with all verdicts as alone", most_labs, folder, bound),
            *part("event times against packets' stamps", stamps, folder),
        ]


def memory(folder):
    results = []
    for count in (1, 50):
        progress(f"memory of {count} labs …")
        scenario = lasting(many(TWO_SECONDS, "poller", count, folder), count)
        process = subprocess.Popen([HALFOPEN, "run", "--clock", "real", "--jobs", str(count), scenario],
                                   stdout=subprocess.DEVNULL)
        sampled = []
        while process.poll() is None:
            labs = [pss for name, pss in descendants(process.pid) if name == "halfopen-lab"]
            # Each lab is two processes: the keeper of its namespaces, and the lab itself.
            if len(labs) == 2 * count:
                sampled.append(sum(labs) / count / 1024)
            time.sleep(0.05)
        if sampled:
            results.append(figure(f"memory a lab, {count} side by side (PSS, keeper included)", [max(sampled)], "MiB"))
    return results


def descendants(root):
    """Name and PSS in KiB of all processes below `root`."""
    children = {}
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(status.parent.name))
    waiting, found = [root], []
    while waiting:
        for process in children.get(waiting.pop(), []):
            waiting.append(process)
            try:
                name = pathlib.Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode()
                lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
                found.append((name, next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))))
            except (OSError, StopIteration):
                pass
    return found


def most_labs(folder, bound):
    """Doubles the number of labs until a verdict changes."""
    held, count = 0, 25
    while count <= bound:
        progress(f"{count} labs at once …")
        ended = Run(["--clock", "real", "--jobs", str(count), lasting(many(TWO_SECONDS, "poller", count, folder), count)])
        if ended.not_passed:
            verdicts = {case["verdict"] for case in ended.cases}
            # On a shared machine this is the processor's limit: each lab's client asks ten times a second.
            changed = f"at {count}, each asking 10 times a second, {len(ended.not_passed)} verdicts change ({', '.join(sorted(verdicts - {'pass'}))})"
            return [figure("labs at once with all verdicts as alone", [held], "labs", note=changed)]
        held, count = count, count * 2
    return [figure("labs at once with all verdicts as alone", [held], "labs", note="at least: the search ended there")]


def lasting(scenario, count):
    """Labs are built one after the other: makes each last until all of them run, and its client poll until then."""
    text = scenario.read_text()
    scenario.write_text(text.replace("duration: 2s", f"duration: {2 + round(count * BUILD_S)}s"))
    return scenario


def stamps(folder):
    """Times of events against the kernel's stamps of the packets they speak of, in microseconds."""
    results = []
    for count, rounds in ((1, 5), (50, 1)):
        progress(f"event times of {count} labs …")
        scenario = many(TWO_SECONDS, "poller", count, folder)
        records = [record for _ in range(rounds)
                   for record in passing(["--clock", "real", "--jobs", str(count), scenario], record=True).records]
        crowd = "alone" if count == 1 else f"{count} side by side"
        for name, errors in errors_of(records).items():
            results.append(figure(f"{name}, {crowd}", errors, "µs"))
    return results


def errors_of(records):
    errors = {"dial event against its SYN's stamp": [], "connection event against its SYN-ACK's stamp": [],
              "give-up event against its FIN's stamp": [], "recovery event against its response's sending, at most": []}
    dial, opened, closed, recovered = errors.values()
    for events in records:
        # What passes a pod's link as well is in the record twice: nodes' links tell enough.
        nodes = {node["name"] for e in events if e["event"] == "case_started" for node in e["case"]["lab"]["nodes"]}
        segments = [e for e in events if e["event"] == "segment" and e["retransmission"] == 0 and e["node"] in nodes]
        local = {e["connection"]: e["local"] for e in events if e["event"] == "dial_started"}
        fault = next(e["t_ns"] for e in events if e["event"] == "fault_injected")
        for event in events:
            if event["event"] == "dial_started":
                dial.extend(gap(event, segments, "from", local[event["connection"]], "S"))
            elif event["event"] == "connection_opened":
                opened.extend(gap(event, segments, "to", local[event["connection"]], "SA"))
            elif event["event"] == "connection_closed" and event["end"]["by"] == "request_timeout":
                closed.extend(gap(event, segments, "from", local[event["connection"]], "FA"))
        # The response's segment is not in the record; it was sent after the server's event and came before the client's.
        response = next(e for e in events if e["event"] == "response" and e["t_ns"] > fault)
        sent = next(e for e in events if e["event"] == "server_response" and e["request"] == response["request"])
        recovered.append((response["t_ns"] - sent["t_ns"]) / 1000)
    return {name: values for name, values in errors.items() if values}


def gap(event, segments, end, address, flags):
    """How far the event is from the first segment with these flags of its connection."""
    stamps = (s["stamp_ns"] for s in segments if s[end] == address and s["flags"] == flags)
    return [abs(event["t_ns"] - stamp) / 1000 for stamp in list(stamps)[:1]]
