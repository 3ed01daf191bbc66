#!/usr/bin/env python3
"""Bad input to every RPC of a real server: each is refused with a typed error, and nothing is stored.

    tests/python/bad_rpc.py target/debug/fapo

Starts the server itself, with tokens, over a SQLite file. The methods are those that reflection names: one that has no row in
ROWS is a failure. Needs grpcio and grpcio-reflection.
"""

import hashlib
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "missing-hop"
DEADLINE = 60
UNKNOWN_JOB = "01890000-0000-7000-8000-000000000000"
HASH = "ab" * 32
CASE = {"caseId": "c", "inputJson": "e30=", "expectedJson": "e30="}

# The one file of it is there, and is no project.
SUBMISSION = {
    "requestId": "bad-rpc",
    "project": "missing-hop",
    "files": [{"path": "fapo.yaml", "sha256": hashlib.sha256((EXAMPLE / "data" / "train.jsonl").read_bytes()).hexdigest()}],
    "goal": {"optimize": {}},
}
# What each method needs, and a request that is in order but for the things it names: $job, $evaluation.
VIEWER, SUBMITTER, SERVICE = "viewer", "submitter", "service"
ROWS = {
    "Diagnosis/GetAttribution": (VIEWER, {"evaluationId": "$evaluation"}),
    "Diagnosis/ListClusters": (VIEWER, {"evaluationId": "$evaluation"}),
    "Diagnosis/ListFindings": (VIEWER, {"evaluationId": "$evaluation"}),
    "Diagnosis/ListSessions": (VIEWER, {"jobId": "$job"}),
    "Diagnosis/GetSession": (VIEWER, {"sessionId": HASH}),
    "Diagnosis/GetTranscript": (VIEWER, {"sessionId": HASH}),
    "Executor/ValidatePipeline": (VIEWER, {"jobId": "$job", "variantId": HASH}),
    "Executor/RunCase": (SERVICE, {"jobId": "$job", "variantId": HASH, "case": CASE}),
    "Optimizer/FindMissingBlobs": (SUBMITTER, {"sha256": [HASH]}),
    "Optimizer/UploadBlobs": (SUBMITTER, {"data": "eA==", "last": False}),
    "Optimizer/SubmitJob": (SUBMITTER, SUBMISSION),
    "Optimizer/GetJob": (VIEWER, {"jobId": "$job"}),
    "Optimizer/ListJobs": (VIEWER, {}),
    "Optimizer/CancelJob": (SUBMITTER, {"jobId": "$job"}),
    "Optimizer/PauseJob": (SUBMITTER, {"jobId": "$job"}),
    "Optimizer/ResumeJob": (SUBMITTER, {"jobId": "$job"}),
    "Optimizer/WatchJob": (VIEWER, {"jobId": "$job"}),
    "Optimizer/ListEvents": (VIEWER, {"jobId": "$job"}),
    "Optimizer/GetLineage": (VIEWER, {"jobId": "$job"}),
    "Optimizer/GetVariant": (VIEWER, {"jobId": "$job", "variantId": HASH}),
    "Optimizer/GetReport": (VIEWER, {"jobId": "$job", "format": 2}),
    "Optimizer/ListDeadTasks": (VIEWER, {"jobId": "$job"}),
    "Optimizer/RetryDeadTasks": (SUBMITTER, {"jobId": "$job"}),
    "Scoring/ScoreRuns": (SERVICE, {"jobId": "$job"}),
    "Scoring/CompareVariants": (
        VIEWER,
        {"jobId": "$job", "evaluationAId": "$evaluation", "evaluationBId": "$evaluation", "confidence": 0.9},
    ),
    "Scoring/ListScorers": (VIEWER, {}),
    "Traces/IngestRuns": (SERVICE, {"runs": [{"evaluationId": "no id"}]}),
    "Traces/FinishedOrdinals": (VIEWER, {"evaluationId": "$evaluation", "ordinals": [0]}),
    "Traces/GetRun": (VIEWER, {"evaluationId": "$evaluation"}),
    "Traces/GetRuns": (VIEWER, {"evaluationId": "$evaluation", "ordinals": [0]}),
    "Traces/ListRuns": (VIEWER, {"evaluationId": "$evaluation"}),
    "Traces/ListFailures": (VIEWER, {"evaluationId": "$evaluation"}),
    "Traces/SearchRuns": (VIEWER, {"jobId": "$job", "text": "x"}),
    "Traces/GetAggregates": (VIEWER, {"evaluationId": "$evaluation"}),
    "Traces/GetEvaluation": (VIEWER, {"evaluationId": "$evaluation"}),
    "Traces/ListEvaluations": (VIEWER, {"jobId": "$job"}),
}
# Other requests that are wrong, with what is said of them.
MORE = [
    ("Optimizer/FindMissingBlobs", {"sha256": ["no hash"]}, "REQUEST_INVALID"),
    ("Optimizer/ListJobs", {"pageToken": "no token of a page"}, "REQUEST_INVALID"),
    ("Optimizer/UploadBlobs", {"data": "eA==", "last": False}, "REQUEST_INVALID"),
    ("Optimizer/GetReport", {"jobId": "$job", "format": 99}, "REQUEST_INVALID"),
    ("Optimizer/GetVariant", {"jobId": "$job", "variantId": HASH}, "NOT_FOUND"),
    ("Optimizer/SubmitJob", {**SUBMISSION, "project": "other"}, "NOT_FOUND"),
    ("Optimizer/SubmitJob", {**SUBMISSION, "requestId": "x" * 65}, "REQUEST_INVALID"),
    ("Optimizer/SubmitJob", {**SUBMISSION, "files": [{"path": "x", "sha256": HASH}]}, "BLOBS_MISSING"),
    ("Optimizer/SubmitJob", {**SUBMISSION, "goal": {}}, "REQUEST_INVALID"),
    ("Optimizer/SubmitJob", SUBMISSION, "PROJECT_INVALID"),
    ("Optimizer/SubmitJob", {**SUBMISSION, "goal": {"evaluate": {"split": 1}}}, "REQUEST_ID_REUSED"),
    ("Scoring/CompareVariants", {"jobId": "$job", "evaluationAId": HASH, "evaluationBId": HASH, "confidence": 7.0}, "REQUEST_INVALID"),
]
# With nothing in them these ask for nothing, which is in order.
EMPTY_IS_FINE = {"Optimizer/FindMissingBlobs", "Optimizer/ListJobs", "Scoring/ListScorers", "Traces/IngestRuns"}


