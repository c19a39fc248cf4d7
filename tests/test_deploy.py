"""The compose file for people who prefer containers: safe by its structure, and in step with the code.

No container engine is needed: the file is read as compose would read it, and its set-up script and server settings are
tried on the real server.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from shelfmark.lake import server

ROOT = Path(__file__).parents[1]
FILE = ROOT / "deploy" / "compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES = COMPOSE["services"]
SECRET = re.compile(r"PASSWORD|SECRET|_KEY(_ID)?$|^KEY_ID$|^MC_HOST")
REQUIRED = re.compile(r"\$\{([A-Z_]+):\?[^}]+\}")


def test_every_secret_comes_from_the_environment_and_has_no_default():
    named = set()
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            found = REQUIRED.findall(value)
            named |= set(found)
            public = (name, key) == ("lakefs", "LAKEFS_BLOCKSTORE_S3_CREDENTIALS_ACCESS_KEY_ID")
            assert found or public or not SECRET.search(key), f"{name}: {key} is written down"
    assert named == {
        "LAKEFS_ACCESS_KEY_ID",
        "LAKEFS_SECRET_ACCESS_KEY",
        "LAKEFS_ENCRYPT_KEY",
        "LAKEFS_SIGNING_KEY",
        "POSTGRES_PASSWORD",
        "MINIO_ROOT_PASSWORD",
    }
    # Anything else with a dollar is a variable of the script, doubled so that compose leaves it alone.
    assert not re.sub(r"\$\$|\$\{[A-Z_]+:\?[^}]+\}", "", FILE.read_text()).count("$")


def test_ports_are_bound_to_this_machine_alone():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_versions_are_pinned_and_the_server_is_the_one_that_is_tested():
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert all(re.fullmatch(r"[a-z/]+:[\w.-]*\d[\w.-]*", image) for image in images.values()), images
    assert images["lakefs"] == f"treeverse/lakefs:{server.VERSION}"
    assert f"github.com/treeverse/lakefs v{server.VERSION}\n" in (ROOT / "tools/lakefs/go.mod").read_text()


def test_what_stays_is_on_volumes_and_what_waits_waits_for_health():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        for other, how in service.get("depends_on", {}).items():
            ends = how["condition"] == "service_completed_successfully"
            assert ends or (how["condition"] == "service_healthy" and "healthcheck" in SERVICES[other])
    assert all("healthcheck" in SERVICES[name] for name in ("postgres", "minio", "lakefs"))


def test_the_servers_variables_are_known_to_it_and_its_first_user_can_be_made_twice(lakefs_program, tmp_path):
    """The real server with the file's variables, its two stores aside: a wrong name would change no setting."""
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    port = server._free_port()
    aside = re.compile("DATABASE|BLOCKSTORE_TYPE|PGPASSWORD")
    given = {k: REQUIRED.sub("x", v) for k, v in SERVICES["lakefs"]["environment"].items() if not aside.search(k)}
    local = {
        "LAKEFS_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "LAKEFS_DATABASE_TYPE": "local",
        "LAKEFS_DATABASE_LOCAL_PATH": str(tmp_path / "metadata"),
        "LAKEFS_BLOCKSTORE_TYPE": "local",
        "LAKEFS_BLOCKSTORE_LOCAL_PATH": str(tmp_path / "blocks"),
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([lakefs_program, "run"], env=given | local, stdout=log, stderr=log, cwd=tmp_path)
    try:
        setup = SERVICES["setup"]
        (script,) = setup["command"]
        script = script.replace("$$", "$").replace("http://lakefs:8000", f"http://127.0.0.1:{port}")
        keys = {"KEY_ID": "AKIAFORTHETEST", "SECRET": "sEcReTfOrThEtEsT", "PATH": os.environ["PATH"]}
        said = []
        for _ in range(2):
            script_with_wait = script.replace("curl -sS", "curl -sS --retry 50 --retry-delay 1 --retry-connrefused")
            done = subprocess.run(
                [*setup["entrypoint"], script_with_wait], env=keys, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said.append(done.stdout.strip())
        kept = {"port": port, "access_key_id": keys["KEY_ID"], "secret_access_key": keys["SECRET"]}
        assert server._answer(kept) == 200
        assert said == ["the first user is made", "there is a first user already: nothing was changed"]
        config = (tmp_path / "log").read_text()
        for name, value in given.items():
            # The server prints every setting it knows, secrets as stars.
            found = [
                shown
                for key, shown in re.findall(r'([a-z0-9_.]+)=("[^"]*"|\S+)', config)
                if f"LAKEFS_{key.replace('.', '_').upper()}" == name
            ]
            if "CREDENTIALS" not in name:  # not among what it prints
                assert found, f"{name} is no setting of the server"
                assert found[0].strip('"') in (value, "******"), f"{name} is {found[0]}"
    finally:
        process.terminate()
        process.wait(40)


def test_compose_itself_accepts_the_file_and_stops_where_a_secret_is_not_set():
    """Where docker is installed its own parser has the last word; elsewhere the tests above are all there is."""
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], check=False).returncode:
        pytest.skip("no docker compose here")
    secrets = dict.fromkeys(REQUIRED.findall(FILE.read_text()), "x")
    command = ["docker", "compose", "-f", str(FILE), "config", "--quiet"]
    assert subprocess.run(command, env={**os.environ, **secrets}, check=False).returncode == 0
    for name in secrets:
        without = {key: value for key, value in {**os.environ, **secrets}.items() if key != name}
        done = subprocess.run(command, env=without, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert name in done.stderr
