"""Asks this backend and PostgreSQL the same random questions; exits with 1 if an answer differs.

    python tests/python/peer/run.py [--seed N] [--rounds N] [--only lookups|functions|shapes|writes|statements]

The seed is printed, and PEER_SEED sets it. More rounds ask more.
"""

import argparse
import collections
import os
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from peer.databases import OURS, PEER, databases

SHOWN = 40


class Run:
    """Counts what was asked, and keeps what differs."""

    def __init__(self, rng):
        self.random = rng
        self.asked = collections.Counter()
        self.coverage = collections.Counter()
        self.refused = collections.Counter()
        self.by_design = collections.Counter()
        self.different = []

    def compare(self, question, *subjects):
        """Asks both; subjects are counted if PostgreSQL answers. Returns what it said, or None if the answers differ."""
        from peer.differences import by_design
        from peer.questions import Failed, same

        theirs = question.ask(PEER)
        self.asked[type(question).__name__] += 1
        if isinstance(theirs, Failed) and theirs.of_the_question:
            self.asked[f"refused by Django: {theirs!r}"[:150]] += 1
        count = self.refused if isinstance(theirs, Failed) else self.coverage
        count.update(subjects)
        ours = question.ask(OURS)
        if same(question, ours, theirs):
            return theirs
        known = by_design(question, ours, theirs)
        if known:
            self.by_design[known] += 1
            return None
        self.different.append((subjects, question))
        return None

    def panel(self, make, pairs):
        """One question with a column for each pair; alone, if one of them fails or differs."""
        from peer.questions import Failed, same

        question = make(pairs)
        ours, theirs = question.ask(OURS), question.ask(PEER)
        if not isinstance(theirs, Failed) and same(question, ours, theirs):
            self.asked["panel"] += 1
            self.coverage.update(pairs)
            return
        for i, pair in enumerate(pairs):
            self.compare(alone(question, i), pair)

    def report(self):
        from peer.questions import describe, shrink

        shown = collections.Counter()
        for subjects, question in self.different:
            key = subjects[0][:2] if subjects else ""
            shown[key] += 1
            if shown[key] > 1 or len(shown) > SHOWN or key == ("statements",):
                continue
            print(f"DIFFERENT {key}, found as {repr(question)[:400]}\n{describe(shrink(question))}\n")
        if self.different:
            counts = collections.Counter(subjects[0] if subjects else "" for subjects, _ in self.different)
            print("different:", ", ".join(f"{key} {n}" for key, n in counts.most_common()))


def alone(question, i):
    """The question of a panel with its i-th column only."""
    from peer.questions import Question, Step

    steps = list(question.steps)
    at = next(n for n, s in enumerate(steps) if s.name == "annotate")
    name = list(steps[at].kwargs)[i]
    steps[at] = Step("annotate", (), {name: steps[at].kwargs[name]})
    steps[-1] = Step("values_list", ("pk", name))
    return Question(question.model, *steps, ordered=True)


def lookups(run, rounds):
    from peer.lookups import WANTED, Lookups, combinations

    maker = Lookups(run.random)
    wanted = [("lookup", *pair) for pair in combinations()]
    for number in range(int(WANTED * rounds * 2) + 1):
        left = [
            s
            for s in wanted
            if run.coverage[s] < WANTED * rounds
            and run.refused[s] < (5 if not run.coverage[s] else 2 * WANTED * rounds)
        ]
        if not left:
            break
        run.random.shuffle(left)
        if number % 5 == 0:
            for subject in left:
                run.compare(maker.filtering(*subject[1:]), subject)
        else:
            for start in range(0, len(left), 16):
                run.panel(lambda pairs: maker.panel([p[1:] for p in pairs]), left[start : start + 16])
    return {s: run.coverage[s] for s in wanted if 0 < run.coverage[s] < WANTED}


