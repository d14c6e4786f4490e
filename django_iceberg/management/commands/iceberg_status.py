import json

from ._base import IcebergCommand


class Command(IcebergCommand):
    help = "Shows what the warehouse holds: published snapshots, unpublished commits, budgets."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def run(self, connection, options):
        status = connection.connection.status()
        status["disk"] = self.disk(connection.connection.collect(dry_run=True))
        if options["json"]:
            self.stdout.write(json.dumps(status, indent=2, sort_keys=True, default=str))
            return
        self.show(status, "")

    def disk(self, found):
        """Files and bytes by kind; what nothing reaches; the last collection."""
        sizes = {kind: {"files": files, "bytes": size} for kind, (files, size) in found["files"].items()}
        orphans = found["unreachable"].values()
        last = found["last"]
        return {
            **sizes,
            "orphans": {"files": sum(f for f, _ in orphans), "bytes": sum(b for _, b in orphans)},
            "last_collection": last if last["at_us"] else None,
        }

    def show(self, value, indent):
        for key, item in value.items():
            if isinstance(item, dict):
                self.stdout.write(f"{indent}{key}:")
                self.show(item, indent + "  ")
            elif isinstance(item, (list, tuple)):
                self.stdout.write(f"{indent}{key}:")
                for entry in item:
                    if isinstance(entry, dict):
                        line = ", ".join(f"{k} {v}" for k, v in entry.items())
                        self.stdout.write(f"{indent}  {line}")
                    else:
                        self.stdout.write(f"{indent}  {entry}")
            else:
                self.stdout.write(f"{indent}{key}: {item}")
