// The scenario of tests/clients for gocql: go HOST [HOST ...]. README.md in tests/clients says what it does and how
// it talks to whoever runs it.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gocql/gocql"
	"gopkg.in/inf.v0"
)

func step(format string, arguments ...any) {
	fmt.Printf(format+"\n", arguments...)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func require(holds bool, format string, arguments ...any) {
	if !holds {
		panic(fmt.Sprintf(format, arguments...))
	}
}

// eventually waits until something holds: what the driver is told of comes with a delay.
func eventually(what string, holds func() bool) {
	deadline := time.Now().Add(60 * time.Second)
	for !holds() {
		require(time.Now().Before(deadline), "not in time: %s", what)
		time.Sleep(50 * time.Millisecond)
	}
}

var input = bufio.NewReader(os.Stdin)

// ask has the caller do something to the cluster.
func ask(what string) {
	fmt.Println(what)
	_, err := input.ReadString('\n')
	check(err)
}

// watcher is the driver's policy, and remembers which nodes it was told to be down.
type watcher struct {
	gocql.HostSelectionPolicy
	mutex sync.Mutex
	down  map[string]bool
}

func (w *watcher) HostUp(host *gocql.HostInfo) {
	w.mutex.Lock()
	delete(w.down, host.ConnectAddress().String())
	w.mutex.Unlock()
	w.HostSelectionPolicy.HostUp(host)
}

func (w *watcher) HostDown(host *gocql.HostInfo) {
	w.mutex.Lock()
	w.down[host.ConnectAddress().String()] = true
	w.mutex.Unlock()
	w.HostSelectionPolicy.HostDown(host)
}

func (w *watcher) isDown(host string) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.down[host]
}

func connect(hosts []string) (*gocql.Session, *watcher) {
	cluster := gocql.NewCluster(hosts[0])
	cluster.Consistency = gocql.LocalQuorum
	cluster.Timeout = 20 * time.Second
	watching := &watcher{
		HostSelectionPolicy: gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy()),
		down:                map[string]bool{},
	}
	cluster.PoolConfig.HostSelectionPolicy = watching
	cluster.RetryPolicy = &gocql.SimpleRetryPolicy{NumRetries: 3}
	cluster.DefaultIdempotence = true
	if os.Getenv("HELENUS_COMPRESSION") == "snappy" {
		cluster.Compressor = gocql.SnappyCompressor{}
	}
	if authority := os.Getenv("HELENUS_CA"); authority != "" {
		cluster.SslOpts = &gocql.SslOptions{CaPath: authority, EnableHostVerification: true}
	}
	if user := os.Getenv("HELENUS_USER"); user != "" {
		cluster.Authenticator = gocql.PasswordAuthenticator{Username: user, Password: os.Getenv("HELENUS_PASSWORD")}
	}
	session, err := cluster.CreateSession()
	check(err)
	return session, watching
}

func makeSchema(session *gocql.Session, factor int) {
	for name, replicas := range map[string]int{"clients": factor, "single": 1} {
		check(session.Query(fmt.Sprintf(
			"CREATE KEYSPACE %s WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': %d}", name, replicas)).Exec())
	}
	check(session.Query("CREATE TABLE clients.pages (p int, c int, v text, PRIMARY KEY (p, c)) " +
		"WITH CLUSTERING ORDER BY (c DESC)").Exec())
	check(session.Query("CREATE TABLE single.one (k int PRIMARY KEY, v text)").Exec())
	check(session.AwaitSchemaAgreement(context.Background()))
	metadata, err := session.KeyspaceMetadata("clients")
	check(err)
	table := metadata.Tables["pages"]
	require(table != nil, "the table is not in the metadata: %v", metadata.Tables)
	require(len(table.PartitionKey) == 1 && table.PartitionKey[0].Name == "p", "partition key: %v", table.PartitionKey)
	require(len(table.ClusteringColumns) == 1 && table.ClusteringColumns[0].Order == gocql.DESC, "clustering order")
	err = session.Query("CREATE TABLE clients.pages (p int PRIMARY KEY)").Exec()
	var exists *gocql.RequestErrAlreadyExists
	require(errors.As(err, &exists) && exists.Keyspace == "clients" && exists.Table == "pages", "created twice: %v", err)
	step("schema: created, seen in the metadata, refused when it exists")
}

type address struct {
	Street string `cql:"street"`
	Number int    `cql:"number"`
}