def functions(run, rounds):
    from django.db.models import functions as all_functions
    from django.db.models.functions import window

    from peer.functions import LEFT_OUT, Expressions
    from peer.lookups import panel
    from peer.models import Plain, Row
    from peer.questions import expressions

    maker = Expressions(run.random)
    names = (
        set(all_functions.__all__) - LEFT_OUT - {cls.__name__ for cls in vars(window).values() if isinstance(cls, type)}
    )

    def seldom():
        return {name: run.coverage["function", name] for name in sorted(names) if run.coverage["function", name] < 3}

    for number in range(int(700 * rounds) + 1):
        # As many again for a function that chance left out.
        if number > 350 * rounds and (rounds < 1 or not seldom()):
            break
        model = run.random.choice([Plain, Plain, Row])
        columns = {f"c{i}": maker.any(run.random.choice([1, 1, 2, 3])) for i in range(8)}
        question = panel(model, columns)
        run.panel(
            lambda pairs, question=question: question, [("expression", type(c).__name__) for c in columns.values()]
        )
        run.coverage.update({("function", type(e).__name__) for e in expressions(question.steps)})
    return seldom()


def shapes(run, rounds):
    from peer.shapes import Shapes

    return _each(run, "shape", Shapes(run.random), rounds, 12)


def writes(run, rounds):
    from peer.writes import Deeds

    return _each(run, "write", Deeds(run.random), rounds, 10)


def _each(run, kind, maker, rounds, times):
    """Asks each kind of question some times; and as often again, at most, one that chance left without rows."""
    for number in range(int(times * rounds * 2) + 1):
        names = maker.names() if number <= times * rounds else _seldom(run, kind, maker.names())
        for name in names:
            run.compare(maker.make(name), (kind, name))
    return _seldom(run, kind, maker.names())


def _seldom(run, kind, names, wanted=10):
    """What was asked less often than wanted, errors included; of four answers one must be rows."""
    asked = {name: (run.coverage[kind, name], run.refused[kind, name]) for name in names}
    return {name: counts for name, counts in asked.items() if sum(counts) < wanted or counts[0] * 4 < sum(counts)}


def statements(run, rounds):
    from peer.statements import Both, Different

    for _ in range(int(2 * rounds) + 1):
        both = Both(run.random)
        try:
            both.run(300)
        except Different as difference:
            print(f"DIFFERENT statements: {difference}")
            run.different.append((("statements",), both))
            break
        run.asked["statements"] += len(both.told)
        run.coverage["statements"] += len(both.told)
    return {}


PARTS = {"lookups": lookups, "functions": functions, "shapes": shapes, "writes": writes, "statements": statements}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seed", type=int, default=os.environ.get("PEER_SEED") or random.SystemRandom().randrange(10**9)
    )
    parser.add_argument("--rounds", type=float, default=1)
    parser.add_argument(
        "--plant", action="store_true", help="make this backend take gt for gte, to see that it is found"
    )
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    failed = False
    with databases(random.Random(f"data {options.seed}")):
        if options.plant:
            from django.db import connections

            connections[OURS].operators = {**connections[OURS].operators, "gt": ">= %s"}
        for name, part in PARTS.items():
            if options.only in (None, name):
                started = time.monotonic()
                run = Run(random.Random(f"{name} {options.seed}"))
                little = part(run, options.rounds)
                run.report()
                if little and options.rounds >= 1:
                    print(f"too few answers of {name}: {little}")
                for what, times in run.asked.items():
                    if what.startswith("refused"):
                        print(f"{what} ({times} times)")
                answered = sum(run.coverage.values())
                print(
                    f"{name}: {sum(run.asked.values())} questions, {answered} subjects answered, {len(run.different)} different, {sum(run.by_design.values())} by design, {time.monotonic() - started:.0f} s"
                )
                failed |= bool(run.different or (little and options.rounds >= 1))
    print(f"seed {options.seed}: PEER_SEED={options.seed} repeats this run")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
