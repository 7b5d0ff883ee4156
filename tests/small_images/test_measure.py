import numpy as np
import pytest
import torch

from facever.errors import ParameterError
from facever.heads import HEADS, JointHead
from facever.small_images.measure import (
    ErrorRates,
    class_vectors,
    embed_images,
    error_rates,
    mean_confidence,
    predict_logits,
    target_angles,
)

BY_DISTANCE = ("anchor_ncm", "euclidean_margin")
BY_ANGLE = ("angular", "arcface", "cosface", "sphereface")
BY_PRODUCT = ("hinge", "lsoftmax", "softmax")


def joint(*names: str, size: int = 6, classes: int = 5, **options: object) -> JointHead:
    torch.manual_seed(1)
    return JointHead(
        [
            (name, HEADS[name](size, classes, **(options if not place else {})), 1.0)
            for place, name in enumerate(names)
        ]
    )


@pytest.mark.parametrize("name", BY_DISTANCE + BY_ANGLE + BY_PRODUCT)
def test_predictions_follow_the_rule_of_the_head(name: str) -> None:
    head = joint(name)
    features = 3 * torch.randn(2300, 6)
    own = head.heads[name]
    vectors = (own.anchors if name == "anchor_ncm" else own.weight).detach().numpy()
    points = features.numpy()
    if name in BY_DISTANCE:
        distances = np.linalg.norm(points[:, None] - vectors[None], axis=2)
        wanted = distances.argmin(axis=1)
    else:
        scores = points @ vectors.T
        if name in BY_ANGLE:
            scores = scores / np.linalg.norm(vectors, axis=1)
        wanted = scores.argmax(axis=1)
    found = predict_logits(head, features).argmax(dim=1).numpy()
    np.testing.assert_array_equal(found, wanted)


def test_cosine_anchors_predict_the_nearest_direction() -> None:
    head = joint("anchor_ncm", size=2, classes=7, distance="cosine")
    features = torch.randn(500, 2)
    turns = torch.atan2(features[:, 1], features[:, 0]) / (2 * torch.pi) * 7
    wanted = turns.round().long() % 7
    assert torch.equal(predict_logits(head, features).argmax(dim=1), wanted)


def test_asking_leaves_no_trace_in_the_head() -> None:
    head = joint("lsoftmax", "center")
    before = {name: each.clone() for name, each in head.state_dict().items()}
    predict_logits(head.train(), torch.randn(50, 6))
    for name, each in head.state_dict().items():
        assert torch.equal(each, before[name]), name


def test_a_head_that_measures_alone_cannot_predict() -> None:
    with pytest.raises(ParameterError, match="must name one that classifies"):
        predict_logits(joint("center", "ie"), torch.randn(5, 6))
    with pytest.raises(ParameterError, match="must name one that classifies"):
        class_vectors(joint("ie"))


def test_error_rates_by_hand() -> None:
    logits = torch.tensor([[9.0, 5, 4, 3, 2, 1, 0]]).repeat(4, 1)
    labels = torch.tensor([0, 4, 5, 6])
    assert error_rates(logits, labels) == ErrorRates(top1=0.75, top5=0.5)
    few = error_rates(logits[:, :3], torch.tensor([0, 1, 2, 1]))
    assert few == ErrorRates(top1=0.75, top5=0.0)


def test_confidence_by_hand() -> None:
    logits = torch.tensor([[0.0, 0, 0, 0], [3.0, 1, -2, 200]])
    assert mean_confidence(logits[:1], torch.tensor([2])) == 0.25
    # exp(200) is more than float32 holds; the others' share is nothing.
    assert mean_confidence(logits, torch.tensor([0, 3])) == pytest.approx(0.625)
    k, far = 10.0, np.pi / 2
    angles = torch.tensor([[0.3, far, far]])
    wanted = np.exp(-k * 0.3) / (np.exp(-k * 0.3) + 2 * np.exp(-k * far))
    found = mean_confidence(-k * angles, torch.tensor([0]))
    assert found == pytest.approx(wanted, rel=1e-6)


def test_vectors_and_points_of_heads() -> None:
    beside = joint("softmax", "ie")
    assert torch.equal(class_vectors(beside), beside.heads["softmax"].weight)
    assert torch.equal(beside.class_points(), beside.heads["ie"].centers.vectors)
    anchors = joint("anchor_ncm")
    assert torch.equal(anchors.class_points(), anchors.heads["anchor_ncm"].anchors)
    assert torch.equal(class_vectors(anchors), anchors.heads["anchor_ncm"].anchors)
    assert joint("arcface").class_points() is None
    margin = joint("euclidean_margin")
    assert torch.equal(margin.class_points(), margin.heads["euclidean_margin"].weight)


def test_angles() -> None:
    features = torch.tensor([[2.0, 0], [0, 3], [-1, 0], [1, 1]])
    found = target_angles(features, torch.tensor([5.0, 0]))
    wanted = np.array([0, 90, 180, 45]) * np.pi / 180
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_embedding_is_the_networks_in_evaluation_mode() -> None:
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(4, 2), torch.nn.Dropout(0.5)
    )
    images = torch.randn(1500, 1, 2, 2)
    found = embed_images(network.train(), images)
    torch.testing.assert_close(found, network[1](images.flatten(1)).detach())
