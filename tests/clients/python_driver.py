"""The scenario of tests/clients for the DataStax driver for Python: python_driver.py VERSION HOST [HOST ...].

The cluster is a new one: the driver handles what it is told of with a delay, so that a keyspace that is dropped and
created again may be missing from its metadata for a moment. Prints a line for each step and ends with 'done'; anything
that is not as it should be is an exception.
"""

import datetime
import decimal
import ipaddress
import sys
import time
import uuid

from cassandra import AlreadyExists, ConsistencyLevel, InvalidRequest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.protocol import SyntaxException
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, SimpleStatement
from cassandra.util import Date, Duration, Time


def step(text):
    print(text, flush=True)


def connect(version, hosts):
    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc="dc1"))
    profile = ExecutionProfile(load_balancing_policy=policy, consistency_level=ConsistencyLevel.LOCAL_QUORUM)
    return Cluster(hosts[:1], protocol_version=version, execution_profiles={EXEC_PROFILE_DEFAULT: profile})


def check_metadata(cluster, hosts):
    metadata = cluster.metadata
    found = sorted(host.address for host in metadata.all_hosts())
    assert found == sorted(hosts), (found, hosts)
    assert metadata.partitioner == "org.apache.cassandra.dht.Murmur3Partitioner", metadata.partitioner
    assert metadata.token_map is not None and len(metadata.token_map.ring) >= len(hosts)
    assert all(host.is_up for host in metadata.all_hosts())
    step(f"metadata: {len(found)} hosts, {len(metadata.token_map.ring)} tokens, cluster {metadata.cluster_name}")


def make_schema(cluster, session, factor):
    session.execute(
        "CREATE KEYSPACE clients WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', 'dc1': {factor}}}"
    )
    session.set_keyspace("clients")
    session.execute("CREATE TABLE pages (p int, c int, v text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)")
    table = cluster.metadata.keyspaces["clients"].tables["pages"]
    assert [column.name for column in table.primary_key] == ["p", "c"]
    assert table.clustering_key[0].is_reversed
    strategy = cluster.metadata.keyspaces["clients"].replication_strategy
    assert strategy.dc_replication_factors == {"dc1": factor}, strategy.export_for_schema()
    assert len(cluster.metadata.get_replicas("clients", b"\0\0\0\1")) == factor
    try:
        session.execute("CREATE TABLE pages (p int PRIMARY KEY)")
        raise AssertionError("a table was created twice")
    except AlreadyExists as error:
        assert (error.keyspace, error.table) == ("clients", "pages"), error
    session.execute("CREATE TABLE IF NOT EXISTS pages (p int PRIMARY KEY)")
    step("schema: created, seen in the metadata, refused when it exists")


SCALARS = {
    "ascii": "text",
    "bigint": -(2**63),
    "blob": b"\0\xff",
    "boolean": True,
    "date": Date(datetime.date(2024, 2, 29)),
    "decimal": decimal.Decimal("-12345678901234567890.123456789"),
    "double": 1.5e300,
    "duration": Duration(14, -0, 5),
    "float": 0.5,
    "inet": "2001:db8::1",
    "int": -(2**31),
    "smallint": -32768,
    "text": "gr\u00fc\u00dfe \U0001f600",
    "time": Time(86399999999999),
    "timestamp": datetime.datetime(2024, 2, 29, 23, 59, 59, 123000),
    "timeuuid": uuid.uuid1(),
    "tinyint": -128,
    "uuid": uuid.uuid4(),
    "varint": 2**200,
}


def check_types(session):
    columns = ", ".join(f"c_{name} {name}" for name in SCALARS)
    session.execute(f"CREATE TABLE scalars (id int PRIMARY KEY, {columns})")
    names = ", ".join(f"c_{name}" for name in SCALARS)
    marks = ", ".join("?" for _ in SCALARS)
    insert = session.prepare(f"INSERT INTO scalars (id, {names}) VALUES (?, {marks})")
    select = session.prepare(f"SELECT {names} FROM scalars WHERE id = ?")
    session.execute(insert, [1, *SCALARS.values()])
    session.execute(insert, [2, *([None] * len(SCALARS))])
    session.execute(insert, [1, *([UNSET_VALUE] * len(SCALARS))])
    row = session.execute(select, [1]).one()
    for (name, expected), found in zip(SCALARS.items(), row):
        if name == "inet":
            found, expected = ipaddress.ip_address(found), ipaddress.ip_address(expected)
        assert found == expected, (name, found, expected)
    assert all(value is None for value in session.execute(select, [2]).one())
    step(f"types: {len(SCALARS)} scalars, null and unset")