CODES = {
    "REQUEST_INVALID": ["INVALID_ARGUMENT"],
    "PROJECT_INVALID": ["INVALID_ARGUMENT", "FAILED_PRECONDITION"],
    "NOT_FOUND": ["NOT_FOUND"],
    "BLOBS_MISSING": ["FAILED_PRECONDITION"],
    "REQUEST_ID_REUSED": ["ALREADY_EXISTS"],
}


class Server:
    """A server with tokens, and a job of the project missing-hop."""

    def __init__(self, program, folder):
        self.program, self.folder = program, pathlib.Path(folder)
        self.at = ["--set", f"node.dir={self.folder / 'server'}"]
        self.env = {**os.environ, "OPENAI_API_KEY": "sk-any", "FAPO_MODEL_URL": "http://127.0.0.1:9/v1"}
        args = ["serve", "--json", *self.at, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--set", "auth.mode=tokens"]
        self.log = open(self.folder / "log", "w")
        self.process = subprocess.Popen(
            [program, *args], env=self.env, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        listens = json.loads(self.process.stdout.readline())
        self.address, self.http = listens["grpc"], listens["http"]
        self.channel = grpc.insecure_channel(self.address, [("grpc.max_send_message_length", -1)])

    def token(self, role, project=None, expires="1d"):
        scope = ["--project", project] if project else []
        made = self.run("token", "create", "--name", role, "--role", role, "--expires", expires, *scope, *self.at)
        return made.strip()

    def tokens(self):
        """Of each kind one; `foreign` may do everything in another project."""
        return {
            "expired": self.token(VIEWER, "missing-hop", "1s"),
            "viewer": self.token(VIEWER, "missing-hop"),
            "submitter": self.token(SUBMITTER, "missing-hop"),
            "admin": self.token("admin", "missing-hop"),
            "foreign": self.token("admin", "other"),
            "service": self.token(SERVICE),
        }

    def run(self, *args):
        ran = subprocess.run([self.program, *args], env=self.env, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def submit(self, token):
        project = self.folder / "missing-hop"
        subprocess.run(["cp", "-r", EXAMPLE, project], check=True)
        settings = (project / "fapo.yaml").read_text()
        simulated = "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }"
        model = '{ provider: openai, model: m, base_url: "${FAPO_MODEL_URL}", attempts: 1, price: { input: 1, output: 1 } }'
        (project / "fapo.yaml").write_text(settings.replace(simulated, model))
        file = self.folder / "token"
        file.write_text(token)
        url = f"http://{self.address}"
        said = self.run("submit", str(project), "--json", "--server", url, "--token-file", str(file))
        return json.loads(said)["job"]

    def rows(self):
        """How many rows each table has."""
        with sqlite3.connect(self.folder / "server" / "fapo.db") as store:
            names = store.execute("select name from sqlite_master where type = 'table'").fetchall()
            return {name: store.execute(f'select count(*) from "{name}"').fetchone()[0] for (name,) in names}


class Methods:
    """What reflection names, and how it is called."""

    def __init__(self, channel):
        database = ProtoReflectionDescriptorDatabase(channel)
        self.channel = channel
        self.pool = descriptor_pool.DescriptorPool(database)
        self.all = {}
        for service in database.get_services():
            if service.startswith("fapo."):
                for method in self.pool.FindServiceByName(service).methods:
                    self.all[f"{service.split('.')[1].title()}/{method.name}"] = method

    def message(self, name, fields):
        kind = message_factory.GetMessageClass(self.all[name].input_type)
        return json_format.ParseDict(fields, kind(), descriptor_pool=self.pool)

    def call(self, name, request, token):
        """The code, and the reason of a refusal or else the first answer; `request` is a message or bytes."""
        method = self.all[name]
        path = f"/{method.containing_service.full_name}/{method.name}"
        data = request if isinstance(request, bytes) else request.SerializeToString()
        metadata = [("authorization", f"Bearer {token}")] if token is not None else []
        call = self.channel.stream_stream(path, request_serializer=None, response_deserializer=None)
        try:
            answers = call(iter([data]), metadata=metadata, timeout=DEADLINE)
            first = next(iter(answers), b"")
            answers.cancel()
            return "OK", first
        except grpc.RpcError as error:
            return error.code().name, reason(error)


def settled(server, methods, tokens, job):
    """Cancels the job, waits until nothing is written any more, and counts the rows."""
    cancel = methods.message("Optimizer/CancelJob", {"jobId": job})
    assert methods.call("Optimizer/CancelJob", cancel, tokens["submitter"])[0] == "OK"
    rows, until = server.rows(), time.monotonic() + DEADLINE
    while time.monotonic() < until:
        time.sleep(2)
        before, rows = rows, server.rows()
        if before == rows:
            return rows
    raise AssertionError("the server goes on writing")


def evaluation_of(methods, job, token):
    """An evaluation of the job; where it came to none, the id of one that is nobody's."""
    name = "Traces/ListEvaluations"
    code, answer = methods.call(name, methods.message(name, {"jobId": job}), token)
    assert code == "OK", code
    listed = message_factory.GetMessageClass(methods.all[name].output_type).FromString(answer)
    return next((one.evaluation_id for one in listed.evaluations), HASH)


def reason(error):
    for key, value in error.trailing_metadata() or []:
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return ""


def ids(fields):
    """The keys that name something."""
    return [key for key, value in fields.items() if key.endswith("Id") and key != "requestId" and isinstance(value, str)]


def filled(fields, job, evaluation):
    named = {"$job": job, "$evaluation": evaluation}
    return {key: named.get(value, value) if isinstance(value, str) else value for key, value in fields.items()}


class Check:
    def __init__(self, methods):
        self.methods, self.faults, self.made = methods, [], 0

    def is_refused(self, what, name, request, token, codes, reasons=None):
        self.made += 1
        code, why = self.methods.call(name, request, token)
        if code not in codes or not why or (reasons and why not in reasons):
            self.faults.append(f"{name}: {what}: {code} {why!r}, and not {codes} {reasons or ''}")


def check(server, methods, tokens, job, evaluation):
    checks = Check(methods)
    for name in sorted(methods.all):
        if name not in ROWS:
            checks.faults.append(f"{name} has no row")
            continue
        role, fields = ROWS[name]
        fields = filled(fields, job, evaluation)
        request = methods.message(name, fields)
        refused = checks.is_refused
        refused("no token", name, request, None, ["UNAUTHENTICATED"], ["TOKEN_MISSING"])
        refused("an empty token", name, request, "", ["UNAUTHENTICATED"], ["TOKEN_MISSING"])
        refused("a wrong token", name, request, "fapo_" + "0" * 60, ["UNAUTHENTICATED"], ["TOKEN_INVALID"])
        refused("an expired token", name, request, tokens["expired"], ["UNAUTHENTICATED"], ["TOKEN_EXPIRED"])
        if role != VIEWER:
            refused("a lesser role", name, request, tokens["viewer"], ["PERMISSION_DENIED"], ["ACCESS_FORBIDDEN"])
        if role == SERVICE:
            refused("a lesser role", name, request, tokens["admin"], ["PERMISSION_DENIED"], ["ACCESS_FORBIDDEN"])
        able = tokens["service"] if role == SERVICE else tokens["submitter"]
        refused("bytes", name, b"\xff" * 9, able, ["INVALID_ARGUMENT"], ["REQUEST_UNREADABLE"])
        refused("too many bytes", name, b"\x00" * (17 << 20), able, ["INVALID_ARGUMENT"], ["REQUEST_TOO_LARGE"])
        if name not in EMPTY_IS_FINE:
            refused("nothing", name, b"", able, ["INVALID_ARGUMENT"])
        for key in ids(fields):
            for bad in ["no id", "", "'; drop table jobs; --", "../x", "\x00"]:
                wrong = methods.message(name, {**fields, key: bad})
                refused(f"{key} {bad!r}", name, wrong, able, ["INVALID_ARGUMENT"], ["REQUEST_INVALID"])
            if key == "jobId":
                wrong = methods.message(name, {**fields, key: UNKNOWN_JOB})
                refused("an unknown job", name, wrong, able, ["NOT_FOUND"], ["NOT_FOUND"])
        if role != SERVICE and ids(fields):
            foreign = ["NOT_FOUND"]
            refused("a foreign project's", name, request, tokens["foreign"], foreign, ["NOT_FOUND"])
    for name, fields, why in MORE:
        request = methods.message(name, filled(fields, job, evaluation))
        checks.is_refused(str(fields), name, request, tokens["submitter"], CODES[why], [why])
    return checks


def main():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(os.path.abspath(sys.argv[1]), folder)
        try:
            tokens = server.tokens()
            methods = Methods(server.channel)
            job = server.submit(tokens["submitter"])
            before = settled(server, methods, tokens, job)
            evaluation = evaluation_of(methods, job, tokens["viewer"])
            checks = check(server, methods, tokens, job, evaluation)
            after = server.rows()
            # a submission is bound to a job's id before its project is read, so that a repetition makes the same job
            after["requests"] -= 1
            changed = {name: (before[name], after[name]) for name in after if before.get(name) != after[name]}
            if changed:
                checks.faults.append(f"rows were written: {changed}")
        finally:
            server.process.terminate()
            server.process.wait(60)
        log = (server.folder / "log").read_text()
        for role, token in tokens.items():
            if token in log:
                checks.faults.append(f"the log holds the {role}'s token")
    for fault in checks.faults:
        print(fault)
    foreign = "an unknown one" if evaluation == HASH else "a real one"
    print(f"{len(methods.all)} methods, {checks.made} bad requests, {len(checks.faults)} faults; as evaluation {foreign}")
    return 1 if checks.faults else 0


if __name__ == "__main__":
    sys.exit(main())
