r"""Photos to crops, embeddings and a gallery, on a cluster of Ray.

    python pipelines/many_machines.py PHOTOS --out runs/job --model sface \
        --gallery runs/gallery
    python pipelines/many_machines.py PHOTOS --out runs/job --model sface \
        --address auto --gallery 'postgresql://ann@db.example/faces?gallery=people'

Without ``--address`` the cluster is this machine's CPUs. PHOTOS, ``--out`` and a model
file are on a disk that all machines see, under the same names, and all have the same
facever. ``--out`` gets crop stores in ``crops/``, which ``facever data merge`` joins;
tables with crops and embeddings in ``faces/``; and ``failures.csv``, the photos without
a crop, and why. A job that was killed goes on where it was when it is run again.
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

from facever.choices import Backend, Detector
from facever.errors import FaceverError
from facever.files import check_folder_place
from facever.stages.many_machines.job import run_job
from facever.stages.many_machines.ray_workers import RayWorkers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a source of photos of any kind")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--model", required=True, help="a model file, or the name of a ready model"
    )
    parser.add_argument("--gallery", help="folder or URL; made if it is not there")
    parser.add_argument("--address", help="of a running cluster, such as auto")
    parser.add_argument("--workers", type=int, help="processes; one for each CPU")
    parser.add_argument("--detector", choices=get_args(Detector))
    parser.add_argument("--identity", help="who is in a photo, as for facever align")
    parser.add_argument("--frames", default="all", help="of videos, as for align")
    parser.add_argument("--backend", choices=get_args(Backend), default="auto")
    parser.add_argument(
        "--shard-photos",
        type=int,
        default=1024,
        metavar="N",
        help="photos in a shard, which a killed worker loses; a multiple of 64",
    )
    options = parser.parse_args()
    try:
        check_folder_place(options.out)
        with RayWorkers(options.workers, options.address) as workers:
            done = run_job(
                options.photos,
                options.out,
                options.model,
                workers,
                gallery=options.gallery,
                detector=options.detector,
                identity=options.identity,
                frames=options.frames,
                backend=options.backend,
                shard_photos=options.shard_photos,
            )
    except FaceverError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(done)


if __name__ == "__main__":
    main()
