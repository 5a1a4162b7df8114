"""A server on 127.0.0.1 that answers what W&B's client and agents ask: for tests, never a product.

It holds what it was sent, so that a test can compare it with what was trained. Its grid and its random
search are the simplest there are; a sweep with a scheduler has its runs from that.
"""

import gzip
import itertools
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

KEY = "0" * 40
"""The client takes no key that is shorter."""

OPERATION = re.compile(r"(?:query|mutation) (\w+)")
LAST_SIGN_OF_LIFE = 60.0
"""Seconds after which an agent that says nothing is taken for dead; W&B waits for some minutes."""


@dataclass
class Run:
    """What the server knows of a run.

    Attributes:
        name: Its id, as W&B's addresses have it.
        state: ``pending`` until the program reports itself, ``running``, then ``finished`` or ``failed``,
            or ``crashed``, where its agent was lost before it ended.
    """

    name: str
    args: dict[str, Any] = field(default_factory=dict)
    sweep: str | None = None
    agent: str | None = None
    state: str = "pending"
    stop: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """The config without W&B's own part."""
        return {key: item["value"] for key, item in self.config.items() if key != "_wandb"}


@dataclass
class Sweep:
    """A sweep: its file, and the settings that are left to try."""

    name: str
    config: dict[str, Any]
    left: Iterator[dict[str, Any]]
    state: str = "PENDING"
    again: list[dict[str, Any]] = field(default_factory=list)
    drawn: int = 0

    def draw(self) -> dict[str, Any] | None:
        """Return the next settings; those of a lost run come first; None where all are drawn."""
        if self.again:
            return self.again.pop(0)
        if self.drawn == self.config.get("run_cap"):
            return None
        self.drawn += 1
        return next(self.left, None)


