"""A small server that stands in for the part of the W&B service that these tests need.

It is no W&B: it answers what W&B's own client asks when a run is started, logged to, resumed, shared between processes
and finished, keeps in memory what the client sends, and knows nothing of users, rights, panels or storage. What tests
learn from it is what the real client really sent over HTTP, row by row. Two things are this stand-in's own choice: in a
shared run it numbers the rows in the order in which they arrive, and it merges configs and summaries key by key.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote, unquote

ENTITY = {"id": "tester", "name": "tester"}
API_KEY = "0123456789" * 4
HISTORY = "wandb-history.jsonl"
_EVENTS, _OUTPUT, _SUMMARY = "wandb-events.jsonl", "output.log", "wandb-summary.json"
_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")


@dataclass
class ServerArtifact:
    """One version of an artifact, as far as it has arrived."""

    id: str
    name: str
    type: str
    digest: str
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    committed: bool = False


@dataclass
class ServerRun:
    """What has arrived of one run.

    Attributes:
        lines: Files that are streamed line by line, by the names W&B gives them.
        files: Files that were uploaded as a whole.
        clients: In a shared run, which client sent each row.
        exit_codes: One for every time the run was finished.
    """

    name: str
    project: str
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    clients: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    _received: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history, in W&B's order."""
        return [json.loads(line) for line in self.lines.get(HISTORY, [])]

    def stream(self, name: str, offset: int, content: list[str], client: str | None) -> None:
        """Take lines of a streamed file; `client` names who sent them to a shared run."""
        lines = self.lines.setdefault(name, [])
        if name == _SUMMARY:
            self.summary |= json.loads(content[-1])
        elif client is None:
            if offset > len(lines):
                raise ValueError(f"Lines {len(lines)} to {offset - 1} of {name} were never sent.")
            lines[offset : offset + len(content)] = content
        else:
            # Every client counts its own lines, and sends some again after an error.
            before = self._received.get((client, name), offset)
            self._received[client, name] = max(before, offset + len(content))
            for line in content[max(0, before - offset) :]:
                if name == HISTORY:
                    self.clients.append(client)
                    line = json.dumps(json.loads(line) | {"_step": len(lines)})
                lines.append(line)

    def described(self) -> dict[str, Any]:
        """The run as W&B calls a bucket."""
        telemetry = self.config.get("_wandb", {}).get("value", {}).get("t")
        return {
            **{key: self.name for key in ("id", "name", "displayName")},
            "project": {"id": self.project, "name": self.project, "entity": ENTITY},
            "config": json.dumps(self.config),
            "wandbConfig": json.dumps({} if telemetry is None else {"t": telemetry}),  # absent before a run has begun
            "summaryMetrics": json.dumps(self.summary),
            "tags": [],
            "historyLineCount": len(self.lines.get(HISTORY, [])),
            "eventsLineCount": len(self.lines.get(_EVENTS, [])),
            "logLineCount": len(self.lines.get(_OUTPUT, [])),
            "historyTail": json.dumps(self.lines.get(HISTORY, [])[-1:]),
            "eventsTail": json.dumps(self.lines.get(_EVENTS, [])[-1:]),
        }


