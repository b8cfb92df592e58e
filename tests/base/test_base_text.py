from trainwright.base.text import brief, did_you_mean, near_names, table


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


def test_a_part_of_a_name_is_not_very_like_it():
    assert near_names("level", ["log_level"]) == ["log_level"]
    assert near_names("level", ["log_level"], cutoff=0.84) == []


def test_what_is_no_text_has_near_names_too():
    assert near_names(12, ["12", "x"]) == ["12"]
    assert did_you_mean(None, ["none", 3]) == " Did you mean 'none'?"


def test_did_you_mean_reads_as_a_sentence():
    assert did_you_mean("modle", ["model", 3]) == " Did you mean 'model'?"
    assert did_you_mean("aab", ["aaa", "aac"]) == " Did you mean 'aaa' or 'aac'?"
    assert did_you_mean("aabb", ["aaab", "aabc", "aabd"]) == " Did you mean 'aaab', 'aabc' or 'aabd'?"
    assert did_you_mean("x", []) == ""


def test_long_values_are_cut():
    assert brief("abc") == "'abc'"
    assert brief(list(range(100)), limit=12) == "[0, 1, 2,..."


def test_table_aligns_columns():
    assert table([("a", 10), ("bcd", 2)], ("name", "n")) == "name  n\n----  --\na     10\nbcd   2"
    assert table([]) == ""
    assert table([("a", "b")]) == "a  b"
