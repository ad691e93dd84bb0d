"""The agent: plays the world (kernel controllers, peers, other programs) for the tests.

One JSON object per line each way. A request names an operation of world.py and its arguments:
    {"op": "plug", "adapter": "hub", "address": "C0:FF:EE:FF:00:01"}
and is answered by {"ok": true, ...results} or {"ok": false, "error": "..."}, in order. The end of
stdin ends the agent. Needs root, and bumble. BONDKEEPER_AGENT_LOG=INFO in the environment shows
where errors come from, on stderr."""
import json
import logging
import os
import sys

from world import OPERATIONS, World

log = logging.getLogger("agent")


def answer(world, line):
    try:
        request = json.loads(line)
        operation = request.pop("op")
        if operation not in OPERATIONS:
            raise ValueError(f"unknown operation {operation!r}")
        return {"ok": True, **(getattr(world, operation)(**request) or {})}
    except Exception as error:
        log.info("%s", line.strip(), exc_info=True)
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def main():
    # Whatever else prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(level=os.environ.get("BONDKEEPER_AGENT_LOG", "CRITICAL"))
    world = World()
    try:
        for line in sys.stdin:
            if line.strip():
                answers.write(json.dumps(answer(world, line)) + "\n")
    finally:
        world.close()


if __name__ == "__main__":
    main()
