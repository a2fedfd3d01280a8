// The scenario of tests/clients for the driver for Java: java Scenario HOST [HOST ...]. README.md in tests/clients says
// what it does and how it talks to whoever runs it.

import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.CqlSessionBuilder;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.AsyncResultSet;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.BatchType;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.QueryTrace;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.data.CqlDuration;
import com.datastax.oss.driver.api.core.data.CqlVector;
import com.datastax.oss.driver.api.core.data.TupleValue;
import com.datastax.oss.driver.api.core.data.UdtValue;
import com.datastax.oss.driver.api.core.metadata.Metadata;
import com.datastax.oss.driver.api.core.metadata.Node;
import com.datastax.oss.driver.api.core.metadata.NodeState;
import com.datastax.oss.driver.api.core.metadata.schema.ClusteringOrder;
import com.datastax.oss.driver.api.core.metadata.schema.TableMetadata;
import com.datastax.oss.driver.api.core.servererrors.AlreadyExistsException;
import com.datastax.oss.driver.api.core.servererrors.SyntaxError;
import com.datastax.oss.driver.api.core.type.DataTypes;
import com.datastax.oss.driver.api.core.type.UserDefinedType;
import com.datastax.oss.driver.api.core.uuid.Uuids;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BooleanSupplier;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public final class Scenario {
    private static final BufferedReader ANSWERS = new BufferedReader(new InputStreamReader(System.in));

    private static void step(String text) {
        System.out.println(text);
        System.out.flush();
    }

    private static void require(boolean holds, String message) {
        if (!holds) {
            throw new AssertionError(message);
        }
    }

    /** Waits until something holds: what the driver is told of comes with a delay. */
    private static void eventually(String what, BooleanSupplier holds) throws InterruptedException {
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (!holds.getAsBoolean()) {
            require(System.nanoTime() < deadline, "not in time: " + what);
            Thread.sleep(50);
        }
    }

    /** Has the caller do something to the cluster. */
    private static void ask(String what) throws Exception {
        step(what);
        ANSWERS.readLine();
    }

    private static SSLContext trusting(String path) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(path)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    private static CqlSession connect(List<String> hosts) throws Exception {
        Map<String, String> environment = System.getenv();
        var options = DriverConfigLoader.programmaticBuilder()
            .withString(DefaultDriverOption.REQUEST_CONSISTENCY, "LOCAL_QUORUM")
            .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(30))
            .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(20))
            .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, Duration.ofSeconds(20))
            .withDuration(DefaultDriverOption.RECONNECTION_BASE_DELAY, Duration.ofMillis(200))
            .withDuration(DefaultDriverOption.RECONNECTION_MAX_DELAY, Duration.ofSeconds(1))
            .withBoolean(DefaultDriverOption.REQUEST_DEFAULT_IDEMPOTENCE, true)
            .withString(DefaultDriverOption.PROTOCOL_VERSION, "V" + environment.getOrDefault("HELENUS_VERSION", "5"));
        if (environment.containsKey("HELENUS_COMPRESSION")) {
            options = options.withString(
                DefaultDriverOption.PROTOCOL_COMPRESSION, environment.get("HELENUS_COMPRESSION"));
        }
        CqlSessionBuilder builder = CqlSession.builder().withConfigLoader(options.build())
            .addContactPoint(new InetSocketAddress(hosts.get(0), 9042)).withLocalDatacenter("dc1");
        if (environment.containsKey("HELENUS_CA")) {
            builder = builder.withSslContext(trusting(environment.get("HELENUS_CA")));
        }
        if (environment.containsKey("HELENUS_USER")) {
            builder = builder.withAuthCredentials(
                environment.get("HELENUS_USER"), environment.get("HELENUS_PASSWORD"));
        }
        return builder.build();
    }

    private static String host(Node node) {
        return ((InetSocketAddress) node.getEndPoint().resolve()).getAddress().getHostAddress();
    }

    private static void checkMetadata(CqlSession session, List<String> hosts) throws Exception {
        Metadata metadata = session.getMetadata();
        Set<String> found = new TreeSet<>();
        for (Node node : metadata.getNodes().values()) {
            found.add(host(node));
        }
        require(found.equals(new TreeSet<>(hosts)), "nodes: " + found);
        require(metadata.getTokenMap().isPresent(), "there is no token map");
        int tokens = metadata.getTokenMap().get().getTokenRanges().size();
        step("metadata: " + found.size() + " hosts, " + tokens + " ranges, cluster "
            + metadata.getClusterName().orElseThrow() + ", version " + session.getContext().getProtocolVersion());
    }

    private static void makeSchema(CqlSession session, int factor) {
        for (Map.Entry<String, Integer> keyspace : Map.of("clients", factor, "single", 1).entrySet()) {
            session.execute(String.format(
                "CREATE KEYSPACE %s WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': %d}",
                keyspace.getKey(), keyspace.getValue()));
        }
        session.execute("CREATE TABLE clients.pages (p int, c int, v text, PRIMARY KEY (p, c)) "
            + "WITH CLUSTERING ORDER BY (c DESC)");
        require(session.execute("CREATE TABLE single.one (k int PRIMARY KEY, v text)").getExecutionInfo()
            .isSchemaInAgreement(), "no schema agreement");
        TableMetadata table = session.getMetadata().getKeyspace("clients").orElseThrow().getTable("pages").orElseThrow();
        require(table.getPartitionKey().size() == 1, "partition key: " + table.getPartitionKey());
        require(table.getClusteringColumns().containsValue(ClusteringOrder.DESC), "clustering order");
        try {
            session.execute("CREATE TABLE clients.pages (p int PRIMARY KEY)");
            throw new AssertionError("a table was created twice");
        } catch (AlreadyExistsException expected) {
            require(expected.getMessage().contains("clients.pages"), expected.getMessage());
        }
        step("schema: created, seen in the metadata, refused when it exists");
    }

    private static void checkTypes(CqlSession session) throws Exception {
        session.execute("CREATE TYPE clients.address (street text, number int)");
        UserDefinedType type = session.getMetadata().getKeyspace("clients").orElseThrow()
            .getUserDefinedType("address").orElseThrow();
        UdtValue address = type.newValue().setString("street", "Main").setInt("number", 7);
        TupleValue tuple = DataTypes.tupleOf(DataTypes.INT, DataTypes.TEXT)
            .newValue(5, "five");
        Object[][] cases = {
            {"ascii", "text"}, {"bigint", Long.MIN_VALUE}, {"blob", ByteBuffer.wrap(new byte[] {0, -1})},
            {"boolean", true}, {"date", LocalDate.of(2024, 2, 29)},
            {"decimal", new BigDecimal("-12345678901234567890.123456789")}, {"double", 1.5e300},
            {"duration", CqlDuration.newInstance(14, 3, 5)}, {"float", 0.5f},
            {"inet", InetAddress.getByName("2001:db8::1")}, {"int", Integer.MIN_VALUE}, {"smallint", Short.MIN_VALUE},
            {"text", "gr\u00fc\u00dfe \ud83d\ude00"}, {"time", LocalTime.of(23, 59, 59, 999_999_999)},
            {"timestamp", Instant.parse("2024-02-29T23:59:59.123Z")}, {"timeuuid", Uuids.timeBased()},
            {"tinyint", Byte.MIN_VALUE}, {"uuid", UUID.randomUUID()}, {"varint", BigInteger.TWO.pow(200)},
            {"list<int>", List.of(3, 1, 3)}, {"set<text>", Set.of("a", "b")}, {"map<text, int>", Map.of("a", 1)},
            {"frozen<list<frozen<set<int>>>>", List.of(Set.of(1, 2), Set.of(3))},
            {"map<int, frozen<list<text>>>", Map.of(7, List.of("x", "y"))}, {"frozen<address>", address},
            {"address", address}, {"frozen<tuple<int, text>>", tuple},
            {"vector<float, 3>", CqlVector.newInstance(0.5f, 1f, -2f)},
        };
        for (int index = 0; index < cases.length; index++) {
            Object value = cases[index][1];
            String table = "clients.type_" + index;
            session.execute(String.format("CREATE TABLE %s (k int PRIMARY KEY, v %s)", table, cases[index][0]));
            PreparedStatement insert = session.prepare("INSERT INTO " + table + " (k, v) VALUES (?, ?)");
            session.execute(insert.bind(1, value));
            session.execute(insert.bind(2, null));
            session.execute(insert.bind().setInt(0, 1));
            PreparedStatement select = session.prepare("SELECT v FROM " + table + " WHERE k = ?");
            Object found = session.execute(select.bind(1)).one().getObject(0);
            require(value.equals(found), cases[index][0] + ": " + value + " is read as " + found);
            require(session.execute(select.bind(2)).one().isNull(0), cases[index][0] + " is not null");
        }
        step("types: " + cases.length);
    }

    private static void checkStatements(CqlSession session) {
        PreparedStatement insert = session.prepare("INSERT INTO clients.pages (p, c, v) VALUES (:p, :c, :v)");
        List<CompletableFuture<AsyncResultSet>> writes = new ArrayList<>();
        for (int c = 0; c < 1000; c++) {
            CompletionStage<AsyncResultSet> write = session.executeAsync(
                insert.bind().setString("v", "v" + c).setInt("p", 1).setInt("c", c));
            writes.add(write.toCompletableFuture());
        }
        writes.forEach(CompletableFuture::join);
        int expected = 999;
        String select = "SELECT c, v FROM clients.pages WHERE p = 1";
        for (Row row : session.execute(SimpleStatement.newInstance(select).setPageSize(99))) {
            require(row.getInt("c") == expected && row.getString("v").equals("v" + expected), "row " + expected);
            expected--;
        }
        require(expected == -1, "pages end at " + expected);
        Row named = session.execute(SimpleStatement.newInstance(
            "SELECT v FROM clients.pages WHERE p = :p AND c = :c", Map.of("c", 7, "p", 1))).one();
        require(named.getString(0).equals("v7"), "by name");
        if (session.getContext().getProtocolVersion().getCode() >= 5) {
            Row of = session.execute(SimpleStatement.newInstance("SELECT v FROM pages WHERE p = ? AND c = ?", 1, 8)
                .setKeyspace(CqlIdentifier.fromCql("clients"))).one();
            require(of.getString(0).equals("v8"), "with the keyspace of the request");
        }
        for (BatchType kind : new BatchType[] {DefaultBatchType.LOGGED, DefaultBatchType.UNLOGGED}) {
            int c = kind == DefaultBatchType.LOGGED ? 1 : 2;
            session.execute(BatchStatement.builder(kind)
                .addStatement(insert.bind(2, c, "y"))
                .addStatement(SimpleStatement.newInstance("DELETE FROM clients.pages WHERE p = ? AND c = ?", 2, 9))
                .build());
        }
        long count = session.execute("SELECT count(*) FROM clients.pages WHERE p = 2").one().getLong(0);
        require(count == 2, "batches: " + count);
        try {
            session.execute("SELEC 1");
            throw new AssertionError("nonsense was executed");
        } catch (SyntaxError expectedError) {
            step("statements: concurrent, pages, by name, with a keyspace, batches, errors");
        }
    }

    private static void checkTraces(CqlSession session, List<String> hosts) {
        PreparedStatement insert = session.prepare("INSERT INTO single.one (k, v) VALUES (?, ?)");
        Set<String> used = new HashSet<>();
        for (int k = 0; k < 30; k++) {
            var info = session.execute(insert.bind(k, "x").setTracing(true)).getExecutionInfo();
            require(info.getTracingId() != null, "the answer has no trace");
            QueryTrace trace = info.getQueryTrace();
            String coordinator = trace.getCoordinatorAddress().getAddress().getHostAddress();
            // The coordinator is the only replica: it asks nobody.
            List<String> activities = trace.getEvents().stream().map(event -> event.getActivity()).toList();
            require(!activities.isEmpty() && activities.stream().noneMatch(each -> each.startsWith("Sending")),
                "key " + k + ", by " + coordinator + ": " + activities);
            used.add(coordinator);
        }
        require(used.equals(new HashSet<>(hosts)), "every node is asked for what it has: " + used);
        step("traces: 30 requests, each went to the node that has the partition");
    }

    private static void checkFailure(CqlSession session, List<String> hosts) throws Exception {
        String last = hosts.get(hosts.size() - 1);
        Node node = session.getMetadata().getNodes().values().stream()
            .filter(each -> host(each).equals(last)).findFirst().orElseThrow();
        PreparedStatement insert = session.prepare("INSERT INTO clients.pages (p, c, v) VALUES (?, ?, ?)");
        PreparedStatement select = session.prepare("SELECT v FROM clients.pages WHERE p = ? AND c = ?");
        AtomicBoolean stopped = new AtomicBoolean();
        AtomicLong requests = new AtomicLong();
        CompletableFuture<Void> working = CompletableFuture.runAsync(() -> {
            for (int k = 0; !stopped.get(); k++) {
                session.execute(insert.bind(k, 1, "z"));
                session.execute(select.bind(k, 1));
                requests.addAndGet(2);
            }
        });
        ask("KILL");
        eventually("the driver is told that the node is down", () -> node.getState() != NodeState.UP);
        Thread.sleep(1000);
        ask("START");
        eventually("the driver is told that the node is up", () -> node.getState() == NodeState.UP);
        stopped.set(true);
        working.join();
        step("failure: " + requests + " requests at LOCAL_QUORUM while a node was killed and came back");
    }

    public static void main(String[] arguments) throws Exception {
        List<String> hosts = Arrays.asList(arguments);
        try (CqlSession session = connect(hosts)) {
            checkMetadata(session, hosts);
            makeSchema(session, Math.min(3, hosts.size()));
            checkTypes(session);
            checkStatements(session);
            checkTraces(session, hosts);
            if (hosts.size() > 2) {
                checkFailure(session, hosts);
            }
        }
        step("done");
    }
}
