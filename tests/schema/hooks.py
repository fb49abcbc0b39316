"""What schemathesis cannot know: which strategy there is, and how lines of JSON are written."""

import json
import random

import schemathesis

KNOWN = "s-1"


def known(value):
    """Every second time, an id that might be a strategy's is one, so that a request gets past the door."""
    if isinstance(value, dict) and isinstance(value.get("strategy_id"), str) and value["strategy_id"].isalnum():
        if random.random() < 0.5:
            value = {**value, "strategy_id": KNOWN}
    return value


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and isinstance(body.get("orders"), list):
        return {**body, "orders": [known(order) for order in body["orders"]]}
    return known(body)


@schemathesis.hook
def map_path_parameters(context, parameters):
    named = {"strategy", "strategy_id", "id"} & set(parameters or {})
    if named and random.random() < 0.5:
        return {**parameters, **{name: KNOWN for name in named if str(parameters[name]).isalnum()}}
    return parameters


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", errors="surrogatepass")


@schemathesis.deserializer("application/x-ndjson")
def a_line(context, response):
    """Every line is JSON; one of them is held against the schema of a line."""
    return random.choice([json.loads(line) for line in response.content.decode("utf-8").splitlines()])
