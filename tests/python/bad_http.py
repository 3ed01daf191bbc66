#!/usr/bin/env python3
"""Bad input to every route of a real server's OpenAPI document: each is refused with a typed problem, and nothing is stored.

    tests/python/bad_http.py target/debug/fapo

The routes are those of the document that the server itself gives, so that a new one is tried without a change here. Starts the
server as bad_rpc.py does, and needs what that needs.
"""

import http.client
import json
import os
import sys
import tempfile

from bad_rpc import HASH, UNKNOWN_JOB, Methods, Server, evaluation_of, settled

SUBMITTERS = {"blobs:missing", "blobs", "cancel", "pause", "resume", "retry"}
ADMINS = {"/api/v1/tokens", "/api/v1/tokens/{token_id}"}


def ask(server, method, path, token, body=None, kind="application/json"):
    """The status, and the name of the problem."""
    connection = http.client.HTTPConnection(server.http, timeout=60)
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    if body is not None:
        headers["content-type"] = kind
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        # a stream of events has no end
        text = b"{}" if answer.status == 200 else answer.read()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text).get("type", "")
    except ValueError:
        return answer.status, ""


class Check:
    def __init__(self, server):
        self.server, self.faults, self.made = server, [], 0

    def is_refused(self, what, route, token, status, name, body=None, kind="application/json"):
        self.made += 1
        method, path = route
        said = ask(self.server, method, path, token, body, kind)
        if said[0] not in status or (name and said[1] not in name) or not said[1]:
            self.faults.append(f"{method} {path}: {what}: {said}, and not {status} {name}")


def put(path, job, evaluation):
    named = {"job_id": job, "evaluation_id": evaluation, "variant_id": HASH, "ordinal": "0", "project": "missing-hop", "token_id": HASH[:16]}
    for key, value in named.items():
        path = path.replace("{" + key + "}", value)
    return path


def check(server, document, tokens, job, evaluation):
    checks = Check(server)
    refused = checks.is_refused
    routes = [
        (method.upper(), path, spec)
        for path, methods in document["paths"].items()
        for method, spec in methods.items()
        if path.startswith("/api/")
    ]
    for method, path, spec in routes:
        route = (method, put(path, job, evaluation))
        kind = next(iter(spec.get("requestBody", {}).get("content", {})), None)
        body = None if kind is None else b"{}"
        for what, token, name in [
            ("no token", None, "TOKEN_MISSING"),
            ("an empty token", "", "TOKEN_INVALID"),
            ("a wrong token", "fapo_" + "0" * 60, "TOKEN_INVALID"),
            ("an expired token", tokens["expired"], "TOKEN_EXPIRED"),
        ]:
            refused(what, route, token, [401], [name], body, kind)
        if path in ADMINS or path.split("/")[-1] in SUBMITTERS:
            refused("a lesser role", route, tokens["viewer"], [403, 400], ["ACCESS_FORBIDDEN", "REQUEST_UNREADABLE"], body, kind)
        if path in ADMINS:
            refused("a lesser role", route, tokens["submitter"], [403, 400], ["ACCESS_FORBIDDEN", "REQUEST_UNREADABLE"], body, kind)
        able = tokens["admin"]
        if "{job_id}" in path:
            refused("a foreign project's", route, tokens["foreign"], [404], ["NOT_FOUND"], body, kind)
            refused("an unknown job", (method, put(path, UNKNOWN_JOB, evaluation)), able, [404], ["NOT_FOUND"], body, kind)
            for bad in ["no-id", "%00", "..%2Fx", "%27%3B--"]:
                refused(f"the job {bad}", (method, put(path, bad, evaluation)), able, [400, 404], None, body, kind)
        if "{evaluation_id}" in path:
            refused("an unknown evaluation", (method, put(path, job, HASH)), able, [404], ["NOT_FOUND"])
            refused("an evaluation that is none", (method, put(path, job, "no-id")), able, [400], None)
        if kind == "application/json":
            for what, bad in [("no JSON", b"{"), ("a list", b"[]"), ("nothing", b""), ("an unknown key", b'{"x": 1}'), ("NaN", b"NaN")]:
                refused(what, route, able, [400, 422], None, bad, kind)
            refused("another type of content", route, able, [415], ["MEDIA_TYPE_UNSUPPORTED"], b"x=1", "application/x-www-form-urlencoded")
        refused("a method that is not there", ("PATCH", route[1]), able, [405], ["METHOD_NOT_ALLOWED"])
    refused("a route that is not there", ("GET", "/api/v1/nothing"), tokens["admin"], [404], ["ROUTE_UNKNOWN"])
    return checks, len(routes)


def main():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(os.path.abspath(sys.argv[1]), folder)
        try:
            tokens = server.tokens()
            methods = Methods(server.channel)
            job = server.submit(tokens["submitter"])
            before = settled(server, methods, tokens, job)
            connection = http.client.HTTPConnection(server.http, timeout=60)
            connection.request("GET", "/openapi.json")
            document = json.loads(connection.getresponse().read())
            evaluation = evaluation_of(methods, job, tokens["viewer"])
            checks, routes = check(server, document, tokens, job, evaluation)
            after = server.rows()
            changed = {name: (before[name], after[name]) for name in after if before.get(name) != after[name]}
            if changed:
                checks.faults.append(f"rows were written: {changed}")
        finally:
            server.process.terminate()
            server.process.wait(60)
    for fault in checks.faults:
        print(fault)
    print(f"{routes} routes, {checks.made} bad requests, {len(checks.faults)} faults")
    return 1 if checks.faults else 0


if __name__ == "__main__":
    sys.exit(main())