func checkTypes(session *gocql.Session) {
	check(session.Query("CREATE TYPE clients.address (street text, number int)").Exec())
	integer, _ := new(big.Int).SetString("1606938044258990275541962092341162602522202993782792835301376", 10)
	decimal, _ := new(inf.Dec).SetString("-12345678901234567890.123456789")
	random, err := gocql.RandomUUID()
	check(err)
	cases := []struct {
		cqlType string
		value   any
	}{
		{"ascii", "text"}, {"bigint", int64(-1 << 63)}, {"blob", []byte{0, 255}}, {"boolean", true},
		{"date", time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)}, {"decimal", decimal}, {"double", 1.5e300},
		{"duration", gocql.Duration{Months: -14, Days: -3, Nanoseconds: -5}}, {"float", float32(0.5)},
		{"inet", net.ParseIP("2001:db8::1")}, {"int", -1 << 31}, {"smallint", int16(-32768)},
		{"text", "gr\u00fc\u00dfe \U0001f600"}, {"time", time.Duration(86399999999999)},
		{"timestamp", time.Date(2024, 2, 29, 23, 59, 59, 123000000, time.UTC)}, {"timeuuid", gocql.TimeUUID()},
		{"tinyint", int8(-128)}, {"uuid", random}, {"varint", integer},
		{"list<int>", []int{3, 1, 3}}, {"set<text>", []string{"a", "b"}}, {"map<text, int>", map[string]int{"a": 1}},
		{"frozen<list<frozen<set<int>>>>", [][]int{{1, 2}, {3}}},
		{"map<int, frozen<list<text>>>", map[int][]string{7: {"x", "y"}}},
		{"frozen<address>", address{"Main", 7}}, {"address", address{"Side", 8}},
	}
	for index, c := range cases {
		table := fmt.Sprintf("clients.type_%d", index)
		check(session.Query(fmt.Sprintf("CREATE TABLE %s (k int PRIMARY KEY, v %s)", table, c.cqlType)).Exec())
		check(session.Query(fmt.Sprintf("INSERT INTO %s (k, v) VALUES (?, ?)", table), 1, c.value).Exec())
		if _, isType := c.value.(address); !isType { // The driver itself refuses nil for one.
			check(session.Query(fmt.Sprintf("INSERT INTO %s (k, v) VALUES (?, ?)", table), 2, nil).Exec())
		}
		check(session.Query(fmt.Sprintf("INSERT INTO %s (k, v) VALUES (?, ?)", table), 1, gocql.UnsetValue).Exec())
		found := reflect.New(reflect.TypeOf(c.value))
		check(session.Query(fmt.Sprintf("SELECT v FROM %s WHERE k = ?", table), 1).Scan(found.Interface()))
		same := reflect.DeepEqual(found.Elem().Interface(), c.value)
		switch expected := c.value.(type) {
		case *big.Int:
			same = expected.Cmp(found.Elem().Interface().(*big.Int)) == 0
		case *inf.Dec:
			same = expected.Cmp(found.Elem().Interface().(*inf.Dec)) == 0
		case net.IP:
			same = expected.Equal(found.Elem().Interface().(net.IP))
		case time.Time:
			same = expected.Equal(found.Elem().Interface().(time.Time))
		}
		require(same, "%s: %v is read as %v", c.cqlType, c.value, found.Elem().Interface())
	}
	check(session.Query("CREATE TABLE clients.tuples (k int PRIMARY KEY, v frozen<tuple<int, text>>)").Exec())
	check(session.Query("INSERT INTO clients.tuples (k, v) VALUES (?, (?, ?))", 1, 5, "five").Exec())
	var number int
	var name string
	check(session.Query("SELECT v FROM clients.tuples WHERE k = 1").Scan(&number, &name))
	require(number == 5 && name == "five", "tuple: %d %s", number, name)
	step("types: %d and tuples", len(cases))
}

