"""What writers take from the storage, and when."""

import json
import logging
import sys
import threading

import pytest
import torch

from trainwright.base.errors import ConfigError, EventStorageError, MissingExtraError
from trainwright.trainer import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)


@pytest.fixture
def storage():
    with EventStorage() as opened:
        yield opened


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_writer_says_how_it_writes():
    writer = EventWriter()
    with pytest.raises(NotImplementedError):
        writer.write()
    writer.close()
    assert writer.state_dict() == {}


def test_a_line_that_a_kill_has_torn_spoils_no_other(storage, tmp_path):
    file = tmp_path / "metrics.json"
    file.write_text('{"iteration": 1, "lo', encoding="utf-8")
    writer = JSONWriter(file)
    storage.put_scalar("loss", 1.0)
    writer.write()
    writer.close()
    assert file.read_text(encoding="utf-8").splitlines() == ['{"iteration": 1, "lo', '{"iteration": 0, "loss": 1.0}']


def test_writers_need_an_open_storage(tmp_path):
    for writer in (CommonMetricPrinter(10), JSONWriter(tmp_path / "metrics.json"), TensorboardXWriter(str(tmp_path))):
        with pytest.raises(EventStorageError, match="no event storage is open"):
            writer.write()
        writer.close()


def test_one_line_an_iteration_with_sorted_keys(storage, tmp_path):
    path = tmp_path / "metrics.json"
    writer = JSONWriter(str(path))
    for k in range(40):
        storage.put_scalars(total_loss=float(k), b_loss=torch.tensor(2.0 * k))
        storage.put_scalar("lr", 0.5, smoothing_hint=False)
        if (k + 1) % 20 == 0:
            writer.write()
        storage.step()
    assert path.read_text(encoding="utf-8").splitlines() == [
        '{"b_loss": 19.0, "iteration": 19, "lr": 0.5, "total_loss": 9.5}',
        '{"b_loss": 59.0, "iteration": 39, "lr": 0.5, "total_loss": 29.5}',
    ]
    writer.close()


def test_metrics_of_other_iterations_have_their_own_lines_once(storage, tmp_path):
    path = tmp_path / "metrics.json"
    writer = JSONWriter(path)
    for k in range(60):
        storage.put_scalar("often", k, smoothing_hint=False)  # comes first, so its line must be sorted behind
        if k % 17 == 0:
            storage.put_scalar("seldom", k, smoothing_hint=False)
        if (k + 1) % 20 == 0:
            writer.write()
            writer.write()
        storage.step()
    writer.close()
    writer.close()
    lines = read(path)
    assert [line["iteration"] for line in lines] == [17, 19, 34, 39, 51, 59]
    assert [line.get("seldom") for line in lines] == [17, None, 34, None, 51, None]
    assert [line.get("often") for line in lines] == [None, 19, None, 39, None, 59]


def test_smoothing_takes_the_writers_window(storage, tmp_path):
    writer = JSONWriter(tmp_path / "metrics.json", window_size=10)
    for k in range(20):
        storage.put_scalar("every", k)
        if (k + 1) % 5 == 0:
            storage.put_scalar("fifth", k)
        if (k + 1) % 10 == 0:
            writer.write()
        storage.step()
    writer.close()
    lines = read(tmp_path / "metrics.json")
    assert [line["every"] for line in lines] == [4.5, 14.5]
    assert [line["fifth"] for line in lines] == [6.5, 16.5]


def test_a_file_is_appended_to_and_a_resumed_writer_writes_nothing_twice(storage, tmp_path):
    path = tmp_path / "metrics.json"
    first = JSONWriter(path)
    storage.put_scalar("metric", 1.0)
    first.write()
    storage.step()
    storage.put_scalar("loss", 2.0)
    state = first.state_dict()
    first.close()
    second = JSONWriter(path)
    second.load_state_dict(state)
    second.write()
    second.close()
    storage.step()
    storage.put_scalar("loss", 3.0)
    second.write()  # a training after the one that closed it
    second.close()
    assert [line["iteration"] for line in read(path)] == [0, 1, 2]


def test_the_folder_of_the_file_is_made(storage, tmp_path):
    JSONWriter(tmp_path / "run" / "logs" / "metrics.json").close()
    assert (tmp_path / "run" / "logs" / "metrics.json").exists()


def test_a_url_cannot_be_appended_to():
    with pytest.raises(ConfigError, match=r"on a local disk, but got the URL 's3://bucket/metrics.json'"):
        JSONWriter("s3://bucket/metrics.json")


