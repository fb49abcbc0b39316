"""Holds lines of JSON on standard input against a schema (a line of its own for each: empty, or what is wrong), or
prints a YAML file as JSON."""

import json
import sys

import jsonschema
import yaml


def main(what: str, path: str) -> None:
    with open(path, encoding="utf-8") as file:
        if what == "yaml":
            print(json.dumps(yaml.safe_load(file)))
            return
        schema = json.load(file)
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    validator = kind(schema)
    for line in sys.stdin:
        error = jsonschema.exceptions.best_match(validator.iter_errors(json.loads(line)))
        print("" if error is None else " ".join(error.message.split()))


if __name__ == "__main__":
    main(*sys.argv[1:])