func checkStatements(session *gocql.Session) {
	var wait sync.WaitGroup
	failures := make(chan error, 1000)
	for c := 0; c < 1000; c++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			err := session.Query("INSERT INTO clients.pages (p, c, v) VALUES (?, ?, ?)", 1, c, "v"+strconv.Itoa(c)).Exec()
			if err != nil {
				failures <- err
			}
		}()
	}
	wait.Wait()
	close(failures)
	for err := range failures {
		check(err)
	}
	rows := session.Query("SELECT c, v FROM clients.pages WHERE p = ?", 1).PageSize(99).Iter()
	var c int
	var v string
	expected := 999
	for rows.Scan(&c, &v) {
		require(c == expected && v == "v"+strconv.Itoa(c), "row %d: %d %s", expected, c, v)
		expected--
	}
	check(rows.Close())
	require(expected == -1, "pages end at %d", expected)
	query := session.Query("SELECT v FROM clients.pages WHERE p = :p AND c = :c",
		gocql.NamedValue("c", 7), gocql.NamedValue("p", 1))
	check(query.Scan(&v))
	require(v == "v7", "by name: %s", v)
	for _, kind := range []gocql.BatchType{gocql.LoggedBatch, gocql.UnloggedBatch} {
		batch := session.NewBatch(kind)
		batch.Query("INSERT INTO clients.pages (p, c, v) VALUES (?, ?, ?)", 2, int(kind), "y")
		batch.Query("DELETE FROM clients.pages WHERE p = ? AND c = ?", 2, 100)
		check(session.ExecuteBatch(batch))
	}
	var count int
	check(session.Query("SELECT count(*) FROM clients.pages WHERE p = 2").Scan(&count))
	require(count == 2, "batches: %d rows", count)
	err := session.Query("SELEC 1").Exec()
	var failure gocql.RequestError
	require(errors.As(err, &failure) && failure.Code() == gocql.ErrCodeSyntax, "a syntax error: %v", err)
	step("statements: concurrent, pages, by name, batches, errors")
}

// tracer remembers the session of the last trace.
type tracer struct {
	id []byte
}

func (t *tracer) Trace(id []byte) {
	t.id = id
}

func checkTraces(session *gocql.Session, hosts []string) {
	used := map[string]int{}
	for k := 0; k < 30; k++ {
		trace := &tracer{}
		check(session.Query("INSERT INTO single.one (k, v) VALUES (?, ?)", k, "x").Trace(trace).Exec())
		require(len(trace.id) == 16, "the answer has no trace: %v", trace.id)
		var coordinator, request string
		eventually("the trace is whole", func() bool {
			var duration int
			err := session.Query("SELECT coordinator, request, duration FROM system_traces.sessions "+
				"WHERE session_id = ?", trace.id).Scan(&coordinator, &request, &duration)
			return err == nil && duration > 0
		})
		var activity string
		count := 0
		events := session.Query("SELECT activity FROM system_traces.events WHERE session_id = ?", trace.id).Iter()
		for ; events.Scan(&activity); count++ {
			// The coordinator is the only replica: it asks nobody.
			require(!strings.HasPrefix(activity, "Sending"), "key %d, by %s: %s", k, coordinator, activity)
		}
		check(events.Close())
		require(count > 0, "a trace without events")
		used[coordinator]++
	}
	require(len(used) == len(hosts), "every node is asked for what it has: %v", used)
	step("traces: 30 requests, each went to the node that has the partition")
}

func checkFailure(session *gocql.Session, watching *watcher, hosts []string) {
	last := hosts[len(hosts)-1]
	stop := make(chan struct{})
	done := make(chan error)
	var requests int
	go func() {
		for k := 0; ; k++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := session.Query("INSERT INTO clients.pages (p, c, v) VALUES (?, ?, ?)", k, 1, "z").Exec(); err != nil {
				done <- err
				return
			}
			var v string
			if err := session.Query("SELECT v FROM clients.pages WHERE p = ? AND c = ?", k, 1).Scan(&v); err != nil {
				done <- err
				return
			}
			requests += 2
		}
	}()
	ask("KILL")
	eventually("the driver is told that the node is down", func() bool { return watching.isDown(last) })
	time.Sleep(time.Second)
	ask("START")
	eventually("the driver is told that the node is up", func() bool { return !watching.isDown(last) })
	close(stop)
	check(<-done)
	step("failure: %d requests at LOCAL_QUORUM while a node was killed and came back", requests)
}

func main() {
	hosts := os.Args[1:]
	session, watching := connect(hosts)
	makeSchema(session, min(3, len(hosts)))
	checkTypes(session)
	checkStatements(session)
	checkTraces(session, hosts)
	if len(hosts) > 2 {
		checkFailure(session, watching, hosts)
	}
	session.Close()
	step("done")
}
