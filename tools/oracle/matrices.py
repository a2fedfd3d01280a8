#!/usr/bin/env python3
"""Writes the files `tests/cql/matrix_*.cql`: the cases that are one rule for many types.

What it writes are statements; `record` adds what Cassandra answers. Expectations and deliberate differences
of steps that are there already are kept.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from corpus import File  # noqa: E402

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "cql"

# Of each type: values in ascending order of the type, then what is refused for it.
SAMPLES = {
    "ascii": (["''", "'A'", "'a'", "'a b'", "'z''q'"], ["'é'", "1"]),
    "bigint": (["-9223372036854775808", "-1", "0", "42", "9223372036854775807"], ["9223372036854775808", "1.5"]),
    "blob": (["0x", "0x00", "0x00ff", "0x7f", "0xff"], ["0x0", "'text'"]),
    "boolean": (["false", "true"], ["1", "'true'"]),
    "date": (["'-5877641-06-23'", "'0001-01-01'", "'1969-12-31'", "'1970-01-01'", "'2024-02-29'"],
             ["'2023-02-29'", "'2024-13-01'", "'24-1-1'", "-1"]),
    "decimal": (["-1E+10", "-0.5", "0", "1.50", "123456789012345678901234567890.123"], ["'abc'", "1.5.2"]),
    "double": (["-Infinity", "-1.5", "0", "1e-7", "1.7976931348623157e308", "Infinity", "NaN"], ["'1.5'", "true"]),
    "float": (["-Infinity", "-1.5", "0", "1e-7", "3.4028235e38", "Infinity", "NaN"], ["'1.5'", "true"]),
    "inet": (["'0.0.0.0'", "'10.0.0.1'", "'255.255.255.255'", "'2001:db8::1'", "'::1'"], ["'1.2.3'", "'host'", "1"]),
    "int": (["-2147483648", "-1", "0", "42", "2147483647"], ["2147483648", "-2147483649", "1.5"]),
    "smallint": (["-32768", "-1", "0", "42", "32767"], ["32768", "-32769"]),
    "text": (["''", "'A'", "'a'", "'z''q'", "'é'", "'\U0001f600'"], ["1", "true"]),
    "time": (["'00:00:00'", "'00:00:00.000000001'", "'08:12:54.123'", "'23:59:59.999999999'"],
             ["'24:00:00'", "'8:70:00'", "-1", "86400000000000"]),
    "timestamp": (["-62135596800000", "'1969-12-31 23:59:59.999+0000'", "0", "'2011-02-03 04:05+0000'",
                   "'2024-02-29T12:30:45.678Z'"], ["'2011-02-30'", "'yesterday'", "1.5"]),
    "timeuuid": (["13814000-1dd2-11b2-8080-808080808080", "50554d6e-29bb-11e5-b345-feff819cdc9f",
                  "50554d6f-29bb-11e5-b345-feff819cdc9f", "d2177dd0-eaa2-11de-a572-001b779c76e3"],
                 ["123e4567-e89b-42d3-a456-426614174000", "'not a uuid'"]),
    "tinyint": (["-128", "-1", "0", "42", "127"], ["128", "-129"]),
    "uuid": (["00000000-0000-0000-0000-000000000000", "50554d6e-29bb-11e5-b345-feff819cdc9f",
              "123e4567-e89b-42d3-a456-426614174000", "ffffffff-ffff-4fff-bfff-ffffffffffff"],
             ["123e4567-e89b-42d3-a456", "'x'"]),
    "varint": (["-170141183460469231731687303715884105729", "-1", "0", "128",
                "170141183460469231731687303715884105728"], ["1.5", "'1'"]),
    "duration": (["1y2mo3w4d5h6m7s8ms9us10ns", "P1Y2M3DT4H5M6S", "-2d", "P3W"], ["1d2y", "'1d'", "1"]),
}
KEYS = [kind for kind in SAMPLES if kind != "duration"]
NUMBERS = ["tinyint", "smallint", "int", "bigint", "varint", "float", "double", "decimal"]
# Plain values of each type: three, ascending.
PLAIN = {kind: (values[1:4] if len(values) > 3 else values + values[-1:]) for kind, (values, _) in SAMPLES.items()}
PLAIN["duration"] = ["1h", "2d", "3mo"]
PLAIN["double"] = ["-1.5", "0", "2.25"]
PLAIN["float"] = ["-1.5", "0", "2.25"]
PLAIN["date"] = ["'1969-12-31'", "'1970-01-01'", "'2024-02-29'"]
PLAIN["decimal"] = ["-0.5", "0", "1.50"]

ROWS = {"ascii": "1.08", "text": "1.08", "blob": "1.08", "boolean": "1.09", "uuid": "1.10", "timeuuid": "1.10",
        "timestamp": "1.11", "date": "1.11", "time": "1.11", "duration": "1.12", "inet": "1.13"}


def row(kind):
    return ROWS.get(kind, "1.07")


class Matrix:
    """A file under construction."""

    def __init__(self, name, what):
        self.path = FOLDER / f"matrix_{name}.cql"
        self.lines = [f"-- {what}", "-- Written by tools/oracle/matrices.py.", ""]
        self.old = {}
        if self.path.exists():
            for case in File(self.path).cases:
                for index, step in enumerate(case.steps):
                    self.old[case.name, index, step.text] = (step.expected, step.difference)

    def case(self, name, rows, *statements):
        """A case; a statement is text, or a pair of directives and text."""
        self.lines.append(f"--# {name} ({', '.join(rows)})")
        for index, statement in enumerate(statements):
            directives, text = statement if isinstance(statement, tuple) else ([], statement)
            self.lines += [f"--@ {directive}" for directive in directives]
            self.lines += (text + ";").split("\n")
            expected, difference = self.old.get((name, index, text), ([], []))
            self.lines += expected + difference
        self.lines.append("")

    def write(self):
        self.path.write_text("\n".join(self.lines[:-1]) + "\n")
        File(self.path)


def roundtrip():
    matrix = Matrix("values", "Every type: its values come back as they were written, and what is no value is refused.")
    for kind, (values, bad) in SAMPLES.items():
        inserts = [f"INSERT INTO t (k, v) VALUES ({index}, {value})" for index, value in enumerate(values)]
        matrix.case(f"values_of_{kind}", ["1.01", row(kind)], f"CREATE TABLE t (k int PRIMARY KEY, v {kind})",
                    *inserts, "INSERT INTO t (k, v) VALUES (99, null)", "SELECT k, v FROM t")
        refused = [f"INSERT INTO t (k, v) VALUES ({index}, {value})" for index, value in enumerate(bad)]
        matrix.case(f"no_values_of_{kind}", [row(kind)], f"CREATE TABLE t (k int PRIMARY KEY, v {kind})",
                    *refused, "SELECT k, v FROM t")
        matrix.case(f"overwritten_{kind}", ["1.05", row(kind)], f"CREATE TABLE t (k int PRIMARY KEY, v {kind})",
                    f"INSERT INTO t (k, v) VALUES (1, {PLAIN[kind][0]}) USING TIMESTAMP 10",
                    f"UPDATE t USING TIMESTAMP 9 SET v = {PLAIN[kind][1]} WHERE k = 1", "SELECT v, writetime(v) FROM t",
                    f"UPDATE t USING TIMESTAMP 10 SET v = {PLAIN[kind][2]} WHERE k = 1",
                    "SELECT v, writetime(v) FROM t",
                    f"UPDATE t USING TIMESTAMP 10 SET v = {PLAIN[kind][1]} WHERE k = 1",
                    "SELECT v, writetime(v) FROM t",
                    "DELETE v FROM t USING TIMESTAMP 10 WHERE k = 1", "SELECT v, writetime(v) FROM t")
    matrix.write()


LITERALS = {
    "integer": "1", "negative": "-1", "huge": "99999999999999999999", "fraction": "1.5", "exponent": "1e3",
    "nan": "NaN", "text": "'abc'", "digits": "'123'", "empty": "''", "boolean": "true", "hex": "0x01",
    "hex4": "0x00000001", "uuid": "123e4567-e89b-12d3-a456-426614174000", "duration": "1d", "dollar": "$$abc$$",
    "list": "[1]", "set": "{1}", "map": "{1: 2}", "tuple": "(1, 2)", "udt": "{a: 1}", "braces": "{}", "brackets": "[]",
}


def literals():
    matrix = Matrix("literals", "Every form of a literal for every type: accepted or refused.")
    groups = {"numbers": ["integer", "negative", "huge", "fraction", "exponent", "nan"],
              "texts": ["text", "digits", "empty", "dollar", "boolean", "hex", "hex4"],
              "others": ["uuid", "duration", "list", "set", "map", "tuple", "udt", "braces", "brackets"]}
    kinds = list(SAMPLES) + ["list<int>", "set<int>", "map<int, int>", "tuple<int, int>", "vector<float, 1>"]
    for kind in kinds:
        word = kind.split("<")[0]
        for group, names in groups.items():
            rows = [row(word) if "<" not in kind else "1.15", "3.33"]
            matrix.case(f"{word}_from_{group}", rows, f"CREATE TABLE t (k text PRIMARY KEY, v {kind})",
                        *[f"INSERT INTO t (k, v) VALUES ('{name}', {LITERALS[name]})" for name in names],
                        "SELECT k, v FROM t")
    matrix.write()


def clustering():
    matrix = Matrix("clustering", "Every type as a clustering column, both orders: order, slices, points, deletions.")
    for kind in KEYS:
        values = SAMPLES[kind][0]
        low, middle, high = PLAIN[kind]
        for order in ("ASC", "DESC"):
            table = (f"CREATE TABLE t (k int, c {kind}, v int, PRIMARY KEY (k, c)) "
                     f"WITH CLUSTERING ORDER BY (c {order})")
            inserts = [f"INSERT INTO t (k, c, v) VALUES (1, {value}, {index})"
                       for index, value in reversed(list(enumerate(values)))]
            name = f"{kind}_{order.lower()}"
            matrix.case(f"order_{name}", [row(kind), "1.03", "3.15"], table, *inserts, "SELECT c, v FROM t",
                        "SELECT v FROM t WHERE k = 1 ORDER BY c ASC", "SELECT v FROM t WHERE k = 1 ORDER BY c DESC",
                        "SELECT v FROM t WHERE k = 1 ORDER BY c DESC LIMIT 2")
            matrix.case(f"slices_{name}", [row(kind), "3.05"], table, *inserts,
                        f"SELECT v FROM t WHERE k = 1 AND c = {middle}",
                        f"SELECT v FROM t WHERE k = 1 AND c > {middle}",
                        f"SELECT v FROM t WHERE k = 1 AND c >= {middle}",
                        f"SELECT v FROM t WHERE k = 1 AND c < {middle}",
                        f"SELECT v FROM t WHERE k = 1 AND c <= {middle} ORDER BY c DESC",
                        f"SELECT v FROM t WHERE k = 1 AND c > {low} AND c <= {high}",
                        f"SELECT v FROM t WHERE k = 1 AND c IN ({high}, {low}, {high})",
                        (["page 1"], f"SELECT v FROM t WHERE k = 1 AND c IN ({high}, {low}) ORDER BY c DESC"))
            matrix.case(f"deleted_{name}", [row(kind), "3.25"], table, *inserts,
                        f"DELETE FROM t WHERE k = 1 AND c = {low}", "SELECT v FROM t WHERE k = 1",
                        f"DELETE FROM t WHERE k = 1 AND c >= {high}", "SELECT v FROM t WHERE k = 1",
                        f"INSERT INTO t (k, c, v) VALUES (1, {high}, 99)", "SELECT v FROM t WHERE k = 1")
    matrix.case("order_duration_asc", ["1.12"], "CREATE TABLE t (k int, c duration, PRIMARY KEY (k, c))")
    matrix.write()


def partition_keys():
    matrix = Matrix("partition_keys", "Every type as a partition key: tokens, points, order of a scan.")
    for kind in KEYS:
        values = [value for value in SAMPLES[kind][0] if value not in ("''", "0x")]
        inserts = [f"INSERT INTO t (k, v) VALUES ({value}, {index})" for index, value in enumerate(values)]
        matrix.case(f"key_{kind}", [row(kind), "1.28", "3.04", "3.07", "4.01"],
                    f"CREATE TABLE t (k {kind} PRIMARY KEY, v int)", *inserts, "SELECT token(k), k, v FROM t",
                    f"SELECT v FROM t WHERE k = {values[1]}", f"SELECT v FROM t WHERE k IN ({values[1]}, {values[0]})",
                    f"SELECT v FROM t WHERE token(k) = token({values[0]})",
                    f"SELECT v FROM t WHERE token(k) > token({values[0]})",
                    f"SELECT v FROM t WHERE k > {values[0]}",
                    f"SELECT v FROM t WHERE k > {values[0]} ALLOW FILTERING")
        matrix.case(f"composite_key_{kind}", [row(kind), "1.02", "1.28"],
                    f"CREATE TABLE t (a {kind}, b text, v int, PRIMARY KEY ((a, b)))",
                    f"INSERT INTO t (a, b, v) VALUES ({values[0]}, 'x', 1)",
                    f"INSERT INTO t (a, b, v) VALUES ({values[1]}, '', 2)",
                    "SELECT token(a, b), a, b, v FROM t", f"SELECT v FROM t WHERE a = {values[0]} AND b = 'x'",
                    f"SELECT v FROM t WHERE a = {values[0]}", f"SELECT v FROM t WHERE a IN ({values[1]}, {values[0]}) "
                    "AND b IN ('x', '')", f"SELECT v FROM t WHERE a = {values[0]} ALLOW FILTERING")
    matrix.write()


def collections():
    matrix = Matrix("collections", "Every type in lists, sets, maps, tuples and user-defined types.")
    for kind in SAMPLES:
        low, middle, high = PLAIN[kind]
        matrix.case(f"list_of_{kind}", [row(kind), "1.15", "3.23"], f"CREATE TABLE t (k int PRIMARY KEY, v list<{kind}>)",
                    f"INSERT INTO t (k, v) VALUES (1, [{middle}, {low}, {middle}])", "SELECT v FROM t",
                    f"UPDATE t SET v = v + [{high}] WHERE k = 1", f"UPDATE t SET v = [{high}] + v WHERE k = 1",
                    "SELECT v FROM t", f"UPDATE t SET v = v - [{middle}] WHERE k = 1", "SELECT v FROM t",
                    f"UPDATE t SET v[0] = {low} WHERE k = 1", "DELETE v[1] FROM t WHERE k = 1", "SELECT v FROM t",
                    f"UPDATE t SET v[9] = {low} WHERE k = 1", "UPDATE t SET v = [] WHERE k = 1", "SELECT v FROM t")
        matrix.case(f"map_to_{kind}", [row(kind), "1.15", "3.23", "3.03"],
                    f"CREATE TABLE t (k int PRIMARY KEY, v map<text, {kind}>)",
                    f"INSERT INTO t (k, v) VALUES (1, {{'b': {middle}, 'a': {low}}})", "SELECT v, v['a'], v['c'] FROM t",
                    f"UPDATE t SET v = v + {{'c': {high}, 'b': {low}}} WHERE k = 1", "SELECT v, v['a'..'b'] FROM t",
                    f"UPDATE t SET v['d'] = {high} WHERE k = 1", "UPDATE t SET v = v - {'a', 'x'} WHERE k = 1",
                    "DELETE v['b'] FROM t WHERE k = 1", "SELECT v FROM t", "UPDATE t SET v['d'] = null WHERE k = 1",
                    "SELECT v FROM t")
        matrix.case(f"tuple_of_{kind}", [row(kind), "1.17"],
                    f"CREATE TABLE t (k int PRIMARY KEY, v tuple<{kind}, int>)",
                    f"INSERT INTO t (k, v) VALUES (1, ({high}, 1))", f"INSERT INTO t (k, v) VALUES (2, ({low}))",
                    "INSERT INTO t (k, v) VALUES (3, (null, 3))", f"INSERT INTO t (k, v) VALUES (4, ({low}, 1, 2))",
                    "SELECT k, v FROM t", f"SELECT k FROM t WHERE v = ({high}, 1) ALLOW FILTERING")
        matrix.case(f"udt_of_{kind}", [row(kind), "1.18", "2.14", "3.23"], f"CREATE TYPE u (a {kind}, b int)",
                    "CREATE TABLE t (k int PRIMARY KEY, v u, f frozen<u>)",
                    f"INSERT INTO t (k, v, f) VALUES (1, {{a: {low}, b: 1}}, {{a: {high}}})",
                    "SELECT v, f, v.a, f.a, f.b FROM t", f"UPDATE t SET v.a = {middle} WHERE k = 1",
                    "UPDATE t SET v.b = null WHERE k = 1", "SELECT v FROM t", f"UPDATE t SET f.a = {middle} WHERE k = 1",
                    "DELETE v.a FROM t WHERE k = 1", "SELECT v, f FROM t")
    for kind in KEYS:
        low, middle, high = PLAIN[kind]
        matrix.case(f"set_of_{kind}", [row(kind), "1.15", "3.23"], f"CREATE TABLE t (k int PRIMARY KEY, v set<{kind}>)",
                    f"INSERT INTO t (k, v) VALUES (1, {{{high}, {low}, {high}}})", "SELECT v FROM t",
                    f"UPDATE t SET v = v + {{{middle}}} WHERE k = 1", "SELECT v FROM t",
                    f"UPDATE t SET v = v - {{{low}}} WHERE k = 1", f"SELECT v, v[{high}], v[{low}] FROM t",
                    f"DELETE v[{high}] FROM t WHERE k = 1", "SELECT v FROM t", "UPDATE t SET v = {} WHERE k = 1",
                    "SELECT v FROM t")
        matrix.case(f"map_from_{kind}", [row(kind), "1.15"], f"CREATE TABLE t (k int PRIMARY KEY, v map<{kind}, int>)",
                    f"INSERT INTO t (k, v) VALUES (1, {{{high}: 3, {low}: 1, {middle}: 2}})",
                    f"SELECT v, v[{middle}] FROM t", f"SELECT v[{middle}..], v[..{middle}], v[{low}..{middle}] FROM t",
                    f"DELETE v[{low}] FROM t WHERE k = 1", f"UPDATE t SET v[{high}] = 9 WHERE k = 1", "SELECT v FROM t",
                    f"SELECT k FROM t WHERE v CONTAINS KEY {high} ALLOW FILTERING",
                    "SELECT k FROM t WHERE v CONTAINS 9 ALLOW FILTERING",
                    f"SELECT k FROM t WHERE v[{high}] = 9 ALLOW FILTERING")
        for outer, texts in {
            "list": (f"[{low}]", f"[{low}, {high}]", f"[{middle}]", "[]"),
            "set": (f"{{{low}}}", f"{{{high}, {low}}}", f"{{{middle}}}", "{}"),
        }.items():
            matrix.case(f"frozen_{outer}_of_{kind}", [row(kind), "1.16", "1.03"],
                        f"CREATE TABLE t (k int, c frozen<{outer}<{kind}>>, v int, PRIMARY KEY (k, c))",
                        *[f"INSERT INTO t (k, c, v) VALUES (1, {text}, {index})" for index, text in enumerate(texts)],
                        "SELECT c, v FROM t", f"SELECT v FROM t WHERE k = 1 AND c = {texts[1]}",
                        f"SELECT v FROM t WHERE k = 1 AND c > {texts[0]}",
                        f"SELECT v FROM t WHERE k = 1 AND c CONTAINS {low} ALLOW FILTERING",
                        f"DELETE FROM t WHERE k = 1 AND c = {texts[3]}", "SELECT v FROM t ")
        matrix.case(f"tuple_key_of_{kind}", [row(kind), "1.17", "1.03"],
                    f"CREATE TABLE t (k int, c tuple<{kind}, int>, v int, PRIMARY KEY (k, c))",
                    f"INSERT INTO t (k, c, v) VALUES (1, ({middle}, 2), 0)",
                    f"INSERT INTO t (k, c, v) VALUES (1, ({middle}, 1), 1)",
                    f"INSERT INTO t (k, c, v) VALUES (1, ({low}, 9), 2)",
                    "INSERT INTO t (k, c, v) VALUES (1, (null, 9), 3)", "SELECT c, v FROM t",
                    f"SELECT v FROM t WHERE k = 1 AND c >= ({middle}, 1)",
                    f"SELECT v FROM t WHERE k = 1 AND c = ({middle}, 1)")
    matrix.write()


def casts():
    matrix = Matrix("casts", "CAST between types.")
    groups = {"numbers": NUMBERS, "texts": ["text", "ascii", "varchar", "blob", "boolean"],
              "times": ["timestamp", "date", "time", "timeuuid", "uuid", "duration", "inet", "counter"]}
    for kind in SAMPLES:
        values = PLAIN[kind] + ([SAMPLES[kind][0][0], SAMPLES[kind][0][-1]] if kind in NUMBERS else [])
        for group, targets in groups.items():
            inserts = [f"INSERT INTO t (k, v) VALUES ({index}, {value})" for index, value in enumerate(values)]
            matrix.case(f"{kind}_to_{group}", ["4.05", row(kind)], f"CREATE TABLE t (k int PRIMARY KEY, v {kind})",
                        *inserts, "INSERT INTO t (k) VALUES (9)",
                        *[f"SELECT k, CAST(v AS {target}) FROM t" for target in targets])
    matrix.write()


def functions():
    matrix = Matrix("functions", "The native functions and aggregates for every type that they may take.")
    for kind in SAMPLES:
        values = [value for value in SAMPLES[kind][0]] if kind not in ("double", "float") else PLAIN[kind]
        table = [f"CREATE TABLE t (k int PRIMARY KEY, v {kind})"]
        table += [f"INSERT INTO t (k, v) VALUES ({index}, {value})" for index, value in enumerate(values)]
        table += ["INSERT INTO t (k) VALUES (99)"]
        matrix.case(f"aggregates_of_{kind}", ["4.07", row(kind)], *table,
                    "SELECT count(*), count(1), count(v) FROM t", "SELECT min(v), max(v) FROM t", "SELECT sum(v) FROM t",
                    "SELECT avg(v) FROM t", "SELECT min(v), max(v), count(v) FROM t WHERE k = 99",
                    "SELECT min(v), count(*) FROM t WHERE k = 1000", "SELECT sum(v) FROM t WHERE k = 1000")
        matrix.case(f"blobs_of_{kind}", ["4.04", row(kind)], *table, f"SELECT k, {kind}_as_blob(v) FROM t",
                    f"SELECT k, {kind}asblob(v) FROM t", f"SELECT blob_as_{kind}({kind}_as_blob(v)) FROM t WHERE k = 1",
                    f"INSERT INTO t (k, v) VALUES (50, blob_as_{kind}(0x00))",
                    f"INSERT INTO t (k, v) VALUES (51, blob_as_{kind}({kind}_as_blob({PLAIN[kind][1]})))",
                    "SELECT v FROM t WHERE k IN (50, 51)")
        matrix.case(f"json_of_{kind}", ["4.12", "3.02", row(kind)], *table, "SELECT k, to_json(v) FROM t",
                    "SELECT JSON k, v FROM t", "SELECT JSON v AS \"Value\" FROM t WHERE k = 0",
                    f"INSERT INTO t (k, v) VALUES (50, from_json(to_json({PLAIN[kind][0]})))")
        matrix.case(f"masks_of_{kind}", ["4.14", row(kind)], *table[:3], "SELECT k, mask_default(v) FROM t",
                    "SELECT k, mask_null(v) FROM t", f"SELECT k, mask_replace(v, {PLAIN[kind][2]}) FROM t",
                    "SELECT k, mask_inner(v, 1, 1) FROM t", "SELECT k, mask_outer(v, 1, 1, '#') FROM t",
                    "SELECT k, mask_hash(v) FROM t", "SELECT k, mask_hash(v, 'MD5') FROM t")
        matrix.case(f"times_of_{kind}", ["4.06", "1.24", row(kind)], f"CREATE TABLE t (k int PRIMARY KEY, v {kind})",
                    f"INSERT INTO t (k, v) VALUES (1, {PLAIN[kind][0]}) USING TIMESTAMP 1000",
                    f"INSERT INTO t (k, v) VALUES (2, {PLAIN[kind][1]}) USING TIMESTAMP 1001 AND TTL 0",
                    "SELECT k, writetime(v), maxwritetime(v), minwritetime(v), ttl(v) FROM t",
                    "UPDATE t USING TIMESTAMP 999 SET v = null WHERE k = 1", "SELECT writetime(v) FROM t WHERE k = 1",
                    "UPDATE t USING TIMESTAMP 1000 SET v = null WHERE k = 1", "SELECT v, writetime(v) FROM t WHERE k = 1",
                    "SELECT k FROM t WHERE k = 1")
    for kind in NUMBERS:
        values = PLAIN[kind]
        table = [f"CREATE TABLE t (k int PRIMARY KEY, v {kind}, l list<{kind}>, s set<{kind}>, m map<int, {kind}>)"]
        table += [f"INSERT INTO t (k, v, l, s, m) VALUES ({index}, {value}, [{value}, {values[2]}], {{{value}}}, "
                  f"{{1: {value}, 2: {values[2]}}})" for index, value in enumerate(values)]
        table += ["INSERT INTO t (k, l, s) VALUES (9, [], {})"]
        matrix.case(f"math_of_{kind}", ["4.08"], *table, "SELECT k, abs(v) FROM t", "SELECT k, round(v) FROM t",
                    "SELECT k, exp(v) FROM t WHERE k = 1", "SELECT k, log(v) FROM t WHERE k = 2",
                    "SELECT k, log10(v) FROM t WHERE k = 2", "SELECT exp(l) FROM t WHERE k = 1")
        matrix.case(f"collection_functions_of_{kind}", ["4.09"], *table,
                    "SELECT k, collection_count(l), collection_count(s), collection_count(m) FROM t",
                    "SELECT k, collection_min(l), collection_max(l), collection_min(s) FROM t",
                    "SELECT k, collection_sum(l), collection_avg(l) FROM t", "SELECT k, collection_sum(s) FROM t",
                    "SELECT k, map_keys(m), map_values(m) FROM t", "SELECT k, collection_sum(m) FROM t",
                    "SELECT collection_sum(v) FROM t", "SELECT k, collection_avg(map_values(m)) FROM t")
    matrix.write()


def arithmetic():
    matrix = Matrix("arithmetic", "The operators between every two numeric types: type and value of the result.")
    sample = {"float": "2.5", "double": "-7.25", "decimal": "10.30"}
    for left in NUMBERS:
        for right in NUMBERS:
            one, other = sample.get(left, "7"), sample.get(right, "3")
            matrix.case(f"{left}_and_{right}", ["3.32"],
                        f"CREATE TABLE t (k int PRIMARY KEY, a {left}, b {right}, z {right}, n {left})",
                        f"INSERT INTO t (k, a, b, z) VALUES (1, {one}, {other}, 0)",
                        "SELECT a + b, a - b, a * b FROM t", "SELECT a / b, a % b FROM t", "SELECT -a, -b FROM t",
                        "SELECT a / z FROM t", "SELECT a % z FROM t", "SELECT a + n, n * b FROM t",
                        "SELECT a + b * a - b FROM t", "SELECT (a + b) * a FROM t",
                        f"UPDATE t SET n = a + {other} WHERE k = 1",
                        f"INSERT INTO t (k, n) VALUES (2, {one} + {other} * 2)", "SELECT n FROM t WHERE k = 2")
    matrix.write()


def indexes():
    matrix = Matrix("indexes", "Every type under a secondary index, and under filtering.")
    for kind in KEYS:
        low, middle, high = PLAIN[kind]
        inserts = [f"INSERT INTO t (k, c, v, w) VALUES ({index}, {index}, {value}, {index % 2})"
                   for index, value in enumerate([low, middle, high, middle])]
        matrix.case(f"index_on_{kind}", ["5.01", "2.15", row(kind)],
                    f"CREATE TABLE t (k int, c int, v {kind}, w int, PRIMARY KEY (k, c))", *inserts[:2],
                    "CREATE INDEX i ON t (v)", *inserts[2:], f"SELECT k FROM t WHERE v = {middle}",
                    f"SELECT k FROM t WHERE v = {middle} AND w = 1", f"SELECT k FROM t WHERE v = {middle} AND w = 1 "
                    "ALLOW FILTERING", f"UPDATE t SET v = {low} WHERE k = 3 AND c = 3",
                    f"SELECT k FROM t WHERE v = {low}", "DELETE v FROM t WHERE k = 0 AND c = 0",
                    f"SELECT k FROM t WHERE v = {low}", f"SELECT k FROM t WHERE v > {low}",
                    f"SELECT k FROM t WHERE v = {low} AND k = 3", "DELETE FROM t WHERE k = 3",
                    f"SELECT k FROM t WHERE v = {low}")
        matrix.case(f"filter_on_{kind}", ["3.14", row(kind)],
                    f"CREATE TABLE t (k int, c int, v {kind}, w int, PRIMARY KEY (k, c))", *inserts,
                    f"SELECT k FROM t WHERE v = {middle}", f"SELECT k FROM t WHERE v = {middle} ALLOW FILTERING",
                    f"SELECT k FROM t WHERE v > {low} ALLOW FILTERING",
                    f"SELECT k FROM t WHERE v <= {middle} ALLOW FILTERING",
                    f"SELECT k FROM t WHERE v IN ({low}, {high}) ALLOW FILTERING",
                    f"SELECT k FROM t WHERE v >= {middle} AND w = 1 ALLOW FILTERING",
                    (["page 1"], f"SELECT k FROM t WHERE v >= {middle} LIMIT 2 ALLOW FILTERING"))
        matrix.case(f"collection_indexes_on_{kind}", ["5.03", "3.08", row(kind)],
                    f"CREATE TABLE t (k int PRIMARY KEY, l list<{kind}>, s set<{kind}>, m map<{kind}, {kind}>, "
                    f"f frozen<list<{kind}>>)",
                    "CREATE INDEX ON t (l)", "CREATE INDEX ON t (values(s))", "CREATE INDEX ON t (keys(m))",
                    "CREATE INDEX ON t (full(f))",
                    f"INSERT INTO t (k, l, s, m, f) VALUES (1, [{low}, {middle}], {{{low}}}, {{{low}: {high}}}, [{low}])",
                    f"INSERT INTO t (k, l, s, m, f) VALUES (2, [{high}], {{{low}, {high}}}, {{{high}: {low}}}, [])",
                    f"SELECT k FROM t WHERE l CONTAINS {middle}", f"SELECT k FROM t WHERE s CONTAINS {low}",
                    f"SELECT k FROM t WHERE m CONTAINS KEY {high}", f"SELECT k FROM t WHERE m CONTAINS {high}",
                    f"SELECT k FROM t WHERE f = [{low}]", f"UPDATE t SET s = s - {{{low}}} WHERE k = 1",
                    f"SELECT k FROM t WHERE s CONTAINS {low}", "DELETE m FROM t WHERE k = 2",
                    f"SELECT k FROM t WHERE m CONTAINS KEY {high}")
    matrix.write()


def schema():
    matrix = Matrix("schema", "Every type in definitions: columns added, dropped and added again, statics, groups.")
    for kind in SAMPLES:
        low, middle, high = PLAIN[kind]
        matrix.case(f"alter_{kind}", ["2.08", "2.13", row(kind)], "CREATE TABLE t (k int PRIMARY KEY, a int)",
                    "INSERT INTO t (k, a) VALUES (1, 1)", f"ALTER TABLE t ADD v {kind}", "SELECT * FROM t",
                    f"UPDATE t SET v = {middle} WHERE k = 1", "SELECT * FROM t", "ALTER TABLE t DROP v",
                    "SELECT * FROM t", f"UPDATE t SET v = {middle} WHERE k = 1", f"ALTER TABLE t ADD v {kind}",
                    "SELECT * FROM t", f"UPDATE t SET v = {high} WHERE k = 1", "SELECT * FROM t",
                    "SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = 'ks' "
                    "AND table_name = 't'")
        matrix.case(f"readd_{kind}", ["2.13", row(kind)], f"CREATE TABLE t (k int PRIMARY KEY, v {kind})",
                    "ALTER TABLE t DROP v", "ALTER TABLE t ADD v int", "ALTER TABLE t ADD v blob",
                    f"ALTER TABLE t ADD v list<{kind}>", f"ALTER TABLE t ADD v {kind}", f"ALTER TABLE t ADD v {kind}",
                    f"ALTER TABLE t ALTER v TYPE {kind}")
        matrix.case(f"static_{kind}", ["1.04", row(kind)],
                    f"CREATE TABLE t (k int, c int, s {kind} static, v int, PRIMARY KEY (k, c))",
                    f"INSERT INTO t (k, s) VALUES (1, {low})", "SELECT * FROM t",
                    f"INSERT INTO t (k, c, s, v) VALUES (1, 1, {middle}, 1)", "INSERT INTO t (k, c, v) VALUES (1, 2, 2)",
                    f"INSERT INTO t (k, s) VALUES (2, {high})", "SELECT * FROM t", "SELECT DISTINCT k, s FROM t",
                    "DELETE s FROM t WHERE k = 1", "SELECT * FROM t", "DELETE FROM t WHERE k = 1 AND c >= 0",
                    "SELECT * FROM t")
        matrix.case(f"bound_{kind}", ["3.34", "3.35", "1.21", row(kind)],
                    f"CREATE TABLE t (k int PRIMARY KEY, v {kind})", f"INSERT INTO t (k, v) VALUES (1, {middle})",
                    (["bind unset, 1"], "UPDATE t SET v = ? WHERE k = ?"), "SELECT v FROM t",
                    (["bind null, 1"], "UPDATE t SET v = ? WHERE k = ?"), "SELECT v FROM t",
                    (["bind raw 0x, 1"], "UPDATE t SET v = ? WHERE k = ?"), "SELECT v FROM t",
                    (["bind raw 0x010203, 1"], "UPDATE t SET v = ? WHERE k = ?"), "SELECT v FROM t",
                    (["bind raw 0xffffffffffffffffffffffffffffffffff, 2"], "UPDATE t SET v = ? WHERE k = ?"),
                    "SELECT v FROM t")
        matrix.case(f"hinted_{kind}", ["3.33", row(kind)], f"CREATE TABLE t (k int PRIMARY KEY, v {kind}, b blob)",
                    f"INSERT INTO t (k, v) VALUES (1, ({kind}) {middle})", "SELECT v FROM t",
                    f"INSERT INTO t (k, b) VALUES (2, ({kind}) {middle})", "SELECT b FROM t WHERE k = 2",
                    f"INSERT INTO t (k, b) VALUES (2, {kind}_as_blob(({kind}) {middle}))",
                    "SELECT b FROM t WHERE k = 2", f"SELECT ({kind}) {middle} FROM t WHERE k = 1",
                    f"INSERT INTO t (k, v) VALUES (3, (blob) {middle})")
    for kind in KEYS:
        low, middle, high = PLAIN[kind]
        matrix.case(f"groups_of_{kind}", ["3.19", "3.36", row(kind)],
                    f"CREATE TABLE t (k int, a {kind}, b int, v int, PRIMARY KEY (k, a, b))",
                    *[f"INSERT INTO t (k, a, b, v) VALUES ({key}, {value}, {index}, {index * 10 + key})"
                      for key in (1, 2) for index, value in enumerate([low, middle, middle, high])],
                    "SELECT k, a, count(*), sum(v) FROM t GROUP BY k, a", "SELECT k, max(v) FROM t GROUP BY k",
                    (["page 1"], "SELECT k, a, count(*) FROM t GROUP BY k, a"),
                    "SELECT a, max(b) FROM t WHERE k = 1 GROUP BY a LIMIT 1",
                    "SELECT k, a, v FROM t GROUP BY k, a PER PARTITION LIMIT 1",
                    "SELECT a, b FROM t WHERE k = 1 GROUP BY a ORDER BY a DESC",
                    f"SELECT count(*) FROM t WHERE k = 1 AND a >= {middle} GROUP BY a, b", "SELECT a FROM t GROUP BY a")
        matrix.case(f"pages_of_{kind}", ["3.36", "3.18", row(kind)],
                    f"CREATE TABLE t (k int, a {kind}, b int, PRIMARY KEY (k, a, b)) WITH CLUSTERING ORDER BY (a DESC, "
                    "b ASC)",
                    *[f"INSERT INTO t (k, a, b) VALUES ({key}, {value}, {index})"
                      for key in (1, 2) for index, value in enumerate([low, middle, middle, high])],
                    (["page 1"], "SELECT k, b FROM t"), (["page 3"], "SELECT k, b FROM t LIMIT 5"),
                    (["page 2"], "SELECT k, b FROM t PER PARTITION LIMIT 3"),
                    (["page 2"], "SELECT b FROM t WHERE k = 1 ORDER BY a ASC, b DESC"),
                    (["page 1"], f"SELECT b FROM t WHERE k = 2 AND a <= {middle}"),
                    (["page 1"], f"SELECT k, b FROM t WHERE k IN (2, 1) AND a = {middle}"),
                    (["page 1"], "SELECT DISTINCT k FROM t"),
                    f"SELECT b FROM t WHERE k = 1 AND (a, b) > ({middle}, 1)",
                    f"SELECT b FROM t WHERE k = 1 AND (a, b) IN (({high}, 3), ({low}, 0), ({low}, 7))")
    matrix.write()


def json():
    matrix = Matrix("json", "INSERT JSON for every type: what JSON values it takes, and in which forms.")
    forms = {"integer": "1", "negative": "-1", "fraction": "1.5", "true": "true", "digits": '"1"', "text": '"abc"',
             "empty": '""', "null": "null", "list": "[1]", "object": '{"a": 1}', "huge": "99999999999999999999"}
    good = {"ascii": '"plain"', "blob": '"0x00ff"', "date": '"2024-02-29"', "inet": '"10.0.0.1"',
            "time": '"08:12:54.123"', "timestamp": '"2024-02-29 12:30:45.678Z"',
            "timeuuid": '"50554d6e-29bb-11e5-b345-feff819cdc9f"', "uuid": '"123e4567-e89b-42d3-a456-426614174000"',
            "duration": '"1y2mo3d"', "text": '"é \\u00e9 \\"q\\""'}
    kinds = list(SAMPLES) + ["list<int>", "set<text>", "map<int, text>", "tuple<int, text>", "vector<float, 1>"]
    for kind in kinds:
        word = kind.split("<")[0]
        steps = [f"INSERT INTO t JSON '{{\"k\": \"{name}\", \"v\": {form}}}'" for name, form in forms.items()]
        if kind in good:
            steps.append(f"INSERT INTO t JSON '{{\"k\": \"good\", \"v\": {good[kind]}}}'")
        table = f"CREATE TABLE t (k text PRIMARY KEY, v {kind})"
        rows = ["3.02", row(word) if "<" not in kind else "1.15"]
        matrix.case(f"{word}_numbers", rows, table, *steps[:4], "SELECT k, v FROM t", "SELECT JSON * FROM t")
        matrix.case(f"{word}_others", rows, table, *steps[4:], "SELECT k, v FROM t", "SELECT JSON * FROM t")
        inner = PLAIN.get(kind, [None])[0]
        if inner and kind != "duration":
            matrix.case(f"{word}_nested", [*rows, "1.16"],
                        f"CREATE TABLE t (k int PRIMARY KEY, l list<{kind}>, m map<{kind}, frozen<set<{kind}>>>)",
                        f"INSERT INTO t (k, l, m) VALUES (1, [{inner}], {{{inner}: {{{inner}}}}})",
                        "SELECT JSON * FROM t", "SELECT to_json(m), to_json(l) FROM t",
                        "INSERT INTO t JSON '{\"k\": 2, \"l\": [null]}'", "INSERT INTO t JSON '{\"k\": 2, \"l\": []}'",
                        "SELECT k, l FROM t WHERE k = 2")
    matrix.write()


def vectors():
    matrix = Matrix("vectors", "Vectors of every type, and their similarity.")
    for kind in SAMPLES:
        low, middle, high = PLAIN[kind]
        matrix.case(f"vector_of_{kind}", ["1.19", row(kind)],
                    f"CREATE TABLE t (k int PRIMARY KEY, v vector<{kind}, 2>)",
                    f"INSERT INTO t (k, v) VALUES (1, [{low}, {high}])", f"INSERT INTO t (k, v) VALUES (2, [{low}])",
                    f"INSERT INTO t (k, v) VALUES (3, [{low}, {middle}, {high}])",
                    f"INSERT INTO t (k, v) VALUES (4, [{low}, null])", "SELECT k, v FROM t",
                    f"UPDATE t SET v = [{middle}, {middle}] WHERE k = 1", "SELECT v, writetime(v) FROM t WHERE k = 99",
                    "SELECT to_json(v) FROM t", f"SELECT k FROM t WHERE v = [{middle}, {middle}] ALLOW FILTERING",
                    f"UPDATE t SET v[0] = {low} WHERE k = 1", "SELECT v[0] FROM t",
                    f"UPDATE t SET v = v + [{low}, {low}] WHERE k = 1", "SELECT similarity_cosine(v, v) FROM t")
    matrix.write()


ORDERS = [(a, b, c) for a in ("ASC", "DESC") for b in ("ASC", "DESC") for c in ("ASC", "DESC")]


def cube(orders):
    """A table of three clustering columns and what is in it."""
    names = "abc"[:len(orders)]
    order = ", ".join(f"{name} {way}" for name, way in zip(names, orders))
    table = (f"CREATE TABLE t (k int, a int, b int, c int, v int, PRIMARY KEY (k, a, b, c)) "
             f"WITH CLUSTERING ORDER BY ({order})")
    rows = [(a, b, c) for a in (1, 2) for b in (1, 2, 3) for c in (1, 2)]
    batch = "".join(f"  INSERT INTO t (k, a, b, c, v) VALUES (1, {a}, {b}, {c}, {a * 100 + b * 10 + c});\n"
                    for a, b, c in rows)
    return [table, f"BEGIN UNLOGGED BATCH\n{batch}APPLY BATCH"]


SLICES = ["a = 1 AND b > 1", "a = 1 AND b >= 2 AND b < 3", "a = 2 AND b <= 2", "a > 1", "a <= 1",
          "a = 1 AND b = 2 AND c > 1", "a = 1 AND b IN (3, 1)", "a IN (2, 1) AND b IN (2) AND c < 2",
          "a IN (2, 1) AND b >= 3"]
TUPLES = ["(a, b) > (1, 2)", "(a, b) >= (1, 2)", "(a, b) < (2, 2)", "(a, b) <= (2, 2)", "(a, b, c) > (1, 2, 1)",
          "(a, b, c) <= (2, 2, 1)", "(a, b) > (1, 1) AND (a, b) < (2, 2)", "(a, b, c) >= (1, 3, 2) AND (a) < (2)",
          "(a) >= (2) AND (a, b, c) < (2, 3, 2)", "(a, b) IN ((2, 1), (1, 3), (2, 1))",
          "(a, b, c) IN ((2, 1, 2), (1, 1, 1))", "a = 1 AND (b, c) > (1, 2)", "a = 2 AND (b, c) IN ((3, 1), (1, 2))",
          "(a, b) = (1, 2) AND c >= 2"]


def slices():
    matrix = Matrix("slices", "Slices, points and tuples over three clustering columns in every mix of orders.")
    for orders in ORDERS:
        name = "_".join(order.lower() for order in orders)
        rows = ["1.03", "3.05", "3.15"]
        reverse = ", ".join(f"{column} {'DESC' if order == 'ASC' else 'ASC'}" for column, order in zip("abc", orders))
        matrix.case(f"slices_{name}", rows, *cube(orders),
                    *[f"SELECT v FROM t WHERE k = 1 AND {where}" for where in SLICES])
        matrix.case(f"slices_reversed_{name}", rows, *cube(orders),
                    *[f"SELECT v FROM t WHERE k = 1 AND {where} ORDER BY {reverse}" for where in SLICES],
                    (["page 2"], f"SELECT v FROM t WHERE k = 1 AND a >= 1 ORDER BY {reverse} LIMIT 5"))
        matrix.case(f"tuples_{name}", [*rows, "3.06"], *cube(orders),
                    *[f"SELECT v FROM t WHERE k = 1 AND {where}" for where in TUPLES])
        matrix.case(f"tuples_reversed_{name}", [*rows, "3.06", "3.36"], *cube(orders),
                    *[(["page 3"], f"SELECT v FROM t WHERE k = 1 AND {where} ORDER BY {reverse}") for where in TUPLES])
        matrix.case(f"range_deletions_{name}", [*rows, "3.25"], *cube(orders),
                    "DELETE FROM t WHERE k = 1 AND a = 1 AND b > 2", "SELECT v FROM t",
                    "DELETE FROM t WHERE k = 1 AND (a, b) >= (2, 3)", "SELECT v FROM t",
                    "DELETE FROM t WHERE k = 1 AND a = 2 AND b = 1 AND c < 2", "SELECT v FROM t",
                    "INSERT INTO t (k, a, b, c, v) VALUES (1, 1, 3, 1, 0)",
                    "DELETE FROM t WHERE k = 1 AND (a, b, c) > (1, 1, 1) AND (a, b) < (1, 3)", "SELECT v FROM t",
                    "DELETE FROM t WHERE k = 1 AND a <= 1", "SELECT v FROM t")
    matrix.write()


# The kinds of columns that a relation may be about: how they are named, and a value of each.
KINDS = {
    "partition_key_part": ("p", "1"), "last_partition_key_part": ("q", "1"), "first_clustering": ("a", "1"),
    "second_clustering": ("b", "1"), "static": ("s", "1"), "regular": ("v", "1"), "text": ("x", "'x'"),
    "list": ("l", "[1]"), "set": ("e", "{1}"), "map": ("m", "{1: 1}"), "frozen_list": ("fl", "[1]"),
    "frozen_map": ("fm", "{1: 1}"), "udt": ("u", "{f: 1}"), "frozen_udt": ("fu", "{f: 1}"), "tuple": ("y", "(1, 1)"),
    "duration": ("d", "1d"), "vector": ("z", "[1.0]"),
}
WIDE = ["CREATE TYPE w (f int)",
        "CREATE TABLE t (p int, q int, a int, b int, s int static, v int, x text, l list<int>, e set<int>, "
        "m map<int, int>, fl frozen<list<int>>, fm frozen<map<int, int>>, u w, fu frozen<w>, y tuple<int, int>, "
        "d duration, z vector<float, 1>, PRIMARY KEY ((p, q), a, b))"]
FULL = ("INSERT INTO t (p, q, a, b, s, v, x, l, e, m, fl, fm, u, fu, y, d, z) VALUES "
        "(1, 1, 1, 1, 1, 1, 'x', [1], {1}, {1: 1}, [1], {1: 1}, {f: 1}, {f: 1}, (1, 1), 1d, [1.0])")


def relations():
    matrix = Matrix("relations", "Every relation on every kind of column: alone, filtered, beside the partition key.")
    for kind, (name, value) in KINDS.items():
        forms = [f"{name} = {value}", f"{name} IN ({value})", f"{name} > {value}", f"{name} <= {value}",
                 f"{name} CONTAINS 1", f"{name} CONTAINS KEY 1", f"{name}[1] = 1", f"{name}.f = 1",
                 f"{name} LIKE 'x%'", f"{name} IS NOT NULL", f"{name} != {value}", f"{name} = null",
                 f"({name}) = ({value})", f"token({name}) > 0"]
        for way, head, tail in (("alone", "", ""), ("filtered", "", " ALLOW FILTERING"),
                                ("beside_key", "p = 1 AND q = 1 AND ", "")):
            if way == "beside_key" and name in "pq":
                continue
            matrix.case(f"relations_on_{kind}_{way}", ["3.04", "3.05", "3.08", "3.14"], *WIDE, FULL,
                        *[f"SELECT a FROM t WHERE {head}{form}{tail}" for form in forms])
    matrix.write()


def assignments():
    matrix = Matrix("assignments", "Every assignment and every deletion for every kind of column.")
    for kind, (name, value) in KINDS.items():
        where = "WHERE p = 1 AND q = 1" + ("" if kind == "static" else " AND a = 1 AND b = 1")
        forms = [f"{name} = {value}", f"{name} = null", f"{name} = {name} + {value}", f"{name} = {value} + {name}",
                 f"{name} = {name} - {value}", f"{name} += {value}", f"{name} -= {value}", f"{name}[0] = 2",
                 f"{name}.f = 2", f"{name} = {name}", f"{name} = 1.5", f"{name} = 'text'", f"{name} = (1, 2, 3)"]
        steps = []
        for form in forms:
            steps += [f"UPDATE t SET {form} {where}", f"SELECT {name} FROM t"]
        matrix.case(f"assignments_to_{kind}", ["3.23", "1.05"], *WIDE, FULL, *steps)
        matrix.case(f"deletions_of_{kind}", ["3.25"], *WIDE, FULL, f"DELETE {name}[0] FROM t {where}",
                    f"SELECT {name} FROM t", f"DELETE {name}[1] FROM t {where}", f"SELECT {name} FROM t",
                    f"DELETE {name}.f FROM t {where}", f"SELECT {name} FROM t", f"DELETE {name} FROM t {where}",
                    f"SELECT {name} FROM t", f"SELECT DISTINCT p, q, {name} FROM t")
    matrix.write()


def reconciliation():
    matrix = Matrix("reconciliation", "Every two writes of a row with the first older, as old, and newer.")
    writes = {
        "insert": "INSERT INTO t (k, c, v) VALUES ({k}, 1, 5) USING TIMESTAMP {at}",
        "insert_null": "INSERT INTO t (k, c, v) VALUES ({k}, 1, null) USING TIMESTAMP {at}",
        "update": "UPDATE t USING TIMESTAMP {at} SET v = 7 WHERE k = {k} AND c = 1",
        "expiring": "UPDATE t USING TIMESTAMP {at} AND TTL 100000 SET v = 6 WHERE k = {k} AND c = 1",
        "delete_cell": "DELETE v FROM t USING TIMESTAMP {at} WHERE k = {k} AND c = 1",
        "delete_row": "DELETE FROM t USING TIMESTAMP {at} WHERE k = {k} AND c = 1",
        "delete_range": "DELETE FROM t USING TIMESTAMP {at} WHERE k = {k} AND c > 0",
        "delete_partition": "DELETE FROM t USING TIMESTAMP {at} WHERE k = {k}",
    }
    for first, one in writes.items():
        for second, other in writes.items():
            steps = []
            for key, at in ((1, 9), (2, 10), (3, 11)):
                steps += [one.format(k=key, at=at), other.format(k=key, at=10)]
            matrix.case(f"{first}_then_{second}", ["1.05", "1.06", "3.25"],
                        "CREATE TABLE t (k int, c int, v int, s int static, PRIMARY KEY (k, c))", *steps,
                        "SELECT k, c, v, writetime(v) FROM t WHERE k IN (1, 2, 3)",
                        "SELECT count(*), count(v) FROM t")
    changes = {
        "overwrite": "UPDATE t USING TIMESTAMP {at} SET m = {{1: 1, 2: 2}} WHERE k = {k}",
        "put": "UPDATE t USING TIMESTAMP {at} SET m[1] = 5, m[3] = 5 WHERE k = {k}",
        "put_null": "UPDATE t USING TIMESTAMP {at} SET m[1] = null WHERE k = {k}",
        "remove": "UPDATE t USING TIMESTAMP {at} SET m = m - {{1, 3}} WHERE k = {k}",
        "delete_map": "DELETE m FROM t USING TIMESTAMP {at} WHERE k = {k}",
        "delete_map_row": "DELETE FROM t USING TIMESTAMP {at} WHERE k = {k}",
    }
    for first, one in changes.items():
        for second, other in changes.items():
            steps = []
            for key, at in ((1, 9), (2, 10), (3, 11)):
                steps += [one.format(k=key, at=at), other.format(k=key, at=10)]
            matrix.case(f"map_{first}_then_{second}", ["1.05", "1.15", "3.25"],
                        "CREATE TABLE t (k int PRIMARY KEY, m map<int, int>)", *steps,
                        "SELECT k, m, writetime(m) FROM t WHERE k IN (1, 2, 3)")
    matrix.write()


def paging():
    matrix = Matrix("paging", "Every form of a query in pages of one, two, three and many rows.")
    table = ["CREATE TABLE t (k int, a int, b int, s int static, v int, PRIMARY KEY (k, a, b))"]
    rows = [(k, a, b) for k in (1, 2, 3) for a in (1, 2) for b in (1, 2)]
    table += [f"INSERT INTO t (k, a, b, v) VALUES ({k}, {a}, {b}, {(k + a * b) % 3})" for k, a, b in rows]
    table += ["INSERT INTO t (k, s) VALUES (4, 4)", "UPDATE t SET s = 9 WHERE k = 2",
              "DELETE FROM t WHERE k = 3 AND a = 1", "CREATE INDEX i ON t (v)"]
    forms = {
        "all": "SELECT * FROM t", "limited": "SELECT k, a, b FROM t LIMIT 7",
        "per_partition": "SELECT k, a, b FROM t PER PARTITION LIMIT 2",
        "both_limits": "SELECT k, a, b FROM t PER PARTITION LIMIT 3 LIMIT 5",
        "partition": "SELECT * FROM t WHERE k = 1", "reversed": "SELECT * FROM t WHERE k = 1 ORDER BY a DESC",
        "slice": "SELECT b FROM t WHERE k = 2 AND a = 1 AND b >= 1", "tuple": "SELECT a, b FROM t WHERE k = 1 "
        "AND (a, b) > (1, 1)", "points": "SELECT a, b FROM t WHERE k = 1 AND a IN (2, 1) AND b IN (1, 2)",
        "partitions": "SELECT k, a, b FROM t WHERE k IN (3, 1, 4)", "partitions_limited":
        "SELECT k, a, b FROM t WHERE k IN (3, 1) AND a > 1 LIMIT 3", "token": "SELECT k, a, b FROM t WHERE "
        "token(k) > token(1)", "distinct": "SELECT DISTINCT k, s FROM t", "distinct_limited":
        "SELECT DISTINCT k FROM t LIMIT 2", "filtered": "SELECT k, a, b FROM t WHERE b = 2 ALLOW FILTERING",
        "filtered_limited": "SELECT k, a, b FROM t WHERE b = 2 LIMIT 3 ALLOW FILTERING", "filtered_per_partition":
        "SELECT k, a, b FROM t WHERE b > 0 PER PARTITION LIMIT 1 ALLOW FILTERING", "indexed":
        "SELECT k, a, b FROM t WHERE v = 1", "indexed_filtered": "SELECT k, a, b FROM t WHERE v = 1 AND b = 1 "
        "ALLOW FILTERING", "indexed_limited": "SELECT k, a, b FROM t WHERE v = 0 LIMIT 2", "count":
        "SELECT count(*) FROM t", "grouped": "SELECT k, a, count(*), sum(v) FROM t GROUP BY k, a",
        "grouped_partition": "SELECT k, count(*) FROM t GROUP BY k", "grouped_limited":
        "SELECT k, a, max(b) FROM t GROUP BY k, a LIMIT 3", "grouped_per_partition":
        "SELECT k, a, max(b) FROM t GROUP BY k, a PER PARTITION LIMIT 1", "grouped_reversed":
        "SELECT a, count(*) FROM t WHERE k = 2 GROUP BY a ORDER BY a DESC", "json": "SELECT JSON k, a, b FROM t",
        "statics": "SELECT k, s FROM t", "writetime": "SELECT k, a, b FROM t WHERE s = 9 ALLOW FILTERING",
    }
    for name, text in forms.items():
        matrix.case(f"paged_{name}", ["3.36", "3.18"], *table, text,
                    *[([f"page {size}"], text) for size in (1, 2, 3, 100)])
    matrix.write()


def options():
    matrix = Matrix("options", "Every option of a table: good values, bad ones, changed, seen in the schema.")
    table = {
        "bloom_filter_fp_chance": (["0.01", "1.0"], ["-0.1", "1.1", "'x'", "null", "0.00000001"]),
        "comment": (["''", "'text'"], ["1", "null", "{}"]),
        "crc_check_chance": (["0.0", "1.0", "0.5"], ["-0.1", "1.1", "'x'"]),
        "default_time_to_live": (["0", "100"], ["-1", "'x'", "1.5", "630720001"]),
        "gc_grace_seconds": (["0", "864000"], ["-1", "'x'", "2147483648"]),
        "max_index_interval": (["2048", "256"], ["0", "64", "'x'"]),
        "memtable_flush_period_in_ms": (["0", "1000"], ["-1", "'x'"]),
        "min_index_interval": (["128", "1"], ["0", "4096", "'x'"]),
        "speculative_retry": (["'99p'", "'ALWAYS'", "'NEVER'", "'10ms'", "'1.5ms'", "'50PERCENTILE'",
                               "'MAX(90p,10ms)'"], ["'x'", "'-1ms'", "'100.5p'", "5"]),
        "additional_write_policy": (["'99p'", "'ALWAYS'", "'NEVER'", "'10ms'"], ["'x'", "5"]),
        "read_repair": (["'BLOCKING'", "'NONE'", "'none'"], ["'x'", "true"]),
        "incremental_backups": (["true", "false", "'true'"], ["'x'", "1"]),
        "allow_auto_snapshot": (["true", "false"], ["'x'", "1"]),
        "caching": (["{'keys': 'ALL', 'rows_per_partition': '100'}", "{}"], ["{'keys': 'x'}", "'ALL'", "{'x': 'y'}"]),
        "compaction": (["{'class': 'SizeTieredCompactionStrategy', 'min_threshold': 2, 'max_threshold': 8}",
                        "{'class': 'LeveledCompactionStrategy'}", "{'class': 'UnifiedCompactionStrategy'}"],
                       ["{'class': 'x'}", "{}", "'x'", "{'class': 'LeveledCompactionStrategy', 'x': 1}",
                        "{'class': 'SizeTieredCompactionStrategy', 'max_threshold': 1}"]),
        "compression": (["{'class': 'LZ4Compressor'}", "{'enabled': 'false'}", "{'class': 'DeflateCompressor'}"],
                        ["{'class': 'x'}", "'x'", "{'x': 'y'}", "{'class': 'LZ4Compressor', 'enabled': false}"]),
        "memtable": (["'default'"], ["'x'", "5"]),
        "extensions": (["{}", "{'a': 'b'}"], ["'x'"]),
    }
    for name, (good, bad) in table.items():
        steps, seen = [], f"SELECT table_name, {name} FROM system_schema.tables WHERE keyspace_name = 'ks'"
        for index, value in enumerate(good):
            steps.append(f"CREATE TABLE t{index} (k int PRIMARY KEY) WITH {name} = {value}")
        matrix.case(f"option_{name}", ["2.22", "2.25"], *steps, seen)
        matrix.case(f"option_{name}_refused", ["2.22", "2.25"],
                    *[f"CREATE TABLE t{index} (k int PRIMARY KEY) WITH {name} = {value}"
                      for index, value in enumerate(bad)], seen)
        matrix.case(f"option_{name}_altered", ["2.10"], "CREATE TABLE t (k int PRIMARY KEY)",
                    f"ALTER TABLE t WITH {name} = {good[-1]}", seen, f"ALTER TABLE t WITH {name} = {bad[0]}", seen,
                    f"ALTER TABLE t WITH {name} = {good[0]}", seen)
    matrix.write()


def conditions():
    matrix = Matrix("conditions", "Every type in conditions.")
    for kind in KEYS:
        low, middle, high = PLAIN[kind]
        matrix.case(f"conditions_on_{kind}", ["3.27", "3.28", row(kind)],
                    f"CREATE TABLE t (k int PRIMARY KEY, v {kind})",
                    f"INSERT INTO t (k, v) VALUES (1, {low}) IF NOT EXISTS",
                    f"INSERT INTO t (k, v) VALUES (1, {middle}) IF NOT EXISTS",
                    f"UPDATE t SET v = {middle} WHERE k = 1 IF v = {low}",
                    f"UPDATE t SET v = {low} WHERE k = 1 IF v > {middle}",
                    f"UPDATE t SET v = {high} WHERE k = 1 IF v >= {middle} AND v != {low}",
                    f"UPDATE t SET v = {low} WHERE k = 1 IF v IN ({middle}, {low})",
                    f"UPDATE t SET v = null WHERE k = 1 IF v IN ({high}, null)", "SELECT v FROM t",
                    f"UPDATE t SET v = {low} WHERE k = 1 IF v = null", "SELECT v FROM t")
    matrix.write()


ALL = [roundtrip, literals, clustering, partition_keys, collections, casts, functions, arithmetic, indexes, schema,
       json, vectors, slices, relations, assignments, reconciliation, paging, options, conditions]


def main():
    wanted = sys.argv[1:]
    for write in ALL:
        if not wanted or write.__name__ in wanted:
            write()


if __name__ == "__main__":
    main()
