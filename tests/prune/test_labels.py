import numpy as np

from onnxzip.prune.labels import Channels, Labels


def test_joined_labels_form_a_class_named_by_its_smallest():
    channels = Channels()
    a, b = channels.fresh(3), channels.fresh(3)
    channels.join(b, a, "")
    assert channels.roots().tolist() == [0, 1, 2, 3, 1, 2, 3]
    assert len(channels) == 7


def test_freezing_one_label_freezes_its_class_whatever_the_order():
    for freeze_first in (True, False):
        channels = Channels()
        a, b = channels.fresh(2), channels.fresh(2)
        if freeze_first:
            channels.freeze(b[:1], "stays")
        channels.join(a, b, "")
        if not freeze_first:
            channels.freeze(b[:1], "stays")
        assert channels.roots().tolist() == [0, 0, 2, 0, 2]
        assert channels.reasons(a.tolist()) == ("stays",)


def test_meeting_label_0_freezes_with_the_reason_of_the_join():
    channels = Channels()
    a = channels.fresh(2)
    channels.join(a, np.array([0, 2]), "meets an input")
    assert channels.roots().tolist() == [0, 0, 2]
    assert channels.reasons([1, 2]) == ("meets an input",)


def test_the_first_reason_is_kept():
    channels = Channels()
    a = channels.fresh(1)
    channels.freeze(a, "first")
    channels.freeze(a, "second")
    channels.freeze(np.array([0]), "nobody's")
    assert channels.reasons([0, 1]) == ("first",)


def test_labels_are_moved_with_what_is_known():
    labels = Labels.along(1, 3, np.array([1, 2]), np.array([np.nan, 0.5]))
    moved = labels.moved(lambda a: a.transpose(1, 2, 0))
    assert (labels.axis, moved.axis, moved.rank) == (1, 0, 3)
    assert moved.vector.tolist() == [1, 2]
    np.testing.assert_array_equal(moved.numbers, [np.nan, 0.5])
