"""Beam's pool of worker processes, on one address: `worker_pool.py 127.0.0.1:0`.

`python -m apache_beam.runners.worker.worker_pool_main` is the same, but listens on all
addresses, so that two cannot have one port.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def main(address: str) -> None:
    """Serves until it is killed."""
    server = grpc.server(ThreadPoolExecutor())
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(
        BeamFnExternalWorkerPoolServicer(
            use_process=True, data_buffer_time_limit_ms=-1
        ),
        server,
    )
    port = server.add_insecure_port(address)
    server.start()
    print(f"serving on port {port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