class _Answers:
    """What the client asks in GraphQL, one method for each operation, called with the operation's variables."""

    url: str
    runs: dict[str, ServerRun]
    artifacts: list[ServerArtifact]

    def artifact(self, id: str) -> ServerArtifact:
        return next(artifact for artifact in self.artifacts if artifact.id == id)

    def Viewer(self) -> dict[str, Any]:
        viewer = {"id": "viewer", "entity": ENTITY["name"], "username": ENTITY["name"], "teams": {"edges": []}}
        return {"viewer": viewer | {"flags": "{}"}}

    def ServerFeaturesQuery(self) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def OrganizationCoreWeaveOrganizationID(self, **_: Any) -> dict[str, Any]:
        return {"entity": {"organization": None}}

    def RunResumeStatus(self, name: str, project: str, **_: Any) -> dict[str, Any]:
        bucket = self.runs[name].described() if name in self.runs else None
        return {"model": {"id": project, "name": project, "entity": ENTITY, "bucket": bucket}}

    def UpsertBucket(self, name: str, project: str, config: str | None, **_: Any) -> dict[str, Any]:
        inserted = name not in self.runs
        run = self.runs.setdefault(name, ServerRun(name, project))
        run.config |= json.loads(config or "{}")
        return {"upsertBucket": {"bucket": run.described(), "inserted": inserted}}

    def RunStoppedStatus(self, **_: Any) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def CreateRunFiles(self, run: str, files: list[str], **_: Any) -> dict[str, Any]:
        places = [{"name": name, "uploadUrl": self._place("run", run, name)} for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": places}}

    def ArtifactType(self, name: str, **_: Any) -> dict[str, Any]:
        types = {artifact.name: artifact.type for artifact in self.artifacts if artifact.committed}
        found = types.get(name.split(":")[0])
        return {"project": {"artifact": None if found is None else {"artifactType": {"name": found}}}}

    def CreateArtifact(self, input: dict[str, Any]) -> dict[str, Any]:
        names = input["artifactCollectionName"], input["artifactTypeName"]
        artifact = ServerArtifact(f"artifact-{len(self.artifacts)}", *names, input["digest"])
        self.artifacts.append(artifact)
        created = {"id": artifact.id, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": created}}

    def CreateArtifactFiles(self, input: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "storagePath": file["name"],
                "uploadUrl": self._place("artifact", file["artifactID"], file["name"]),
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
            for file in input["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def CreateArtifactManifest(self, artifactID: str, name: str, **_: Any) -> dict[str, Any]:
        file = {"id": artifactID, "uploadUrl": self._place("manifest", artifactID, name), "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": artifactID, "file": file}}}

    def CommitArtifact(self, artifactID: str) -> dict[str, Any]:
        artifact = self.artifact(artifactID)
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _place(self, kind: str, owner: str, name: str) -> str:
        return f"{self.url}/put/{kind}/{owner}/{quote(name)}"


class WandbServer(_Answers):
    """Listens on a free port of this machine while its context is open.

    Attributes:
        runs: By id.
        artifacts: In the order in which they were begun.
        asked: Every GraphQL operation, and method and path of every other request.
        unknown: What was asked and cannot be answered; a test that finds something here has left the stand-in's ground.
    """

    def __init__(self) -> None:
        self.runs, self.artifacts = {}, []
        self.asked: list[str] = []
        self.unknown: list[str] = []
        self.lock = threading.Lock()
        self.answering = threading.Event()
        self.answering.set()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.wandb = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()

    def fall_silent(self) -> None:
        """Take connections and answer nothing from now on."""
        self.answering.clear()

    def die(self) -> None:
        """Stop listening and break every connection, as when a machine goes down."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._http.server_close()
            self._http.break_connections()
            self.answering.set()
            self._thread.join()

    def take(self, method: str, path: str, body: bytes, client: str | None) -> dict[str, Any]:
        """Act on one request.

        Raises:
            LookupError: If it is one that this server knows nothing of.
        """
        match path.strip("/").split("/", 3):
            case ["graphql"]:
                question = json.loads(body)
                found = _OPERATION.search(question["query"])
                operation = found.group(1) if found else ""
                self.asked.append(operation)
                if operation not in vars(_Answers) or operation.startswith("_"):
                    raise LookupError(operation)
                return {"data": getattr(self, operation)(**(question.get("variables") or {}))}
            case ["files", _, _, rest] if rest.endswith("/file_stream"):
                self.asked.append(f"{method} file_stream")
                run = self.runs[rest.removesuffix("/file_stream")]
                sent = json.loads(body)
                for name, chunk in sent.get("files", {}).items():
                    run.stream(name, chunk["offset"], chunk["content"], client)
                if sent.get("complete"):
                    run.exit_codes.append(sent["exitcode"])
            case ["sdk", "otel", *_]:
                pass  # what the client reports of itself
            case ["put", "run", name, file]:
                self.runs[name].files[unquote(file)] = body
            case ["put", "artifact", id, file]:
                self.artifact(id).files[unquote(file)] = body
            case ["put", "manifest", id, _]:
                self.artifact(id).manifest = json.loads(body)
            case _:
                self.asked.append(f"{method} {path}")
                raise LookupError(f"{method} {path}")
        return {}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    wandb: WandbServer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None: ...

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = cast(_Http, self.server).wandb
        server.answering.wait()
        with server.lock:
            try:
                status, answer = (
                    200,
                    server.take(self.command, self.path, body, self.headers.get("X-WANDB-ASYNC-CLIENT-ID")),
                )
            except Exception as error:  # 400, which the client does not send again
                status, answer = 400, {"errors": [{"message": repr(error)}]}
                server.unknown.append(f"{self.command} {self.path}: {error!r}")
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer
