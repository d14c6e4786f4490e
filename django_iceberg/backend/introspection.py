import json
import re
from collections import namedtuple
from typing import ClassVar

import django
from django.db.backends.base.introspection import BaseDatabaseIntrospection
from django.db.backends.base.introspection import FieldInfo as BaseFieldInfo
from django.db.backends.base.introspection import TableInfo as BaseTableInfo
from django.db.models import Index
from django.db.utils import DatabaseError
from django.utils.regex_helper import _lazy_re_compile

FieldInfo = namedtuple("FieldInfo", [*BaseFieldInfo._fields, "is_autofield", "comment"])

# Tables and columns that versioning adds; no model has them.
OWN_TABLE_SUFFIXES = ("__history", "__versions")
OWN_COLUMNS = {"_row_start", "_row_end", "_operation"}


class TableInfo(BaseTableInfo):
    """A table; its comment is read when asked for."""

    def __new__(cls, name, type, introspection):
        self = super().__new__(cls, name, type)
        self._introspection = introspection
        return self

    @property
    def comment(self):
        return self._introspection._table_def(self.name).get("comment")


def split_expressions(sql):
    """Comma-separated SQL expressions, split at the commas outside parentheses and quotes."""
    parts, depth, start = [], 0, 0
    for match in _token_re.finditer(sql):
        token = match[0]
        depth += (token == "(") - (token == ")")
        if token == "," and depth == 0:
            parts.append(sql[start : match.start()].strip())
            start = match.end()
    return [*parts, sql[start:].strip()]


