#!/usr/bin/env python3
"""The pipeline of pipeline.py on langgraph, as its users write it: a StateGraph of three nodes that call the `openai`
client, run over the cases by a pool of threads. Nothing is stored.

Prints one JSON object. CPU is the process's own, user and system, over the measured part only: imports, building the
graph and a warm-up are left out, in langgraph's favour.
"""

import argparse
import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from openai import OpenAI

from pipeline import ANSWER, MODEL, STEPS, question


class State(TypedDict, total=False):
    question: str
    plan: str
    draft: str
    answer: str


def build(client: OpenAI):
    graph = StateGraph(State)
    # a node may not have the name of a key of the state
    before_node, before_key = START, None
    for step, system, user in STEPS:

        def node(state: State, step=step, system=system, user=user, before=before_key) -> State:
            reply = client.chat.completions.create(
                model=MODEL,
                temperature=0.0,
                max_tokens=64,
                messages=[
                    {"role": "system", "content": system},
                    {
                        "role": "user",
                        "content": user.format(question=state["question"], before=state[before] if before else ""),
                    },
                ],
            )
            return {step: reply.choices[0].message.content}

        graph.add_node(f"{step}_node", node)
        graph.add_edge(before_node, f"{step}_node")
        before_node, before_key = f"{step}_node", step
    graph.add_edge(before_node, END)
    return graph.compile()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--base-url", required=True)
    arguments.add_argument("--cases", type=int, default=500)
    arguments.add_argument("--workers", type=int, default=32)
    options = arguments.parse_args()

    graph = build(OpenAI(base_url=options.base_url, api_key="bench", max_retries=0))

    def one(number: int) -> bool:
        return graph.invoke({"question": question(number)})["answer"] == ANSWER

    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(one, range(options.workers)))  # warm-up: connections, first-use imports
        wall, cpu = time.perf_counter(), time.process_time()
        right = sum(pool.map(one, range(options.cases)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    calls = options.cases * len(STEPS)
    print(
        json.dumps(
            {
                "what": f"langgraph {version('langgraph')}, openai {version('openai')}",
                "cases": options.cases,
                "right": right,
                "model_calls": calls,
                "seconds": wall,
                "cpu_seconds": cpu,
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
