#!/usr/bin/env python
"""Benchmarks beside PostgreSQL, in one run, as ratios. Each figure has the wanted one and its verdict beside it.

    python bench/run.py                     all sections
    python bench/run.py orm dbapi           some of them
    python bench/run.py --quick             fewer rounds and smaller tables: to see that it works, not how fast

Results are also written as JSON to .bench/.
"""

import argparse
import os
import pathlib
import platform
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

SECTIONS = [
    "orm",
    "dbapi",
    "everyday",
    "groups",
    "add_field",
    "bulk",
    "durable",
    "fresh",
    "growth",
    "cold",
    "memory",
    "prune",
]
# Sections that need the 200,000 rows on both databases.
LOADED = {"orm", "dbapi", "groups", "durable", "fresh"}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller tables")
    parser.add_argument(
        "--statements", action="store_true", help="everyday: show each call's statements and their paths"
    )
    parser.add_argument("--directory", help="where both databases go (default: a temporary directory)")
    parser.add_argument("--keep", action="store_true", help="leave the databases' directory")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    options.sections = options.sections or SECTIONS
    options.rounds, options.repeats = (3, 20) if options.quick else (10, 50)
    return options


def main():
    options = parse()
    if options.child:
        import bulk
        import prune
        import single

        single.CHILDREN |= {"bulk_changes": bulk.ours, "pruned": prune.measure}
        return single.run_child(options.child)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="iceberg-bench-", dir=options.directory))
    directory.chmod(0o755)
    try:
        return run(options, directory)
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)


def run(options, directory):
    import bulk
    import everyday
    import peers
    import prune
    import side_by_side
    import single
    from measure import Report

    report = Report()
    wanted = set(options.sections)
    with peers.cluster(directory) as postgres:
        print(f"PostgreSQL {postgres.version}, {os.cpu_count()} cores, {platform.platform()}")
        print(f"Both databases are in {directory}")
        peers.configure(
            {
                peers.OURS: peers.iceberg_settings(directory / "iceberg"),
                peers.PEER: peers.postgres_settings(postgres),
            }
        )
        for alias in (peers.OURS, peers.PEER):
            peers.create_tables(alias)
        if wanted & LOADED:
            load(report, peers, side_by_side)
        steps = {
            "orm": lambda: side_by_side.through_the_orm(report, options),
            "dbapi": lambda: side_by_side.through_the_dbapi(report, options),
            "everyday": lambda: everyday.everyday(report, options),
            "groups": lambda: side_by_side.group_by_ratios(report, options),
            "add_field": lambda: single.add_field_by_size(report, options),
            "bulk": lambda: bulk.changes_of_all_rows(report, options, directory),
            "durable": lambda: single.durability(report, options, directory, postgres),
            "fresh": lambda: single.fresh_process(report, options, directory),
            "growth": lambda: single.growth(report, options, directory),
            "cold": lambda: single.ten_million(report, options, directory),
            "memory": lambda: single.shared_memory(report, options, directory),
            "prune": lambda: prune.pruned_reads(report, options, directory),
        }
        for name in SECTIONS:
            if name in wanted:
                try:
                    steps[name]()
                except Exception as error:  # noqa: BLE001 (one section that fails leaves the others)
                    report.fault(name, error)
        from django.db import connections

        connections.close_all()
        about = {"postgres": postgres.version, "cores": os.cpu_count(), "quick": options.quick}
    return 0 if report.save(HERE.parent / ".bench", **about) else 1


def load(report, peers, side_by_side):
    import time

    report.section("load", f"{side_by_side.ROWS:,} orders and {side_by_side.CUSTOMERS:,} customers by bulk_create")
    for alias in (peers.OURS, peers.PEER):
        start = time.perf_counter()
        side_by_side.load(alias)
        report.note(alias, time.perf_counter() - start)
        peers.upkeep(alias)


if __name__ == "__main__":
    sys.exit(main())
