// The scenario of tests/clients for the driver for Node.js: node scenario.js HOST [HOST ...]. README.md in tests/clients
// says what it does and how it talks to whoever runs it.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const readline = require('node:readline');
const cassandra = require('cassandra-driver');
const { types } = cassandra;

const hosts = process.argv.slice(2);
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const step = text => console.log(text);
const sleep = millis => new Promise(resolve => setTimeout(resolve, millis));

// Waits until something holds: what the driver is told of comes with a delay.
async function eventually(what, holds) {
  const deadline = Date.now() + 60000;
  while (!(await holds())) {
    assert(Date.now() < deadline, `not in time: ${what}`);
    await sleep(50);
  }
}

// Has the caller do something to the cluster.
async function ask(what) {
  console.log(what);
  await answers.next();
}

function connect() {
  const options = {
    contactPoints: [hosts[0]],
    localDataCenter: 'dc1',
    queryOptions: { prepare: true, consistency: types.consistencies.localQuorum, isIdempotent: true },
    socketOptions: { readTimeout: 20000 },
    policies: { reconnection: new cassandra.policies.reconnection.ConstantReconnectionPolicy(200) },
  };
  if (process.env.HELENUS_CA) {
    options.sslOptions = { ca: [fs.readFileSync(process.env.HELENUS_CA)] };
  }
  if (process.env.HELENUS_USER) {
    const { HELENUS_USER: user, HELENUS_PASSWORD: password } = process.env;
    options.authProvider = new cassandra.auth.PlainTextAuthProvider(user, password);
  }
  return new cassandra.Client(options);
}

function checkMetadata(client) {
  const found = client.hosts.values().map(host => host.address.split(':')[0]).sort();
  assert.deepStrictEqual(found, [...hosts].sort());
  assert(client.hosts.values().every(host => host.isUp() && host.tokens.length > 0));
  step(`metadata: ${found.length} hosts`);
}

async function makeSchema(client) {
  for (const [name, factor] of [['clients', Math.min(3, hosts.length)], ['single', 1]]) {
    await client.execute(
      `CREATE KEYSPACE ${name} WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': ${factor}}`);
  }
  await client.execute(
    'CREATE TABLE clients.pages (p int, c int, v text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)');
  const changed = await client.execute('CREATE TABLE single.one (k int PRIMARY KEY, v text)');
  assert(changed.info.isSchemaInAgreement);
  const table = await client.metadata.getTable('clients', 'pages');
  assert.deepStrictEqual(table.partitionKeys.map(column => column.name), ['p']);
  assert.deepStrictEqual(table.clusteringOrder, ['DESC']);
  assert.strictEqual(client.getReplicas('single', Buffer.from([0, 0, 0, 1])).length, 1);
  await assert.rejects(
    client.execute('CREATE TABLE clients.pages (p int PRIMARY KEY)'),
    { code: types.responseErrorCodes.alreadyExists, keyspace: 'clients', table: 'pages' });
  step('schema: created, seen in the metadata, refused when it exists');
}

async function checkTypes(client) {
  await client.execute('CREATE TYPE clients.address (street text, number int)');
  const cases = [
    ['ascii', 'text'], ['bigint', types.Long.MIN_VALUE], ['blob', Buffer.from([0, 255])], ['boolean', true],
    ['date', types.LocalDate.fromString('2024-02-29')],
    ['decimal', types.BigDecimal.fromString('-12345678901234567890.123456789')], ['double', 1.5e300],
    ['duration', new types.Duration(14, 3, types.Long.fromNumber(5))], ['float', 0.5],
    ['inet', types.InetAddress.fromString('2001:db8::1')], ['int', -(2 ** 31)], ['smallint', -32768],
    ['text', 'gr\u00fc\u00dfe \u{1f600}'], ['time', types.LocalTime.fromString('23:59:59.999999999')],
    ['timestamp', new Date('2024-02-29T23:59:59.123Z')], ['timeuuid', types.TimeUuid.now()], ['tinyint', -128],
    ['uuid', types.Uuid.random()], ['varint', types.Integer.fromString((2n ** 200n).toString())],
    ['list<int>', [3, 1, 3]], ['set<text>', ['a', 'b']], ['map<text, int>', { a: 1 }],
    ['frozen<list<frozen<set<int>>>>', [[1, 2], [3]]], ['map<int, frozen<list<text>>>', { 7: ['x', 'y'] }],
    ['frozen<address>', { street: 'Main', number: 7 }], ['address', { street: 'Side', number: 8 }],
    ['frozen<tuple<int, text>>', new types.Tuple(5, 'five')],
    ['vector<float, 3>', new types.Vector([0.5, 1, -2], 'float')],
  ];
  for (const [index, [type, value]] of cases.entries()) {
    const table = `clients.type_${index}`;
    await client.execute(`CREATE TABLE ${table} (k int PRIMARY KEY, v ${type})`);
    const insert = `INSERT INTO ${table} (k, v) VALUES (?, ?)`;
    await client.execute(insert, [1, value]);
    await client.execute(insert, [2, null]);
    await client.execute(insert, [1, types.unset]);
    const read = async k => (await client.execute(`SELECT v FROM ${table} WHERE k = ?`, [k])).first().v;
    const found = await read(1);
    const same = found !== null && typeof found.equals === 'function' && !Buffer.isBuffer(found) ? found.equals(value)
      : JSON.stringify(found) === JSON.stringify(value);
    assert(same, `${type}: ${JSON.stringify(value)} is read as ${JSON.stringify(found)}`);
    assert.strictEqual(await read(2), null);
  }
  step(`types: ${cases.length}`);
}