_token_re = _lazy_re_compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|.""", re.DOTALL)


class DatabaseIntrospection(BaseDatabaseIntrospection):
    data_types_reverse: ClassVar = {
        "bigint": "BigIntegerField",
        "boolean": "BooleanField",
        "bytea": "BinaryField",
        "char": "CharField",
        "character varying": "CharField",
        "date": "DateField",
        "double precision": "FloatField",
        "inet": "GenericIPAddressField",
        "integer": "IntegerField",
        "interval": "DurationField",
        "jsonb": "JSONField",
        "json": "JSONField",
        "numeric": "DecimalField",
        "real": "FloatField",
        "smallint": "SmallIntegerField",
        "text": "TextField",
        "time": "TimeField",
        "timestamp": "DateTimeField",
        "timestamp with time zone": "DateTimeField",
        "timestamptz": "DateTimeField",
        "uuid": "UUIDField",
        "varchar": "CharField",
    }
    # Kind of an index of Django's own Index class.
    index_default_access_method = "btree"

    def get_field_type(self, data_type, description):
        base = data_type.split("(")[0].strip()
        field_type = super().get_field_type(base, description)
        if description.is_autofield:
            return {
                "IntegerField": "AutoField",
                "BigIntegerField": "BigAutoField",
                "SmallIntegerField": "SmallAutoField",
            }.get(field_type, field_type)
        return field_type

    def _table_def(self, table_name):
        self.connection.ensure_usable()
        with self.connection.wrap_database_errors:
            definition = json.loads(self.connection.connection.table_def(table_name))
        names = {column["id"]: column["name"] for column in definition["columns"]}
        for part in (*definition["constraints"], *definition["indexes"]):
            for key in ("columns", "include"):
                # Field ids become names; names stay.
                part[key] = [names.get(column, column) for column in part.get(key) or []]
            if "ref_table_name" in part:
                part["ref_table"] = part["ref_table_name"]
        return definition

    def get_table_list(self, cursor):
        try:
            cursor.execute("SHOW TABLES")
            tables = cursor.fetchall()
            views = self.connection.connection.views()  # no second query: Django's tests count them
        except DatabaseError as err:
            # Nothing is there until the first table is created.
            if getattr(err.__cause__, "code", None) == "NOT_FOUND":
                return []
            raise
        return [
            *(TableInfo(name, "t", self) for (name,) in tables if not name.endswith(OWN_TABLE_SUFFIXES)),
            *(TableInfo(name, "v", self) for name in views),
        ]

    def get_table_description(self, cursor, table_name):
        definition = self._table_def(table_name)
        return [self._field_info(c) for c in definition["columns"] if c["name"] not in OWN_COLUMNS]

    def _field_info(self, column):
        sql_type = column["sql_type"]
        arguments = sql_type[sql_type.find("(") + 1 : sql_type.find(")")] if "(" in sql_type else ""
        size = precision = scale = None
        if sql_type.startswith("numeric"):
            numbers = [int(n) for n in arguments.split(",")] if arguments else [38, 10]
            precision, scale = numbers[0], numbers[1] if len(numbers) > 1 else 0
        elif column.get("max_length"):
            size = column["max_length"]
        return FieldInfo(
            column["name"],
            sql_type,
            size,
            size,
            precision,
            scale,
            not column.get("not_null"),
            column.get("default"),
            column.get("collation"),
            bool(column.get("identity")),
            column.get("comment"),
        )

    def get_sequences(self, cursor, table_name, table_fields=()):
        return [
            {"name": f"{table_name}_{column['name']}_seq", "table": table_name, "column": column["name"]}
            for column in self._table_def(table_name)["columns"]
            if column.get("identity")
        ]

    def get_relations(self, cursor, table_name):
        """
        Return a dictionary of {field_name: (field_name_other_table, other_table)}, from Django 6.1 on
        {field_name: (field_name_other_table, other_table, db_on_delete)}, representing all foreign keys in the given table.
        """
        relations = {}
        for constraint in self._table_def(table_name)["constraints"]:
            if constraint["kind"] == "foreign":
                columns = constraint.get("ref_columns") or self._primary_key(constraint["ref_table"])
                relation = (columns[0], constraint["ref_table"])
                if django.VERSION >= (6, 1):
                    relation += (self.on_delete_types[constraint["on_delete"]],)
                relations[constraint["columns"][0]] = relation
        return relations

    def _primary_key(self, table_name):
        for constraint in self._table_def(table_name)["constraints"]:
            if constraint["kind"] == "primary":
                return constraint["columns"]
        return [None]

    def get_primary_key_columns(self, cursor, table_name):
        columns = self._primary_key(table_name)
        return None if columns == [None] else columns

    def get_constraints(self, cursor, table_name):
        definition = self._table_def(table_name)
        names = [column["name"] for column in definition["columns"]]
        constraints = {c["name"]: self._constraint(c, names) for c in definition["constraints"]}
        for index in definition["indexes"]:
            constraints[index["name"]] = self._index(index, names)
        return constraints

    def _constraint(self, constraint, names):
        kind = constraint["kind"]
        info = {
            "columns": list(constraint.get("columns") or []),
            "primary_key": kind == "primary",
            "unique": kind in ("primary", "unique"),
            "foreign_key": None,
            "check": kind == "check",
            "index": False,
            "definition": constraint.get("check"),
            "options": None,
        }
        if kind == "check":
            tokens = {token.strip('"') for token in _token_re.findall(constraint["check"]) if token[0] != "'"}
            info["columns"] = [name for name in names if name in tokens]
        if kind == "foreign":
            columns = constraint.get("ref_columns") or self._primary_key(constraint["ref_table"])
            info["foreign_key"] = (constraint["ref_table"], columns[0])
        if constraint.get("is_index"):
            info.update(self._index(constraint, names))
        return info

    def _index(self, index, names):
        """Also of a unique index, which is a constraint."""
        kind = index.get("kind") or ""
        include = list(index.get("include") or [])
        ordered = kind in (self.index_default_access_method, "unique", "")
        columns = list(index.get("columns") or [])
        orders = ["DESC" if flag else "ASC" for flag in index.get("descending") or [False] * len(columns)]
        if expressions := index.get("expr") or index.get("expressions"):
            parts = split_expressions(expressions)
            if len(orders) != len(parts):
                orders = ["DESC" if index.get("expr_desc", 0) >> i & 1 else "ASC" for i in range(len(parts))]
            plain = [part.strip('"') for part in parts]
            columns = [part if part in names else None for part in plain]
            if columns == [None] and not include:
                columns = []
        return {
            "columns": columns + include,
            "orders": orders + [None] * len(include) if ordered else [],
            "primary_key": False,
            "unique": index.get("kind") == "unique",
            "foreign_key": None,
            "check": False,
            "index": True,
            "type": Index.suffix if ordered else kind,
            "definition": expressions,
            "options": None,
        }
