"""Starts and stops one Apache Cassandra process from its Maven artifacts, on a loopback address of its own.

The configuration is that of a stock installation where it decides what a statement means; only addresses,
folders, memory and pauses that a single node does not need differ.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

ADDRESS = "127.9.42.1"
PORT = 9042
START_SECONDS_MAX = 300

# Where it is, and what both configurations have as it comes.
PLACE = """\
cluster_name: Test Cluster
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
commitlog_sync: periodic
commitlog_sync_period: 10s
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "{address}:7000"
listen_address: {address}
rpc_address: {address}
native_transport_port: {port}
data_file_directories:
  - {folder}/data
commitlog_directory: {folder}/commitlog
saved_caches_directory: {folder}/saved_caches
hints_directory: {folder}/hints
cdc_raw_directory: {folder}/cdc_raw
"""

# For the oracle: one token, patience, and little memory.
CONFIGURATION = PLACE + """\
num_tokens: 1
initial_token: "0"
auto_snapshot: false
hinted_handoff_enabled: false
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
role_manager: CassandraRoleManager
read_request_timeout: 60s
range_request_timeout: 60s
write_request_timeout: 60s
truncate_request_timeout: 60s
request_timeout: 60s
concurrent_reads: 4
concurrent_writes: 4
memtable_heap_space: 128MiB
memtable_offheap_space: 64MiB
key_cache_size: 1MiB
file_cache_size: 32MiB
"""

# Nothing but where it is: all else is as it comes.
STOCK = PLACE + """\
num_tokens: 16
"""

LOGGING = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{{ISO8601}} %logger{{30}} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
""".replace("{{", "{").replace("}}", "}")

EXPORTS = """\
java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry
java.rmi/sun.rmi.server java.sql/java.sql java.base/java.lang.ref jdk.unsupported/sun.misc
jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach"""

OPENS = """\
java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect
java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar
jdk.management/com.sun.management.internal java.base/sun.nio.ch java.base/java.io java.base/java.lang.reflect
jdk.compiler/com.sun.tools.javac java.base/java.lang java.base/java.util java.base/java.nio
java.base/java.util.concurrent java.base/java.util.concurrent.atomic"""


def stock_heap():
    """Flags of the heap and its collector that cassandra-env.sh and jvm17-server.options choose on this machine."""
    megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    heap = max(min(megabytes // 2, 1024), min(megabytes // 4, 8192))
    flags = [f"-Xms{heap}M", f"-Xmx{heap}M", "-XX:+UseG1GC", "-XX:+ParallelRefProcEnabled"]
    flags += ["-XX:MaxTenuringThreshold=2", "-XX:+UseNUMA", "-XX:+PerfDisableSharedMem", "-Xss256k"]
    flags += ["-XX:G1HeapRegionSize=16m", "-XX:+UnlockExperimentalVMOptions", "-XX:G1NewSizePercent=50"]
    flags += ["-XX:G1RSetUpdatingPauseTimePercent=5", "-XX:MaxGCPauseMillis=300", "-XX:+AlwaysPreTouch", "-XX:+UseTLAB"]
    return [*flags, "-XX:+ResizeTLAB", "-XX:StringTableSize=1000003"]


def class_path():
    """The artifacts, resolved by Maven into its local repository."""
    with tempfile.NamedTemporaryFile() as file:
        command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:build-classpath"]
        subprocess.run([*command, f"-Dmdep.outputFile={file.name}"], check=True, stdout=subprocess.DEVNULL)
        return pathlib.Path(file.name).read_text().strip()


def java():
    """The java of version 17: of JAVA_HOME, or the one that is found first."""
    home = os.environ.get("JAVA_HOME")
    candidates = [f"{home}/bin/java"] if home else []
    candidates += [shutil.which("java") or "java", "/usr/lib/jvm/java-17-openjdk-amd64/bin/java"]
    for candidate in candidates:
        try:
            shown = subprocess.run([candidate, "-version"], capture_output=True, text=True, check=False).stderr
        except OSError:
            continue
        if 'version "17.' in shown:
            return candidate
    raise SystemExit("Java 17 is needed (JAVA_HOME, or java in PATH)")


def answers(address=ADDRESS, port=PORT):
    """Whether something listens there."""
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


class Cassandra:
    """A running process in a temporary folder; a context manager."""

    def __init__(self, stock=False):
        self.stock = stock
        self.start_seconds = 0.0
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="oracle-"))
        self.process = None

    def __enter__(self):
        (self.folder / "triggers").mkdir()
        configuration = self.folder / "cassandra.yaml"
        template = STOCK if self.stock else CONFIGURATION
        configuration.write_text(template.format(address=ADDRESS, port=PORT, folder=self.folder))
        logging = self.folder / "logback.xml"
        logging.write_text(LOGGING)
        jars = class_path()
        agent = next(jar for jar in jars.split(":") if "/jamm-" in jar)
        flags = [f"-javaagent:{agent}", "-Duser.timezone=UTC"]
        if self.stock:
            flags += stock_heap()
        else:
            flags += ["-Xms512m", "-Xmx1536m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
        for export in EXPORTS.split():
            flags += ["--add-exports", f"{export}=ALL-UNNAMED"]
        for opened in OPENS.split():
            flags += ["--add-opens", f"{opened}=ALL-UNNAMED"]
        settings = {
            "cassandra.config": configuration.as_uri(),
            "cassandra.storagedir": self.folder,
            "cassandra.triggers_dir": self.folder / "triggers",
            "cassandra.logdir": self.folder,
            "cassandra-foreground": "yes",
            "logback.configurationFile": logging,
            "io.netty.tryReflectionSetAccessible": "true",
            "jdk.attach.allowAttachSelf": "true",
            "java.io.tmpdir": self.folder,
        }
        if not self.stock:
            settings |= {
                "cassandra.skip_wait_for_gossip_to_settle": 0,
                "cassandra.ring_delay_ms": 0,
                "cassandra.superuser_setup_delay_ms": 0,
                # A schema change need not reach the disk: the folder is thrown away.
                "cassandra.unsafesystem": "true",
            }
        flags += [f"-D{name}={value}" for name, value in settings.items()]
        log = (self.folder / "system.log").open("wb")
        polite = [] if self.stock else ["nice"]
        command = [*polite, java(), *flags, "-cp", jars, "org.apache.cassandra.service.CassandraDaemon"]
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        started = time.monotonic()
        while not answers():
            if self.process.poll() is not None or time.monotonic() - started > START_SECONDS_MAX:
                text = (self.folder / "system.log").read_text(errors="replace")
                self.__exit__()
                raise SystemExit(f"Cassandra did not start:\n{text[-8000:]}")
            time.sleep(0.05 if self.stock else 0.5)
        self.start_seconds = time.monotonic() - started
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
