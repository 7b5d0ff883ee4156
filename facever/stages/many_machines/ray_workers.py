"""Shards on a cluster of Ray: the only module that knows Ray."""

import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from facever.errors import FaceverError, ParameterError
from facever.faces.workers import count_workers
from facever.processes import use_one_thread
from facever.progress import waiting
from facever.stages.many_machines.shards import Plan

_STORE_BYTES = 200_000_000
"""Memory for what is sent between processes: names of photos, never pixels."""


class RayWorkers:
    """Processes of one thread each, which Ray starts, feeds and replaces.

        with RayWorkers(num_workers=4) as workers:
            run_job(photos, out, "sface", workers)

    A worker that ends, or whose machine does, is replaced, and its shard begun again.
    """

    def __init__(
        self, num_workers: int | None = None, address: str | None = None
    ) -> None:
        """Say where the cluster is; it is joined or started with the first work.

        Args:
            num_workers: Number of processes, at least 1; by default one for each CPU of
                the cluster.
            address: A cluster's, such as ``auto`` for the one that this machine belongs
                to; None starts one here, which ends with this process.

        Raises:
            ParameterError: If Ray is not installed, the number is less than 1, or
                nobody answers at the address.
        """
        if find_spec("ray") is None:
            raise ParameterError(
                "many machines need the package ray: pip install '.[ray]' in a "
                "checkout of facever"
            )
        self._num_wanted, self._address = num_workers, address
        self._num_here = count_workers(num_workers)
        self._num_workers: int | None = None
        if address is not None:
            try:
                _reach(address)
            except OSError as error:
                raise _no_cluster(address, error) from error

    def _start(self) -> int:
        """Join or start the cluster, unless that is done, and count its workers.

        Raises:
            ParameterError: If there is no cluster at the address.
        """
        if self._num_workers is not None:
            return self._num_workers
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Its core warns on stderr of what Ray Data does by itself.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with waiting("starting Ray"):
            import ray

            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
            if self._address is None:
                ray.init(
                    "local",
                    num_cpus=self._num_here,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    **quiet,
                )
                self._num_workers = self._num_here
            else:
                try:
                    ray.init(address=self._address, **quiet)
                except (OSError, ValueError, RuntimeError) as error:
                    raise _no_cluster(self._address, error) from error
                there = int(ray.cluster_resources().get("CPU", 1))
                self._num_workers = self._num_wanted or there
        return self._num_workers

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(self, *error: object) -> None:
        if self._num_workers is not None:
            import ray

            ray.shutdown()

    def answers(
        self,
        make_work: Callable[[Plan], Callable[[Any], Any]],
        plan: Plan,
        shards: Sequence[Any],
    ) -> Iterator[Any]:
        """What the work gives for each shard, as they are done; see ``Workers``."""
        num_workers = self._start()
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = [{"shard": pickle.dumps(shard)} for shard in shards]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Worker,
            fn_constructor_args=(make_work, plan),
            compute=ray.data.ActorPoolStrategy(
                size=min(num_workers, len(rows)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=1,
        )
        for row in done.iter_rows():
            answer = pickle.loads(row["answer"])
            if isinstance(answer, FaceverError):
                raise answer
            yield answer


def _no_cluster(address: str, error: Exception) -> ParameterError:
    reason = str(error).strip().splitlines()[0]
    return ParameterError(
        f"address must be a running cluster's, got {address!r}: {reason}"
    )


def _reach(address: str) -> None:
    """Find out in seconds whether anything answers; Ray would try for minutes.

    Raises:
        OSError: If nothing does.
    """
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=5).close()


class _Worker:
    """The work in a process of Ray; what facever finds wrong is an answer."""

    def __init__(
        self, make_work: Callable[[Plan], Callable[[Any], Any]], plan: Plan
    ) -> None:
        use_one_thread()
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(1)
        self._work = make_work(plan)

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        answer: Any
        try:
            answer = self._work(pickle.loads(row["shard"]))
        except FaceverError as error:
            answer = error
        return {"answer": pickle.dumps(answer)}
