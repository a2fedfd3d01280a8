"""The scenario of tests/clients for the DataStax driver for Python: scenario.py HOST [HOST ...]. README.md in
tests/clients says what it does and how it talks to whoever runs it.

The cluster is a new one: the driver handles what it is told of with a delay, so that a keyspace that is dropped and
created again may be missing from its metadata for a moment.
"""

import collections
import datetime
import decimal
import ipaddress
import os
import ssl
import sys
import threading
import time
import uuid

from cassandra import AlreadyExists, ConsistencyLevel, InvalidRequest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.protocol import SyntaxException
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, SimpleStatement
from cassandra.util import Date, Duration, Time


def step(text):
    print(text, flush=True)


def eventually(what, holds):
    """Waits until something holds: what the driver is told of comes with a delay."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def ask(what):
    """Has the caller do something to the cluster."""
    step(what)
    sys.stdin.readline()


def connect(hosts):
    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc="dc1"))
    profile = ExecutionProfile(
        load_balancing_policy=policy, consistency_level=ConsistencyLevel.LOCAL_QUORUM, request_timeout=20
    )
    authority, user = os.environ.get("HELENUS_CA"), os.environ.get("HELENUS_USER")
    context = ssl.create_default_context(cafile=authority) if authority else None
    if os.environ.get("HELENUS_CERTIFICATE"):
        context.load_cert_chain(os.environ["HELENUS_CERTIFICATE"], os.environ["HELENUS_KEY"])
    login = PlainTextAuthProvider(user, os.environ.get("HELENUS_PASSWORD")) if user else None
    return Cluster(
        hosts[:1],
        auth_provider=login,
        ssl_context=context,
        protocol_version=int(os.environ.get("HELENUS_VERSION", "5")),
        compression=os.environ.get("HELENUS_COMPRESSION", True),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ConstantReconnectionPolicy(0.2, None),
    )


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
    session.execute(
        "CREATE KEYSPACE single WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}"
    )
    session.execute("CREATE TABLE single.one (k int PRIMARY KEY, v text)")
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


Address = collections.namedtuple("Address", "street number")

NESTED = {
    "list<int>": [3, 1, 3],
    "set<text>": {"a", "b"},
    "map<text, int>": {"a": 1},
    "frozen<list<frozen<set<int>>>>": [{1, 2}, {3}],
    "map<int, frozen<list<text>>>": {7: ["x", "y"]},
    "frozen<address>": Address("Main", 7),
    "address": Address("Side", 8),
    "frozen<tuple<int, text>>": (5, "five"),
    "vector<float, 3>": [0.5, 1.0, -2.0],
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
    session.execute("CREATE TYPE address (street text, number int)")
    session.cluster.register_user_type("clients", "address", Address)
    for index, (name, value) in enumerate(NESTED.items()):
        session.execute(f"CREATE TABLE nested_{index} (k int PRIMARY KEY, v {name})")
        insert = session.prepare(f"INSERT INTO nested_{index} (k, v) VALUES (?, ?)")
        session.execute(insert, [1, value])
        session.execute(insert, [2, None])
        session.execute(insert, [1, UNSET_VALUE])
        found = {row.k: row.v for row in session.execute(f"SELECT k, v FROM nested_{index}")}
        assert found == {1: value, 2: None}, (name, found)
    step(f"types: {len(SCALARS)} scalars and {len(NESTED)} others, null and unset")


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
    observer = connect(hosts)
    session = observer.connect()
    actor = cluster.connect()
    actor.execute("CREATE TABLE clients.told (a int PRIMARY KEY)")
    eventually("an event tells of a table", lambda: "told" in observer.metadata.keyspaces["clients"].tables)
    session.shutdown()
    observer.shutdown()
    step("events: a table that another session has made")


def check_traces(session, hosts):
    insert = session.prepare("INSERT INTO single.one (k, v) VALUES (?, ?)")
    used = set()
    for key in range(30):
        trace = session.execute(insert, [key, "x"], trace=True).get_query_trace(max_wait_sec=20)
        # The coordinator is the only replica: it asks nobody.
        activities = [event.description for event in trace.events]
        assert activities and not any(activity.startswith("Sending") for activity in activities), (key, activities)
        used.add(trace.coordinator)
    assert used == set(hosts), used
    step("traces: 30 requests, each went to the node that has the partition")


def check_failure(cluster, session, hosts):
    [last] = [host for host in cluster.metadata.all_hosts() if host.address == hosts[-1]]
    insert = session.prepare("INSERT INTO clients.pages (p, c, v) VALUES (?, ?, ?)")
    select = session.prepare("SELECT v FROM clients.pages WHERE p = ? AND c = ?")
    insert.is_idempotent = select.is_idempotent = True
    stopped, requests, failures = threading.Event(), [], []

    def work():
        try:
            while not stopped.is_set():
                session.execute(insert, [len(requests), 1, "z"])
                session.execute(select, [len(requests), 1])
                requests.append(2)
        except Exception as error:
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    ask("KILL")
    eventually("the driver is told that the node is down", lambda: not last.is_up)
    time.sleep(1)
    ask("START")
    eventually("the driver is told that the node is up", lambda: last.is_up)
    stopped.set()
    worker.join()
    assert not failures, failures
    step(f"failure: {sum(requests)} requests at LOCAL_QUORUM while a node was killed and came back")


def main():
    hosts = sys.argv[1:]
    cluster = connect(hosts)
    session = cluster.connect()
    check_metadata(cluster, hosts)
    make_schema(cluster, session, min(3, len(hosts)))
    check_types(session)
    check_statements(session)
    check_errors(session)
    session.execute("CREATE TABLE changing (a int PRIMARY KEY, b text)")
    check_prepared_after_change(session)
    check_events(cluster, hosts)
    check_traces(session, hosts)
    if len(hosts) > 2:
        check_failure(cluster, session, hosts)
    local = session.execute("SELECT release_version, cql_version FROM system.local WHERE key = 'local'").one()
    assert local.cql_version.startswith("3."), local
    cluster.shutdown()
    step("done")


if __name__ == "__main__":
    main()
