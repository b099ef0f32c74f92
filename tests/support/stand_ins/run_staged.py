"""Runs what was staged: the part of a Dataflow service that is not on a worker.

    python run_staged.py PIPELINE_PB OPTIONS_JSON WORKER_PYTHON RESULT_JSON

It is started by a Python that has Beam, and neither Diptych nor the checkout: what the
real service cannot unpickle, this cannot either.
"""

import json
import os
import sys
import threading
import traceback
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_provision_api_pb2, beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

NUM_WORKERS = 2


def main(pipeline_pb: str, options_json: str, python: str, result_json: str) -> None:
    """Runs the pipeline, and leaves its counters."""
    with open(pipeline_pb, "rb") as file:
        pipeline = beam_runner_api_pb2.Pipeline.FromString(file.read())
    _replace_images(pipeline, python)
    # Of a worker that does not start FnApiRunner hears nothing, and waits.
    threading.excepthook = _give_up
    with open(options_json) as file:
        options = json_format.ParseDict(_without_floats(json.load(file)), Struct())
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=options)
    runner = fn_runner.FnApiRunner(
        provision_info=fn_runner.ExtendedProvisionInfo(provision)
    )
    runner._num_workers = NUM_WORKERS  # Else read of options of another entrance.
    result = runner.run_via_runner_api(pipeline, PipelineOptions([]))
    counters = [
        {
            "step": counter.key.step,
            "namespace": counter.key.metric.namespace,
            "name": counter.key.metric.name,
            "value": counter.result,
        }
        for counter in result.metrics().query()["counters"]
    ]
    with open(result_json, "w") as file:
        json.dump(counters, file)


def _give_up(error: threading.ExceptHookArgs) -> None:
    traceback.print_exception(error.exc_value)
    os._exit(1)


def _without_floats(value: Any) -> Any:
    """Writes 300.0 as 300: a Struct has floats only, and a worker wants integers."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict):
        return {key: _without_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_floats(inner) for inner in value]
    return value


def _replace_images(pipeline: beam_runner_api_pb2.Pipeline, python: str) -> None:
    """Puts the worker's Python in the place of container images."""
    command = f"{python} -m apache_beam.runners.worker.sdk_worker_main"
    worker = SubprocessSDKEnvironment.from_command_string(command)
    for environment in pipeline.components.environments.values():
        if environment.urn != common_urns.environments.DOCKER.urn:
            raise ValueError(f"not an environment of Dataflow: {environment.urn}")
        # What was staged is installed: FnApiRunner has no one to ask for it.
        del environment.dependencies[:]
        urn, payload = worker.to_runner_api_parameter(None)
        environment.urn, environment.payload = urn, payload


if __name__ == "__main__":
    main(*sys.argv[1:])
