"""Times and how they are shown."""

import json
import pathlib
import statistics
import time


def interleaved(works, rounds, repeats, warm_up=True):
    """Median seconds of each work: {name: function(i)}. Rounds of `repeats` calls alternate, in turning order."""
    times = {name: [] for name in works}
    order = list(works)
    step = 0
    for number in range(-1 if warm_up else 0, rounds):
        for name in order:
            work = works[name]
            for i in range(step, step + repeats):
                start = time.perf_counter()
                work(i)
                seconds = time.perf_counter() - start
                if number >= 0:
                    times[name].append(seconds)
        step += repeats
        order.reverse()
    return {name: statistics.median(values) for name, values in times.items()}


def percentile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def clock(seconds):
    for unit, factor in [("s", 1), ("ms", 1e3)]:
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e6:.0f} µs"


class Report:
    """Prints each figure as it comes, with the wanted one beside it, and keeps them for the JSON file."""

    def __init__(self):
        self.figures = []
        self.section_name = ""

    def section(self, name, explanation=""):
        self.section_name = name
        print(f"\n{name}" + (f": {explanation}" if explanation else ""))

    def _add(self, name, shown, wanted, passed, **values):
        verdict = "" if passed is None else ("pass" if passed else "FAIL")
        print(f"  {name:<42} {shown:<44} {wanted:<22} {verdict}", flush=True)
        self.figures.append({"section": self.section_name, "name": name, **values, "wanted": wanted, "passed": passed})

    def ratio(self, name, ours, peer, at_most=None, at_least_faster=None):
        """Ours and the peer's seconds; wanted is ours/peer at most, or peer/ours at least."""
        if at_least_faster is not None:
            factor = peer / ours
            shown = f"{clock(ours):>10} {clock(peer):>10} {factor:>8.1f}x faster"
            wanted, passed = f"at least {at_least_faster}x faster", factor >= at_least_faster
        else:
            factor = ours / peer
            shown = f"{clock(ours):>10} {clock(peer):>10} {factor:>8.2f}x"
            wanted = f"within {at_most}x" if at_most else ""
            passed = factor <= at_most if at_most else None
        self._add(name, shown, wanted, passed, ours=ours, peer=peer, factor=factor)

    def limit(self, name, value, limit, show=clock):
        self._add(name, f"{show(value):>10}", f"within {show(limit)}", value <= limit, value=value, limit=limit)

    def at_least(self, name, value, least, show=str):
        self._add(name, f"{show(value):>10}", f"at least {show(least)}", value >= least, value=value, limit=least)

    def note(self, name, value, show=clock):
        self._add(name, f"{show(value):>10}", "", None, value=value)

    def fault(self, name, error):
        self._add(name, f"{type(error).__name__}: {error}".splitlines()[0][:200], "no error", False)

    def save(self, folder, **about):
        folder = pathlib.Path(folder)
        folder.mkdir(exist_ok=True)
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
        path.write_text(json.dumps({**about, "figures": self.figures}, indent=1))
        failed = [f for f in self.figures if f["passed"] is False]
        judged = [f for f in self.figures if f["passed"] is not None]
        print(f"\n{len(judged) - len(failed)} of {len(judged)} figures as wanted. Written to {path}")
        return not failed
