"""The files a Cassandra server needs: jars from Maven Central, a configuration, the JVM's options.

No container and no tarball: the server's jars are an ordinary Maven dependency. They land once per
version in a cache folder, `.cache/` of a checkout or `~/.cache/thespian-dc`, and stay there.
This file starts Maven and apt-get, never the server.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thespian_dc.model.errors import MissingToolError

DEFAULT_VERSION = "5.0.9"
VERSIONS = ("5.0.9", "4.1.10")  # proved here; another release may be named and usually works

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>thespian-dc</groupId><artifactId>embedded-cassandra</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>{version}</version>
    </dependency>
  </dependencies>
</project>
"""

_LOGBACK = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""

# paxos v1 is still the server's default; v2 needs fewer round trips and stays linearizable while
# nodes move. max_mutation_size follows from commitlog_segment_size: half of 32 MiB.
_YAML = """\
cluster_name: embedded
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
auto_bootstrap: false
auto_snapshot: false
paxos_variant: v2
listen_address: {host}
rpc_address: {host}
storage_port: {storage_port}
native_transport_port: {cql_port}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{seed}:{storage_port}"}}]
data_file_directories: [{data}/data]
commitlog_directory: {data}/commitlog
saved_caches_directory: {data}/saved_caches
hints_directory: {data}/hints
cdc_raw_directory: {data}/cdc_raw
commitlog_sync: {commitlog_sync}
{commitlog_detail}
{more}
"""

_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
)
_OPENS = (
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.util",
    "java.base/java.nio",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "jdk.management/com.sun.management.internal",
)


def cache_dir() -> Path:
    """$THESPIAN_DC_CACHE, else `.cache` of the checkout, else ~/.cache/thespian-dc."""
    named = os.environ.get("THESPIAN_DC_CACHE")
    if named:
        return Path(named)
    root = Path(__file__).resolve().parents[2]
    return root / ".cache" if (root / "setup.cfg").exists() else Path.home() / ".cache/thespian-dc"


def prepare(version: str = DEFAULT_VERSION) -> Path:
    """Return the folder of the server's jars; bring them from Maven Central if they are not there.

    Safe to call from several processes at once. Raises MissingToolError without Maven or JDK 17.
    """
    home = cache_dir() / f"cassandra-{version}"
    if (home / "lib").is_dir():
        return home / "lib"
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "lib").is_dir():
            _download(version, home)
    return home / "lib"


def _download(version: str, home: Path) -> None:
    maven = find_maven()
    environment = {**os.environ, "JAVA_HOME": str(find_java().parents[1])}
    with tempfile.TemporaryDirectory(dir=cache_dir()) as building:
        pom = Path(building) / "pom.xml"
        pom.write_text(_POM.format(version=version))
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        done = subprocess.run(
            [maven, "-q", "-B", goal, "-DoutputDirectory=lib", "-f", str(pom)],
            env=environment,
            cwd=building,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stdout + done.stderr).strip().splitlines()[-3:]
            raise MissingToolError(
                f"the jars of Cassandra {version}",
                "Maven could not copy them from Maven Central: " + " / ".join(last),
                "check the network and the version, then run it again",
            )
        home.mkdir(parents=True, exist_ok=True)
        (Path(building) / "lib").rename(home / "lib")  # all of it or nothing


def find_java() -> Path:
    """The `java` of a JDK or JRE 17: $JAVA_HOME, PATH, the usual folders, else apt-get as root."""
    found = _look_for_java()
    if found is None and _apt_install("openjdk-17-jre-headless"):
        found = _look_for_java()
    if found is None:
        raise MissingToolError(
            "Java 17",
            "the embedded Cassandra needs it",
            "apt-get install openjdk-17-jre-headless, brew install openjdk@17, or set JAVA_HOME",
        )
    return found


def _look_for_java() -> Path | None:
    candidates = [Path(os.environ["JAVA_HOME"]) / "bin/java"] if "JAVA_HOME" in os.environ else []
    on_path = shutil.which("java")
    candidates += [Path(on_path).resolve()] if on_path else []
    for pattern in ("usr/lib/jvm/*17*/bin/java", "opt/homebrew/opt/openjdk@17/bin/java"):
        candidates += sorted(Path("/").glob(pattern))
    return next((java for java in candidates if _java_major(java) == 17), None)


def _java_major(java: Path) -> int:
    if not java.exists():
        return 0
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    return int(match.group(1)) if match else 0


def find_maven() -> str:
    """The `mvn` on PATH, else apt-get as root."""
    found = shutil.which("mvn")
    if found is None and _apt_install("maven"):
        found = shutil.which("mvn")
    if found is None:
        raise MissingToolError(
            "Maven",
            "the embedded Cassandra is assembled from Maven Central",
            "apt-get install maven (or brew install maven)",
        )
    return found


def _apt_install(package: str) -> bool:
    """Install a Debian package where we are root and apt-get exists; say whether it worked."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    print(f"installing {package} with apt-get", flush=True)
    install = ["install", "-y", "-qq", "--no-install-recommends", package]
    for arguments in (["update", "-qq"], install):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            ["apt-get", *arguments], env=environment, stdout=subprocess.DEVNULL, check=False
        )
    return done.returncode == 0


def write_configuration(
    folder: Path,
    host: str,
    cql_port: int,
    storage_port: int,
    commitlog_sync: str,
    seed: str = "",
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write conf/cassandra.yaml and conf/logback.xml below `folder`; data goes to `folder`/data.

    seed: the address of a node whose ring this one joins; the server's own by default. more:
    settings of cassandra.yaml that are not among those above, plain values.
    """
    detail = "commitlog_sync_period: 10000ms" if commitlog_sync == "periodic" else ""
    conf = folder / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "logback.xml").write_text(_LOGBACK)
    (conf / "cassandra.yaml").write_text(
        _YAML.format(
            host=host,
            storage_port=storage_port,
            cql_port=cql_port,
            seed=seed or host,
            data=folder / "data",
            commitlog_sync=commitlog_sync,
            commitlog_detail=detail,
            more="\n".join(f"{name}: {json.dumps(value)}" for name, value in (more or {}).items()),
        )
    )


def java_command(
    java: Path, lib: Path, folder: Path, heap_mb: int, jmx_port: int, ring_delay_ms: int = 0
) -> Sequence[str]:
    """The command that runs the server of `folder` in the foreground.

    ring_delay_ms: how long it listens to the others of its ring; alone there, it waits for nobody.
    """
    openings = [f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTS]
    openings += [f"--add-opens={name}=ALL-UNNAMED" for name in _OPENS]
    return [
        str(java),
        f"-Xms{heap_mb}m",
        f"-Xmx{heap_mb}m",
        "-XX:+UseG1GC",
        "-Djdk.attach.allowAttachSelf=true",
        "-Djava.security.manager=allow",
        *[f"-javaagent:{jar}" for jar in sorted(lib.glob("jamm-0.3.*.jar"))],  # 4.1 on Java 17
        *openings,
        f"-Dcassandra.config=file://{folder}/conf/cassandra.yaml",
        f"-Dcassandra.storagedir={folder}/data",
        f"-Dcassandra.jmx.local.port={jmx_port}",
        "-Dcassandra-foreground=yes",
        f"-Dcassandra.ring_delay_ms={ring_delay_ms}",
        "-Dcassandra.superuser_setup_delay_ms=0",
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-cp",
        f"{folder}/conf:{lib}/*",
        "org.apache.cassandra.service.CassandraDaemon",
    ]
