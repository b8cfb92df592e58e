"""The storage of detectron2's users and what writers make of it, through ``import detectron2``."""

import json
import logging

import numpy as np
import pytest
import torch


@pytest.fixture
def events(detectron2):
    return detectron2.utils.events


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_scalars(events, tmp_path):
    file = tmp_path / "new" / "test.json"  # the folder is made
    with events.EventStorage() as storage:
        writer = events.JSONWriter(str(file))
        for k in range(60):
            storage.put_scalar("key", k, smoothing_hint=False)
            if (k + 1) % 20 == 0:
                writer.write()
            storage.step()
        writer.close()
    assert [int(line["key"]) for line in lines(file)] == [19, 39, 59]


def test_scalars_of_another_period_have_lines_of_their_own(events, tmp_path):
    file = tmp_path / "test.json"
    with events.EventStorage() as storage:
        writer = events.JSONWriter(str(file))
        for k in range(60):
            if k % 17 == 0:
                storage.put_scalar("key2", k, smoothing_hint=False)
            storage.put_scalar("key", k, smoothing_hint=False)
            if (k + 1) % 20 == 0:
                writer.write()
            storage.step()
        writer.close()
    found = lines(file)
    assert [int(line["iteration"]) for line in found] == [17, 19, 34, 39, 51, 59]
    assert [int(line.get("key2", 0)) for line in found] == [17, 0, 34, 0, 51, 0]
    assert [int(line.get("key", 0)) for line in found] == [0, 19, 0, 39, 0, 59]


def test_medians_over_a_window(events, tmp_path):
    file = tmp_path / "test.json"
    with events.EventStorage() as storage:
        writer = events.JSONWriter(str(file), window_size=10)
        for k in range(20):
            storage.put_scalar("key1", k, smoothing_hint=True)
            if (k + 1) % 2 == 0:
                storage.put_scalar("key2", k, smoothing_hint=True)
            if (k + 1) % 5 == 0:
                storage.put_scalar("key3", k, smoothing_hint=True)
            if (k + 1) % 10 == 0:
                writer.write()
            storage.step()
        assert [storage.count_samples(f"key{n}", 10) for n in (1, 2, 3)] == [10, 5, 2]
        writer.close()
    found = lines(file)
    assert [line["key1"] for line in found] == [4.5, 14.5]
    assert [line["key2"] for line in found] == [5, 15]
    assert [line["key3"] for line in found] == [6.5, 16.5]


def printed(caplog, printer):
    caplog.clear()
    with caplog.at_level(logging.INFO, "detectron2.utils.events"):
        printer.write()
    (record,) = [record for record in caplog.records if record.name == "detectron2.utils.events"]
    return record.getMessage()


def test_the_time_that_is_left(events, caplog):
    with events.EventStorage() as storage:
        known, unknown = events.CommonMetricPrinter(10), events.CommonMetricPrinter()
        for _ in range(2):
            storage.put_scalar("time", 1.0)
            storage.step()
        assert "eta: 0:00:07" in printed(caplog, known)
        assert "eta" not in printed(caplog, unknown)


def test_metrics_that_are_marked_are_printed(events, caplog):
    with events.EventStorage() as storage:
        printers = events.CommonMetricPrinter(10), events.CommonMetricPrinter()
        for _ in range(2):
            storage.put_scalar("time", 1.0)
            storage.put_scalar("[metric]bn_stat", 1.0)
            storage.put_scalar("loss_a", 2.0)
            storage.put_scalar("unmarked", 3.0)
            storage.put_scalar("lr", 0.5)
            storage.step()
        for printer in printers:
            line = printed(caplog, printer)
            assert "[metric]bn_stat: 1" in line
            assert "loss_a: 2" in line
            assert "unmarked" not in line
            assert "lr: 0.5" in line


def test_the_storage_that_is_open(events):
    assert not events.has_event_storage()
    with events.EventStorage() as storage:
        assert events.has_event_storage()
        assert events.get_event_storage() is storage
        with events.EventStorage(5) as inner:
            assert events.get_event_storage() is inner
        assert events.get_event_storage() is storage
    assert not events.has_event_storage()
    with pytest.raises(AssertionError):
        events.get_event_storage()


def test_reading_and_scopes(events):
    storage = events.EventStorage(start_iter=3)
    assert storage.iter == 3
    storage.put_scalars(a=1, b=torch.tensor(2.0))
    with storage.name_scope("inner"):
        storage.put_scalar("a", 5)
    storage.put_scalar("a", 4, cur_iter=7)
    storage.step()
    assert storage.iter == 4
    assert storage.latest() == {"a": (4.0, 7), "b": (2.0, 3), "inner/a": (5.0, 3)}
    assert storage.history("a").values() == [(1.0, 3), (4.0, 7)]
    assert storage.history("a").latest() == 4.0
    assert storage.history("a").avg(2) == 2.5
    assert storage.history("a").median(1) == 4.0
    assert storage.history("a").global_avg() == 2.5
    assert set(storage.histories()) == {"a", "b", "inner/a"}
    with pytest.raises(KeyError):
        storage.history("nothing")
    storage.put_scalar("sharp", 9, smoothing_hint=False)
    storage.put_scalar("sharp", 11, smoothing_hint=False)
    with pytest.raises(AssertionError):
        storage.put_scalar("sharp", 9, smoothing_hint=True)
    smoothed = storage.latest_with_smoothing_hint(window_size=20)
    assert smoothed["sharp"] == (11.0, 4)
    assert smoothed["a"] == (2.5, 7)
    assert storage.smoothing_hints() == {"a": True, "b": True, "inner/a": True, "sharp": False}
    storage.iter = 20
    assert storage.iter == 20
    assert storage.iteration == 20


def test_images_and_histograms(events):
    storage = events.EventStorage()
    image = np.zeros((3, 4, 4), dtype=np.uint8)
    storage.put_image("picture", image)
    storage.put_histogram("numbers", torch.arange(10.0), bins=5)
    assert [(name, step) for name, _, step in storage._vis_data] == [("picture", 0)]
    (histogram,) = storage._histograms
    assert histogram["tag"] == "numbers"
    assert histogram["num"] == 10
    assert sum(histogram["bucket_counts"]) == 10
    storage.clear_images()
    storage.clear_histograms()
    assert storage._vis_data == []
    assert storage._histograms == []