def test_training_does_not_wait_for_the_disk(storage, tmp_path, monkeypatch):
    path, release, synced = tmp_path / "metrics.json", threading.Event(), []
    writer = JSONWriter(path)

    def slow(descriptor):
        assert release.wait(60)
        synced.append(len(read(path)))

    monkeypatch.setattr("os.fsync", slow)
    for k in range(3):
        storage.put_scalar("loss", float(k))
        writer.write()
        storage.step()
    assert [line["iteration"] for line in read(path)] == [0, 1, 2]
    assert synced == []
    release.set()
    writer.close()
    assert synced == [3, 3]  # the one that was under way, and that of close()


def test_a_disk_that_fails_is_told_of_at_the_next_write_or_the_end(storage, tmp_path, monkeypatch):
    def broken(descriptor):
        raise OSError("the disk is gone")

    monkeypatch.setattr("os.fsync", broken)
    writers = [JSONWriter(tmp_path / "a.json"), JSONWriter(tmp_path / "b.json")]
    storage.put_scalar("loss", 1.0)
    for writer in writers:
        writer.write()
        assert isinstance(writer._syncing.exception(60), OSError)
    storage.step()
    storage.put_scalar("loss", 2.0)
    with pytest.raises(OSError, match="the disk is gone"):
        writers[0].write()
    for writer in writers:
        with pytest.raises(OSError, match="the disk is gone"):
            writer.close()


def test_tensorboard_gets_scalars_images_and_histograms(storage, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = TensorboardXWriter(str(tmp_path), window_size=2, max_queue=1)
    for k in range(4):
        storage.put_scalar("loss", k)
        if k % 2:
            writer.write()
        storage.step()
    storage.put_image("picture", torch.zeros(3, 4, 4))
    storage.put_histogram("values", torch.arange(8.0), bins=4)
    writer.write()
    assert storage._vis_data == []
    assert storage._histograms == []
    state = writer.state_dict()
    writer.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (3, 2.5)]
    assert [event.step for event in events.Images("picture")] == [4]
    assert [event.step for event in events.Histograms("values")] == [4]
    again = TensorboardXWriter(str(tmp_path / "again"))
    again.load_state_dict(state)
    again.write()
    assert not (tmp_path / "again").exists()


def test_without_tensorboard_the_error_names_it(storage, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    storage.put_scalar("loss", 1.0)
    with pytest.raises(MissingExtraError, match=r"TensorboardXWriter needs the package 'tensorboard'.*\[vis\]"):
        TensorboardXWriter(str(tmp_path)).write()


def lines_of(caplog, writer):
    caplog.clear()
    with caplog.at_level(logging.INFO, logger=writer.logger.name):
        writer.write()
    return [record.getMessage() for record in caplog.records]


def test_the_printed_line(storage, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 1024 * 1024)
    for k in range(30):
        storage.put_scalars(total_loss=float(k), loss_b=float(2 * k), time=1.5, data_time=0.25 if k > 9 else 5.0)
        storage.put_scalar("[metric]norm", 7.0)
        storage.put_scalar("lr", 0.0012345678, smoothing_hint=False)
        storage.step()
    storage.iter = 29
    assert lines_of(caplog, CommonMetricPrinter(40)) == [
        " eta: 0:00:15  iter: 29  total_loss: 19.5  loss_b: 39  [metric]norm: 7  time: 1.5000  last_time: 1.5000  "
        "data_time: 0.2500  last_data_time: 0.2500  lr: 0.0012346  max_mem: 3M"
    ]
    assert storage.latest()["eta_seconds"] == (15.0, 29)
    assert "eta: 0:00:00  " in lines_of(caplog, CommonMetricPrinter(30))[0]
    assert lines_of(caplog, CommonMetricPrinter())[0].startswith(" iter: 29  total_loss")


def test_the_printed_line_without_values(storage, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert lines_of(caplog, CommonMetricPrinter()) == [" iter: 0      lr: N/A  "]


def test_nothing_is_printed_after_the_last_iteration(storage, caplog):
    storage.iter = 10
    assert lines_of(caplog, CommonMetricPrinter(10)) == []


def test_without_a_timer_the_time_left_is_that_between_lines(storage, caplog, monkeypatch):
    now = iter([100.0, 110.0, 111.0])
    monkeypatch.setattr("trainwright.trainer.writers.perf_counter", lambda: next(now))
    printer = CommonMetricPrinter(100)
    assert "eta" not in lines_of(caplog, printer)[0]
    storage.iter = 20
    assert " eta: 0:00:39  iter: 20  " in lines_of(caplog, printer)[0]
    assert "eta" not in lines_of(caplog, printer)[0]  # no iteration since the last line
