#!/usr/bin/env python3
"""Writes the dashboards: `deploy/grafana/dashboards.py` makes dashboards/*.json anew, `--check` fails where they differ.

A dashboard is a list of rows, a row a title and panels, a panel a title, a unit, and queries with their legends. Everything
else is the same for all and stands here once. Every metric of a query must be one of docs/telemetry.md (deploy/check.py).
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
# What the selectors at the top of each dashboard narrow queries to.
FAPO = 'job="fapo"'
RATE = "[$__rate_interval]"


def quantile(q, metric, by, more=""):
    labels = ", ".join(["le", *by])
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{more}}}{RATE})))"


def rate(metric, by, more=""):
    return f"sum by ({', '.join(by)}) (rate({metric}{{{more}}}{RATE}))"


def total(metric, by, more=""):
    return f"sum by ({', '.join(by)}) (increase({metric}{{{more}}}[$__range]))"


def graph(title, unit, *queries, about="", stack=False):
    return {"kind": "timeseries", "title": title, "unit": unit, "queries": queries, "about": about, "stack": stack}


def stat(title, unit, *queries, about=""):
    return {"kind": "stat", "title": title, "unit": unit, "queries": queries, "about": about, "stack": False}


DASHBOARDS = {
    "service-health": (
        "fapo: service health",
        [
            ("Processes", [
                stat("Processes up", "short", (f"sum by (role) (up{{{FAPO}}})", "{{role}}")),
                stat("Since the last start", "s", (f"time() - max by (role) (process_start_time_seconds{{{FAPO}}})", "{{role}}")),
                graph("Memory", "bytes", (f"process_resident_memory_bytes{{{FAPO}}}", "{{role}} {{instance}}")),
                graph("CPU, cores", "short", (f"rate(process_cpu_seconds_total{{{FAPO}}}{RATE})", "{{role}} {{instance}}")),
                graph("Open descriptors", "short", (f"process_open_fds{{{FAPO}}}", "{{role}} {{instance}}")),
            ]),
            ("Requests", [
                graph("HTTP requests a second", "reqps", (rate("fapo_http_requests_total", ["route", "status"]), "{{route}} {{status}}")),
                graph("HTTP answers, 99th percentile", "s", (quantile(0.99, "fapo_http_seconds", ["route"]), "{{route}}")),
                graph("gRPC calls a second", "reqps", (rate("fapo_rpc_total", ["service", "method"]), "{{service}} {{method}}")),
                graph("gRPC calls that failed", "reqps", (rate("fapo_rpc_total", ["service", "code"], 'code!="OK"'), "{{service}} {{code}}")),
                graph("gRPC answers, 99th percentile", "s", (quantile(0.99, "fapo_rpc_seconds", ["service", "method"]), "{{service}} {{method}}")),
            ]),
            ("Store and sandbox", [
                graph("Commits", "s",
                      (quantile(0.5, "fapo_store_commit_seconds", ["store"]), "{{store}} median"),
                      (quantile(0.99, "fapo_store_commit_seconds", ["store"]), "{{store}} 99 %")),
                graph("Commits a second", "ops", (rate("fapo_store_commit_seconds_count", ["store"]), "{{store}}")),
                graph("Untrusted processes that ended, a second", "ops", (rate("fapo_sandbox_processes_total", ["outcome"]), "{{outcome}}")),
                graph("Agents' prompts an hour", "short", ("sum by (program, outcome) (increase(fapo_agent_sessions_total[1h]))", "{{program}} {{outcome}}")),
                graph("An agent's prompt, median", "s", (quantile(0.5, "fapo_agent_session_seconds", ["program"]), "{{program}}")),
            ]),
        ],
    ),
    "queue": (
        "fapo: queue",
        [
            ("What waits", [
                graph("Messages that wait", "short", ("max by (topic) (fapo_queue_waiting)", "{{topic}}")),
                graph("The longest wait", "s", ("max by (topic) (fapo_queue_oldest_seconds)", "{{topic}}"),
                      about="How long the message that waits longest has been waiting: what executors are scaled by."),
                graph("Tasks that wait, by the rows", "short", ("max by (topic) (fapo_tasks_due)", "{{topic}}"),
                      about="The rows are the truth: what waits here and not in the queue is put back into it."),
                graph("Messages that workers have", "short", ("max by (topic) (fapo_queue_delivered)", "{{topic}}")),
                graph("Messages that wait for their time", "short", ("max by (topic) (fapo_queue_delayed)", "{{topic}}")),
                graph("Jobs that wait for a tick", "short", ("max(fapo_jobs_due)", "jobs")),
            ]),
            ("What is done", [
                graph("Tasks a second", "ops", (rate("fapo_tasks_total", ["topic"]), "{{topic}}")),
                graph("Tasks that did not end well, a second", "ops", (rate("fapo_tasks_total", ["topic", "outcome"], 'outcome!="done"'), "{{topic}} {{outcome}}")),
                graph("Work on a task, 95th percentile", "s", (quantile(0.95, "fapo_task_seconds", ["topic"]), "{{topic}}")),
                graph("Wait before a worker took it, 95th percentile", "s", (quantile(0.95, "fapo_task_wait_seconds", ["topic"]), "{{topic}}")),
                graph("Messages that found the queue full, a second", "ops", (rate("fapo_queue_dropped_total", ["topic"]), "{{topic}}"),
                      about="The rows bring them back; they cost latency, no work."),
                graph("Ticks", "s", (quantile(0.99, "fapo_tick_seconds", ["outcome"]), "{{outcome}} 99 %")),
            ]),
        ],
    ),
    "model-usage": (
        "fapo: model usage and money",
        [
            ("Money", [
                stat("Dollars in this range", "currencyUSD", ("sum(increase(fapo_model_cost_usd_total[$__range]))", "all")),
                stat("By who spends", "currencyUSD", (total("fapo_model_cost_usd_total", ["role"]), "{{role}}")),
                graph("Dollars an hour", "currencyUSD", ("sum by (role) (rate(fapo_model_cost_usd_total[$__rate_interval])) * 3600", "{{role}}"), stack=True),
                graph("Dollars an hour by model", "currencyUSD", ("sum by (model) (rate(fapo_model_cost_usd_total[$__rate_interval])) * 3600", "{{model}}"), stack=True),
                graph("Calls that a budget had no room for, a second", "ops", (rate("fapo_budget_refusals_total", ["role"]), "{{role}}")),
            ]),
            ("Calls", [
                graph("Tries a second", "ops", (rate("fapo_model_calls_total", ["model", "outcome"]), "{{model}} {{outcome}}")),
                graph("Tries that failed", "percentunit",
                      ('sum by (model) (rate(fapo_model_calls_total{outcome!="ok"}[$__rate_interval])) / sum by (model) (rate(fapo_model_calls_total[$__rate_interval]))', "{{model}}")),
                graph("Tries again, a second", "ops", (rate("fapo_model_retries_total", ["model"]), "{{model}}")),
                graph("Time of a call", "s",
                      (quantile(0.5, "fapo_model_call_seconds", ["model"]), "{{model}} median"),
                      (quantile(0.95, "fapo_model_call_seconds", ["model"]), "{{model}} 95 %")),
                graph("Wait for a slot, 95th percentile", "s", (quantile(0.95, "fapo_model_wait_seconds", ["model"]), "{{model}}")),
            ]),
            ("Tokens and cache", [
                graph("Tokens a second", "short", (rate("fapo_model_tokens_total", ["model", "direction"]), "{{model}} {{direction}}")),
                graph("Share answered by the step cache", "percentunit",
                      ('sum(rate(fapo_step_cache_total{result="hit"}[$__rate_interval])) / sum(rate(fapo_step_cache_total[$__rate_interval]))', "hits")),
                graph("Metered calls a second", "ops", (rate("fapo_step_cache_total", ["result"]), "{{result}}")),
            ]),
        ],
    ),
    "optimization": (
        "fapo: optimization progress",
        [
            ("Jobs and decisions", [
                stat("Jobs that ended in this range", "short", (total("fapo_job_transitions_total", ["status"]), "{{status}}")),
                stat("Decisions in this range", "short", (total("fapo_decisions_total", ["verdict"]), "{{verdict}}")),
                graph("Decisions an hour", "short", ("sum by (verdict) (increase(fapo_decisions_total[1h]))", "{{verdict}}")),
                graph("Proposals an hour", "short", ("sum by (backend, outcome) (increase(fapo_proposals_total[1h]))", "{{backend}} {{outcome}}")),
                graph("Dollars for each promotion", "currencyUSD",
                      ('sum(increase(fapo_model_cost_usd_total[$__range])) / (sum(increase(fapo_decisions_total{verdict="promoted"}[$__range])) > 0)', "dollars")),
            ]),
            ("Cases", [
                graph("Cases a second", "ops", (rate("fapo_cases_total", ["status"]), "{{status}}"), stack=True),
                graph("Time of a case", "s",
                      ("histogram_quantile(0.5, sum by (le) (rate(fapo_case_seconds_bucket[$__rate_interval])))", "median"),
                      ("histogram_quantile(0.95, sum by (le) (rate(fapo_case_seconds_bucket[$__rate_interval])))", "95 %")),
                graph("Steps a second", "ops", (rate("fapo_steps_total", ["kind", "status"]), "{{kind}} {{status}}")),
                graph("Scores a second", "ops", (rate("fapo_scores_total", ["status"]), "{{status}}"), stack=True),
                graph("Scoring a block, 95th percentile", "s",
                      ("histogram_quantile(0.95, sum by (le) (rate(fapo_score_block_seconds_bucket[$__rate_interval])))", "95 %")),
                graph("Failures attributed, by level", "short", ("sum by (level) (increase(fapo_findings_total[1h]))", "{{level}}"), stack=True),
            ]),
        ],
    ),
}


def panel(number, spec, x, y, width, height):
    options = (
        {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi", "sort": "desc"}}
        if spec["kind"] == "timeseries"
        else {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "textMode": "value_and_name"}
    )
    custom = {"fillOpacity": 25 if spec["stack"] else 5, "lineWidth": 1, "showPoints": "never"}
    if spec["stack"]:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    made = {
        "id": number,
        "type": spec["kind"],
        "title": spec["title"],
        "datasource": SOURCE,
        "gridPos": {"h": height, "w": width, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {"unit": spec["unit"], "min": 0, "custom": custom if spec["kind"] == "timeseries" else {}},
            "overrides": [],
        },
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for place, (query, legend) in enumerate(spec["queries"])
        ],
    }
    if spec["about"]:
        made["description"] = spec["about"]
    return made


def dashboard(uid, title, rows):
    panels, number, y = [], 1, 0
    for name, specs in rows:
        panels.append({"id": number, "type": "row", "title": name, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        number, y = number + 1, y + 1
        for place, spec in enumerate(specs):
            panels.append(panel(number, spec, 8 * (place % 3), y + 8 * (place // 3), 8, 8))
            number += 1
        y += 8 * -(-len(specs) // 3)
    return {
        "uid": f"fapo-{uid}",
        "title": title,
        "tags": ["fapo"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": []},
        "annotations": {"list": []},
        "links": [{"type": "dashboards", "title": "fapo", "tags": ["fapo"], "asDropdown": True, "keepTime": True}],
        "panels": panels,
    }


def main():
    stale = []
    for uid, (title, rows) in DASHBOARDS.items():
        text = json.dumps(dashboard(uid, title, rows), indent=2, ensure_ascii=False) + "\n"
        path = HERE / f"{uid}.json"
        if "--check" in sys.argv:
            if not path.is_file() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"not as deploy/grafana/dashboards.py writes them: {', '.join(stale)}; run it")


if __name__ == "__main__":
    main()
