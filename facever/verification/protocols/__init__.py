"""Protocols: lists of pairs or trials, each with the reader of its file.

``pairs`` has what a list of pairs is; ``pair_lists``, ``pair_bin``, ``cfp`` and ``ytf``
read one, and ``folds`` divides those that name no folds; ``video_frames`` and
``video_pooling`` make one score of many frames; ``identity_list`` and ``blufr_trials``
say who is enrolled and who is searched for. What these modules say is true: which
photos are compared, and who is on them.
"""

from facever.verification.protocols.cfp import read_cfp_ff, read_cfp_fp
from facever.verification.protocols.lfw import (
    DEV_TEST_FOLD,
    DEV_TRAIN_FOLD,
    read_lfw_development_pairs,
    read_lfw_pairs,
    read_lfw_view_1,
)
from facever.verification.protocols.lfw_people import (
    check_people_of_pairs,
    person_of,
    read_lfw_people,
)
from facever.verification.protocols.pair_bin import (
    DecodedPhotos,
    PairBin,
    read_bin,
    write_bin,
)
from facever.verification.protocols.pair_lists import read_pair_list
from facever.verification.protocols.pairs import PairList, photo_key, photo_keys
from facever.verification.protocols.video_frames import (
    VideoFrames,
    choose_frames,
    find_frames,
)
from facever.verification.protocols.video_pooling import (
    mean_by_name,
    mean_by_video,
    mean_frame_cosines,
)
from facever.verification.protocols.ytf import read_ytf_splits

__all__ = [
    "DEV_TEST_FOLD",
    "DEV_TRAIN_FOLD",
    "DecodedPhotos",
    "PairBin",
    "PairList",
    "VideoFrames",
    "check_people_of_pairs",
    "choose_frames",
    "find_frames",
    "mean_by_name",
    "mean_by_video",
    "mean_frame_cosines",
    "person_of",
    "photo_key",
    "photo_keys",
    "read_bin",
    "read_cfp_ff",
    "read_cfp_fp",
    "read_lfw_development_pairs",
    "read_lfw_pairs",
    "read_lfw_people",
    "read_lfw_view_1",
    "read_pair_list",
    "read_ytf_splits",
    "write_bin",
]