async function checkStatements(client) {
  const insert = 'INSERT INTO clients.pages (p, c, v) VALUES (?, ?, ?)';
  const rows = Array.from({ length: 1000 }, (_, c) => [1, c, `v${c}`]);
  await cassandra.concurrent.executeConcurrent(client, insert, rows);
  const query = 'SELECT c, v FROM clients.pages WHERE p = 1';
  const found = [];
  for await (const row of await client.execute(query, [], { fetchSize: 99 })) {
    found.push([1, row.c, row.v]);
  }
  assert.deepStrictEqual(found, rows.reverse());
  const first = await client.execute(query, [], { fetchSize: 10 });
  const second = await client.execute(query, [], { fetchSize: 10, pageState: first.pageState });
  assert.strictEqual(second.first().c, 989);
  const named = await client.execute('SELECT v FROM clients.pages WHERE p = :p AND c = :c', { c: 7, p: 1 });
  assert.strictEqual(named.first().v, 'v7');
  const simple = await client.execute('SELECT v FROM clients.pages WHERE p = ? AND c = ?', [1, 7],
    { prepare: false, hints: ['int', 'int'] });
  assert.strictEqual(simple.first().v, 'v7');
  for (const logged of [true, false]) {
    const c = logged ? 1 : 2;
    await client.batch([
      { query: insert, params: [2, c, 'y'] }, { query: 'DELETE FROM clients.pages WHERE p = ? AND c = ?', params: [2, 9] },
    ], { logged });
  }
  const count = await client.execute('SELECT count(*) AS n FROM clients.pages WHERE p = 2');
  assert.strictEqual(count.first().n.toNumber(), 2);
  const syntax = client.execute('SELEC 1', [], { prepare: false });
  await assert.rejects(syntax, { code: types.responseErrorCodes.syntaxError });
  step('statements: concurrent, pages, by name, batches, errors');
}

async function checkTraces(client) {
  const used = new Map();
  for (let k = 0; k < 30; k++) {
    const written = await client.execute('INSERT INTO single.one (k, v) VALUES (?, ?)', [k, 'x'], { traceQuery: true });
    assert(written.info.traceId, 'the answer has no trace');
    const trace = await client.metadata.getTrace(written.info.traceId);
    const coordinator = trace.coordinator.toString();
    // The coordinator is the only replica: it asks nobody.
    const activities = trace.events.map(event => event.activity);
    assert(activities.length > 0 && !activities.some(activity => activity.startsWith('Sending')), activities.join());
    used.set(coordinator, (used.get(coordinator) || 0) + 1);
  }
  assert.deepStrictEqual([...used.keys()].sort(), [...hosts].sort(), 'every node is asked for what it has');
  step('traces: 30 requests, each went to the node that has the partition');
}

async function checkFailure(client) {
  const last = hosts[hosts.length - 1];
  const isUp = () => client.hosts.values().find(host => host.address.startsWith(`${last}:`)).isUp();
  const told = { down: false, up: false };
  client.on('hostDown', host => { told.down ||= host.address.startsWith(`${last}:`); });
  client.on('hostUp', host => { told.up ||= host.address.startsWith(`${last}:`); });
  let stopped = false;
  let requests = 0;
  const working = (async () => {
    for (let k = 0; !stopped; k++) {
      await client.execute('INSERT INTO clients.pages (p, c, v) VALUES (?, ?, ?)', [k, 1, 'z']);
      await client.execute('SELECT v FROM clients.pages WHERE p = ? AND c = ?', [k, 1]);
      requests += 2;
    }
  })();
  await ask('KILL');
  await eventually('the driver is told that the node is down', () => told.down);
  await sleep(1000);
  await ask('START');
  await eventually('the driver is told that the node is up', () => told.up && isUp());
  stopped = true;
  await working;
  step(`failure: ${requests} requests at LOCAL_QUORUM while a node was killed and came back`);
}

async function main() {
  const client = connect();
  await client.connect();
  checkMetadata(client);
  await makeSchema(client);
  await checkTypes(client);
  await checkStatements(client);
  await checkTraces(client);
  if (hosts.length > 2) {
    await checkFailure(client);
  }
  await client.shutdown();
  step('done');
  process.exit(0);
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