def check_statements(session):
    insert = session.prepare("INSERT INTO pages (p, c, v) VALUES (:p, :c, :v)")
    assert insert.routing_key_indexes == [0], insert.routing_key_indexes
    rows = [{"p": 1, "c": c, "v": f"v{c}"} for c in range(1000)]
    results = execute_concurrent_with_args(session, insert, rows, concurrency=100)
    assert all(success for success, _ in results)
    query = SimpleStatement("SELECT c, v FROM pages WHERE p = 1", fetch_size=99)
    found = [(row.c, row.v) for row in session.execute(query)]
    assert found == [(c, f"v{c}") for c in reversed(range(1000))], found[:3]
    unpaged = SimpleStatement("SELECT c FROM pages WHERE p = 1", fetch_size=None)
    assert len(session.execute(unpaged).current_rows) == 1000, "a result without pages is whole"
    simple = session.execute("SELECT v FROM pages WHERE p = %s AND c = %s", (1, 7)).one()
    assert simple.v == "v7"
    session.execute("INSERT INTO pages (p, c, v) VALUES (2, 1, 'x')")
    batch = BatchStatement(batch_type=BatchType.UNLOGGED)
    batch.add(insert, {"p": 2, "c": 2, "v": "y"})
    batch.add(SimpleStatement("DELETE FROM pages WHERE p = 2 AND c = 1"))
    session.execute(batch)
    assert [row.c for row in session.execute("SELECT c FROM pages WHERE p = 2")] == [2]
    step("statements: prepared, by name, pages, no pages, batch")


def check_errors(session):
    for text, error in [
        ("SELEC 1", SyntaxException),
        ("SELECT * FROM missing WHERE a = 1", InvalidRequest),
        ("INSERT INTO system.local (key) VALUES ('x')", InvalidRequest),
    ]:
        try:
            session.execute(text)
            raise AssertionError(f"{text} was accepted")
        except error:
            pass
    step("errors: each of its class")


def check_prepared_after_change(session):
    select = session.prepare("SELECT * FROM changing WHERE a = 1")
    session.execute("DROP TABLE changing")
    session.execute("CREATE TABLE changing (a int PRIMARY KEY, b text, c int)")
    session.execute("INSERT INTO changing (a, b, c) VALUES (1, 'b', 3)")
    row = session.execute(select).one()
    assert row is not None and (row.a, row.b, row.c) == (1, "b", 3), row
    step("a prepared statement follows its table")


def check_events(cluster, hosts):
    observer = connect(cluster.protocol_version, hosts)
    session = observer.connect()
    actor = cluster.connect()
    actor.execute("CREATE TABLE clients.told (a int PRIMARY KEY)")
    deadline = time.monotonic() + 30
    while "told" not in observer.metadata.keyspaces["clients"].tables:
        assert time.monotonic() < deadline, "no event told of the table"
        time.sleep(0.05)
    session.shutdown()
    observer.shutdown()
    step("events: a table that another session has made")


def main():
    version, hosts = int(sys.argv[1]), sys.argv[2:]
    cluster = connect(version, hosts)
    session = cluster.connect()
    assert cluster.protocol_version == version
    check_metadata(cluster, hosts)
    make_schema(cluster, session, min(3, len(hosts)))
    check_types(session)
    check_statements(session)
    check_errors(session)
    session.execute("CREATE TABLE changing (a int PRIMARY KEY, b text)")
    check_prepared_after_change(session)
    check_events(cluster, hosts)
    local = session.execute("SELECT release_version, cql_version FROM system.local WHERE key = 'local'").one()
    assert local.cql_version.startswith("3."), local
    cluster.shutdown()
    step("done")


if __name__ == "__main__":
    main()
