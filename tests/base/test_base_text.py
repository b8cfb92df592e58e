from trainwright.base.text import did_you_mean, near_names, table


def test_near_names_are_best_first_and_ignore_case_and_underscores():
    names = ["train_dataloader", "val_dataloader", "model", "traindataloader_x"]
    assert near_names("TrainDataloader", names)[0] == "train_dataloader"
    assert near_names("modle", names) == ["model"]
    assert near_names("zzz", names) == []
    assert len(near_names("dataloader", names, n=2)) == 2


def test_names_that_are_much_less_alike_are_left_out():
    assert near_names("AdmW", ["Adam", "AdamW", "NAdam"]) == ["AdamW"]
    assert near_names("batch_siz", ["batch_size", "batch_sampler"]) == ["batch_size"]
    assert near_names("ResNt", ["ResNet", "ResNeXt"]) == ["ResNet", "ResNeXt"]


def test_a_part_of_a_long_name_is_near():
    assert near_names("Cosine", ["CosineAnnealingMomentum", "StepLR"]) == ["CosineAnnealingMomentum"]


def test_did_you_mean_reads_as_a_sentence():
    assert did_you_mean("modle", ["model", 3]) == " Did you mean 'model'?"
    assert did_you_mean("aab", ["aaa", "aac"]) == " Did you mean 'aaa' or 'aac'?"
    assert did_you_mean("aabb", ["aaab", "aabc", "aabd"]) == " Did you mean 'aaab', 'aabc' or 'aabd'?"
    assert did_you_mean("x", []) == ""


def test_table_aligns_columns():
    assert table([("a", 10), ("bcd", 2)], ("name", "n")) == "name  n\n----  --\na     10\nbcd   2"
    assert table([]) == ""
    assert table([("a", "b")]) == "a  b"