def draws(config: Mapping[str, Any], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield a sweep's settings, all of a grid once, or random ones without end."""
    parameters = config["parameters"]
    if config["method"] == "grid":
        values = [item.get("values", [item.get("value")]) for item in parameters.values()]
        for point in itertools.product(*values):
            yield dict(zip(parameters, point, strict=True))
        return
    while True:
        yield {name: _draw(item, rng) for name, item in parameters.items()}


def _draw(item: Mapping[str, Any], rng: random.Random) -> Any:
    if "value" in item:
        return item["value"]
    return rng.choice(item["values"]) if "values" in item else rng.uniform(item["min"], item["max"])


class Loopback:
    """The server; ``with`` starts and ends it."""

    def __init__(self) -> None:
        self.sweeps: dict[str, Sweep] = {}
        self.runs: dict[str, Run] = {}
        self.agents: dict[str, str] = {}
        self.heard: dict[str, float] = {}
        self.asked: list[str] = []
        self.artifacts: list[dict[str, Any]] = []
        self.patience = LAST_SIGN_OF_LIFE
        self.lock = threading.RLock()
        self.on_history: Callable[[Run], None] = lambda run: None
        self.server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers requests."""
        return _Handler

    def __enter__(self) -> "Loopback":
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.end()

    def start(self) -> None:
        """Listen, again on the port that was had before."""
        handler = type("Handler", (self.handler,), {"loopback": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        """Refuse connections from now on."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @contextmanager
    def gone(self, seconds: float) -> Iterator[None]:
        """Be unreachable for some seconds."""
        self.end()
        time.sleep(seconds)
        self.start()
        yield

    def environment(self, folder: Path) -> dict[str, str]:
        """Return variables by which a client finds this server and leaves nothing outside a folder."""
        folders = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
        return {
            "WANDB_BASE_URL": f"http://127.0.0.1:{self.port}",
            "WANDB_API_KEY": KEY,
            "WANDB_MODE": "online",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
            **{name: str(folder) for name in folders},
        }

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data of an answer to a GraphQL operation."""
        found = OPERATION.search(query)
        name = found[1] if found else ""
        with self.lock:
            self.asked.append(name)
            operation = getattr(self, f"_{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}", None)
            return {} if operation is None else operation(variables)

    # One method an operation, named after it.

    def _viewer(self, v: dict[str, Any]) -> dict[str, Any]:
        person = {"id": "1", "entity": "team", "username": "team", "email": "", "flags": "{}", "admin": False}
        return {"viewer": person | {"teams": {"edges": []}, "name": "team", "apiKeys": {"edges": []}}}

    def _server_features_query(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": [{"name": "SWEEPS_LOCAL_SCHEDULER", "isEnabled": True}]}}

    def _upsert_sweep(self, v: dict[str, Any]) -> dict[str, Any]:
        config = yaml.safe_load(v["config"])
        name = f"sweep{len(self.sweeps)}"
        self.sweeps[name] = Sweep(name, config, draws(config, random.Random(0)))
        project = {"id": "1", "name": v["projectName"], "entity": {"id": "1", "name": "team"}}
        return {"upsertSweep": {"sweep": {"name": name, "project": project}, "configValidationWarnings": []}}

    def _sweep_with_runs(self, v: dict[str, Any]) -> dict[str, Any]:
        sweep = self.sweeps[v["sweep"]]
        content = {"id": sweep.name, "name": sweep.name, "state": sweep.state, "runs": {"edges": []}}
        text = yaml.safe_dump(sweep.config)
        return {"project": {"sweep": content | {"config": text, "controller": None, "scheduler": None}}}

    def _create_agent(self, v: dict[str, Any]) -> dict[str, Any]:
        name = f"agent{len(self.agents)}"
        self.agents[name] = v["sweep"]
        return {"createAgent": {"agent": {"id": name}}}

    def _heartbeat(self, v: dict[str, Any]) -> dict[str, Any]:
        agent, busy = v["id"], json.loads(v["runState"])
        self.heard[agent] = time.monotonic()
        commands = self._commands(agent, self.sweeps[self.agents[agent]], busy)
        return {"agentHeartbeat": {"agent": {"id": agent}, "commands": json.dumps(commands)}}

    def _commands(self, agent: str, sweep: Sweep, busy: Mapping[str, bool]) -> list[dict[str, Any]]:
        self._find_lost(sweep)
        stops = [name for name in busy if self.runs[name].stop == "by the agent"]
        if busy:
            return [{"type": "stop", "run_id": name} for name in stops]
        run = self._next(sweep)
        if run is None:
            return [{"type": "exit"}] if sweep.state == "FINISHED" else []
        run.agent = agent
        args = run.args
        command = {"type": "run", "run_id": run.name, "program": sweep.config.get("program")}
        return [command | {"args": {key: {"value": value} for key, value in args.items()}}]

    def _next(self, sweep: Sweep) -> Run | None:
        """Return a run that waits for an agent: one that a scheduler has put there, or a new one."""
        if sweep.config.get("scheduler"):
            runs = (run for run in self.runs.values() if run.sweep == sweep.name)
            waiting = (run for run in runs if run.state == "pending" and run.agent is None)
            return next(waiting, None)
        args = sweep.draw()
        if args is not None:
            sweep.state = "RUNNING"
            return self._add(sweep, args)
        # A run that goes on elsewhere may yet be lost, and its settings drawn again.
        if all(
            run.state not in ("pending", "running") for run in self.runs.values() if run.sweep == sweep.name
        ):
            sweep.state = "FINISHED"
        return None

    def _add(self, sweep: Sweep, args: dict[str, Any]) -> Run:
        run = Run(f"trial{len(self.runs)}", args, sweep.name)
        self.runs[run.name] = run
        return run

    def _sweep_config(self, v: dict[str, Any]) -> dict[str, Any]:
        sweep = self.sweeps[v["sweep"]]
        content = {"id": sweep.name, "state": sweep.state, "config": yaml.safe_dump(sweep.config)}
        return {
            "project": {"sweep": content | {"displayName": sweep.name, "controllerRunName": "controller"}}
        }

    def _enqueue_sweep_run(self, v: dict[str, Any]) -> dict[str, Any]:
        args = {key: item["value"] for key, item in json.loads(v["config"]).items()}
        run = self._add(self.sweeps[v["id"]], args)
        return {"enqueueSweepRun": {"id": run.name, "runQueueItemId": run.name}}

    def _upsert_sweep_state(self, v: dict[str, Any]) -> dict[str, Any]:
        self.sweeps[v["id"]].state = v["state"]
        return {"upsertSweep": {"sweep": {"state": v["state"]}}}

    def _sweep_runs_with_history(self, v: dict[str, Any]) -> dict[str, Any]:
        sweep = self.sweeps[v["sweep"]]
        return {"project": {"sweep": {"state": sweep.state, "runs": self._polled(sweep, v)}}}

    def _sweep_watched_runs(self, v: dict[str, Any]) -> dict[str, Any]:
        sweep = self.sweeps[v["sweep"]]
        return {"project": {"sweep": {"state": sweep.state}, "runs": self._polled(sweep, v)}}

    def _polled(self, sweep: Sweep, v: dict[str, Any]) -> dict[str, Any]:
        """Return a sweep's runs as a scheduler wants them."""
        keys = [json.loads(spec)["keys"] for spec in v["historySpecs"]]
        nodes = [
            {
                "id": run.name,
                "name": run.name,
                "state": run.state,
                "config": json.dumps(
                    run.config or {key: {"value": value} for key, value in run.args.items()}
                ),
                "summaryMetrics": json.dumps(run.summary),
                "sampledHistory": [
                    [{key: row[key] for key in of_spec} for row in run.history if {*of_spec} <= row.keys()]
                    for of_spec in keys
                ],
            }
            for run in self.runs.values()
            if run.sweep == sweep.name
        ]
        page = {"hasNextPage": False, "endCursor": None}
        return {"pageInfo": page, "edges": [{"node": node} for node in nodes]}

    def _find_lost(self, sweep: Sweep) -> None:
        """Take the runs of agents that are silent for lost, and draw their settings again."""
        for run in self.runs.values():
            is_lost = run.agent and time.monotonic() - self.heard[run.agent] > self.patience
            if run.sweep == sweep.name and run.state in ("pending", "running") and is_lost:
                run.state = "crashed"
                sweep.again.append(run.args)

    def _run_resume_status(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        bucket = None
        if run is not None and run.history:
            tail = json.dumps([json.dumps(run.history[-1])])
            bucket = {
                "id": run.name,
                "name": run.name,
                "displayName": run.name,
                "summaryMetrics": json.dumps(run.summary),
                "config": json.dumps(run.config),
                "historyLineCount": len(run.history),
                "historyTail": tail,
                "eventsLineCount": 0,
                "eventsTail": "[]",
                "logLineCount": 0,
                "tags": [],
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {"model": {"id": "1", "name": v["project"], "entity": {"name": "team"}, "bucket": bucket}}

    def _upsert_bucket(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(v["name"] or v["id"], Run(v["name"] or v["id"]))
        if run.state == "pending":
            run.state = "running"
        run.sweep = run.sweep or v.get("sweep")
        run.about |= {key: value for key, value in v.items() if value is not None and key != "config"}
        if v.get("config"):
            run.config = json.loads(v["config"])
        project = {"id": "1", "name": v.get("project") or "fer", "entity": {"id": "1", "name": "team"}}
        bucket = {"id": run.name, "name": run.name, "displayName": v.get("displayName") or run.name}
        bucket |= {"description": None, "config": "{}", "sweepName": run.sweep, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}

    def _create_run_files(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": self._upload(v["run"], name)} for name in v["files"]]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    def _upload(self, run: str, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/upload/{run}/{name}"

    def _create_artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        self.artifacts.append(v["input"])
        artifact = {"id": f"artifact{len(self.artifacts)}", "state": "PENDING"}
        return {"createArtifact": {"artifact": artifact | {"artifactSequence": {"latestArtifact": None}}}}

    def _create_artifact_manifest(self, v: dict[str, Any]) -> dict[str, Any]:
        file = {"id": "1", "uploadUrl": self._upload("artifact", v["name"]), "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "1", "file": file}}}

    def _create_artifact_files(self, v: dict[str, Any]) -> dict[str, Any]:
        files = v["input"]["artifactFiles"]
        nodes = [
            {
                "storagePath": "",
                "uploadUrl": self._upload("artifact", file["name"]),
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
            for file in files
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _artifact_type(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def _commit_artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": ""}}}

    def stream(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        """Take what a run streams, and say whether it is to stop."""
        with self.lock:
            run = self.runs.setdefault(name, Run(name))
            for file, chunk in (content.get("files") or {}).items():
                lines = chunk.get("content") or []
                if file == "wandb-history.jsonl":
                    run.history[chunk["offset"] :] = [json.loads(line) for line in lines]
                elif file == "wandb-summary.json" and lines:
                    run.summary = json.loads(lines[-1])
            if content.get("complete"):
                run.state = "finished" if content.get("exitcode") == 0 else "failed"
            self.on_history(run)
            return {"stopped": True} if run.stop == "by the stream" else {}


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Be silent on connections that were opened before the server went, or whose client is gone."""
        self.close_connection = True
        if self.loopback.server is not None:
            with suppress(ConnectionError):
                super().handle_one_request()

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, content: object, status: int = 200) -> None:
        if self.loopback.server is None:
            self.close_connection = True
            return
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Answer GraphQL and a run's stream."""
        body = json.loads(self._body() or b"{}")
        if self.path.endswith("/graphql"):
            self._send({"data": self.loopback.answer(body["query"], body.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            self._send(self.loopback.stream(self.path.split("/")[-2], body))
        else:
            self._send({}, 404)

    def do_PUT(self) -> None:
        """Take a file, of which the size is kept."""
        _, _, run, name = self.path.split("/", 3)
        size = len(self._body())
        with self.loopback.lock:
            if run in self.loopback.runs:
                self.loopback.runs[run].files[name] = size
        self._send({})

    def do_GET(self) -> None:
        """Have nothing to give."""
        self._send({}, 404)
