"""Text to ids: what a side keeps, what odd input does, what a file brings back."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from nearfar.errors import DataError
from nearfar.frontend import TextFrontend
from nearfar.frontend.vocabulary import train_tokenizer

TEXTS = [
    "read a file line by line",
    "parse_json reads a JSON string",
    "getHTTPResponse returns 404",
    "Crème brûlée",
] * 3


@pytest.fixture(scope="module")
def frontend() -> TextFrontend:
    return TextFrontend.train(TEXTS, vocab_size=200, max_query_tokens=5, max_document_tokens=9)


def tokens(frontend: TextFrontend, text: str) -> list[str]:
    vocabulary = {number: token for token, number in json.loads(frontend.to_bytes())["model"]["vocab"].items()}
    return [vocabulary[number] for number in frontend.encode([text], "document")[0].tolist()]


def words(frontend: TextFrontend, text: str) -> str:
    return " ".join(tokens(frontend, text)).replace(" ##", "")


def test_special_tokens_have_the_first_ids(frontend):
    vocabulary = json.loads(frontend.to_bytes())["model"]["vocab"]
    assert [vocabulary[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")] == [0, 1, 2, 3]
    assert frontend.pad_id == 0
    assert frontend.vocab_size == len(vocabulary) <= 200


def test_words_are_folded_and_cut_at_punctuation_and_digits(frontend):
    assert words(frontend, "PARSE_json") == "parse _ json"
    assert words(frontend, "crème BRÛLÉE") == "creme brulee"
    assert words(frontend, "line404") == "line 404"


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("日本語 テキスト", ["日", "本", "語", "テキスト"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("한국어", ["한국어"]),
        ("ガラス", ["ガラス"]),
        ("soft\u00adhyphen a\x00b", ["softhyphen", "ab"]),
        ("😀😀 5€ +=", ["😀", "😀", "5", "€", "+", "="]),
        ("ﬁle ２x", ["file", "2", "x"]),
        ("йод über", ["иод", "uber"]),
    ],
)
def test_words_of_many_scripts(text, cut):
    tokenizer = train_tokenizer([text] * 3, vocab_size=512)
    normal = tokenizer.normalizer.normalize_str(text)
    assert [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)] == cut
    assert 1 not in tokenizer.encode(text).ids


def test_camel_case_is_cut_only_when_asked(frontend):
    cutting = TextFrontend.train(TEXTS, vocab_size=200, split_identifiers=True)
    assert words(cutting, "getHTTPResponse") == "get http response"
    assert words(frontend, "getHTTPResponse") == "gethttpresponse"


def test_case_is_kept_when_asked():
    kept = TextFrontend.train(TEXTS, vocab_size=200, lowercase=False)
    assert words(kept, "JSON Crème") == "JSON Crème"


def test_each_side_has_its_length(frontend):
    text = "read a file line by line " * 20
    assert len(frontend.encode([text], "query")[0]) == 5
    assert len(frontend.encode([text], "document")[0]) == 9
    assert frontend.encode([text], "query")[0].tolist() == frontend.encode([text], "document")[0].tolist()[:5]


def test_each_side_has_its_prompt():
    prompted = TextFrontend.train(
        [*TEXTS, "query: text:"], vocab_size=200, query_prompt="query: ", document_prompt="text: "
    )
    query, document = (prompted.encode(["a file"], side)[0].tolist() for side in ("query", "document"))
    assert query != document
    plain = TextFrontend.train([*TEXTS, "query: text:"], vocab_size=200)
    assert query == plain.encode(["query: a file"], "query")[0].tolist()


def test_special_tokens_survive_the_cut():
    framed = TextFrontend.train(TEXTS, vocab_size=200, add_special=True, max_query_tokens=4)
    ids = framed.encode(["read a file line by line", ""], "query")
    assert len(ids[0]) == 4
    assert (ids[0][0], ids[0][-1]) == (2, 3)
    assert ids[1].tolist() == [2, 3]
    with pytest.raises(DataError, match=r"max_query_tokens is 2.*set it to 3 or more"):
        TextFrontend.train(TEXTS, vocab_size=200, add_special=True, max_query_tokens=2)


@pytest.mark.parametrize("text", ["", " \n\t", "\x00", "\u200b"])
def test_a_text_without_tokens_is_one_unknown(frontend, text):
    assert frontend.encode([text], "query")[0].tolist() == [1]


@pytest.mark.parametrize("model", ["wordpiece", "bpe"])
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(st.characters(), max_size=80), max_size=4))
def test_any_unicode_encodes(model, texts):
    """Hypothesis draws lone surrogates too."""
    frontend = _trained(model)
    rows = frontend.encode(texts, "document")
    assert len(rows) == len(texts)
    for row in rows:
        assert row.dtype == np.int32
        assert 1 <= len(row) <= 9
        assert 0 <= row.min() <= row.max() < frontend.vocab_size


_TRAINED: dict[str, TextFrontend] = {}


def _trained(model):
    if model not in _TRAINED:
        _TRAINED[model] = TextFrontend.train(TEXTS, model=model, vocab_size=600, max_document_tokens=9)
    return _TRAINED[model]


def test_a_surrogate_pair_is_the_character_it_stands_for(frontend):
    frontend = TextFrontend.train(["😀 smile"], vocab_size=64)
    assert frontend.encode(["\ud83d\ude00"], "query")[0].tolist() == frontend.encode(["😀"], "query")[0].tolist() != [1]
    assert (
        frontend.encode(["smile \ud83d"], "query")[0].tolist() == frontend.encode(["smile \ufffd"], "query")[0].tolist()
    )


def test_bytes_are_never_unknown():
    frontend = TextFrontend.train(TEXTS, model="bpe", vocab_size=600)
    assert 1 not in frontend.encode(["ελληνικά 日本語 😀"], "document")[0]


def test_the_far_end_of_a_long_text_changes_nothing(frontend):
    long = "read a file " * 10_000
    assert frontend.encode([long + "x"], "query")[0].tolist() == frontend.encode([long], "query")[0].tolist()


def test_pad_masks_what_it_adds(frontend):
    ids, mask = frontend.pad([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == np.int64
    assert frontend.pad([])[0].shape == (0, 1)


def test_one_string_or_no_string_is_refused(frontend):
    with pytest.raises(DataError, match=r"wrap it as \[text\]"):
        frontend.encode("text", "query")
    with pytest.raises(DataError, match="item 1 is int"):
        frontend.encode(["a", 3], "query")


@pytest.mark.parametrize("model", ["wordpiece", "bpe"])
def test_saving_brings_back_the_same_ids(tmp_path, model):
    frontend = TextFrontend.train(
        TEXTS,
        model=model,
        vocab_size=600,
        split_identifiers=True,
        add_special=True,
        query_prompt="q: ",
        max_query_tokens=7,
    )
    stored = json.loads(json.dumps(frontend.save(tmp_path)))
    back = TextFrontend.load(tmp_path, stored)
    texts = ["getHTTPResponse 404 ", "", "Crème 😀", "a " * 99]
    for side in ("query", "document"):
        assert [row.tolist() for row in back.encode(texts, side)] == [
            row.tolist() for row in frontend.encode(texts, side)
        ]
    assert back.settings == frontend.settings
    assert back.to_bytes() == frontend.to_bytes()


@pytest.mark.parametrize("model", ["wordpiece", "bpe"])
def test_the_vocabulary_does_not_depend_on_the_process(model):
    """The library's own WordPiece training numbers tokens by a hash seed that every process draws anew."""
    program = (
        "import hashlib; from nearfar.frontend import TextFrontend; "
        "texts = [f'{a}{b}{c} {c}{a} {b}' for a in 'abcdefghij' for b in 'klmnopqrst' for c in 'uvwxyzäöü']; "
        f"f = TextFrontend.train(texts, model='{model}', vocab_size=512 if '{model}' == 'bpe' else 90); "
        "print(hashlib.sha256(f.to_bytes()).hexdigest())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(runs) == 1


def test_rare_characters_do_not_crowd_out_words():
    rare = ["".join(chr(0x4E00 + n) for n in range(3000))]
    frontend = TextFrontend.train([*TEXTS, *rare], vocab_size=200)
    assert frontend.vocab_size <= 200
    assert tokens(frontend, "file") == ["file"]


def test_a_corpus_without_text_is_refused():
    for model in ("wordpiece", "bpe"):
        with pytest.raises(DataError, match="every text is empty"):
            TextFrontend.train(["", " "], model=model, vocab_size=600)
    with pytest.raises(DataError, match="set vocab_size to 512 or more"):
        TextFrontend.train(TEXTS, model="bpe", vocab_size=100)


def test_an_existing_file_keeps_its_post_processor_and_loses_its_lengths(tmp_path):
    foreign = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "hello": 2, "world": 3, "<pad>": 4}, unk_token="<unk>"))
    foreign.pre_tokenizer = pre_tokenizers.Whitespace()
    foreign.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    foreign.enable_truncation(3)
    foreign.enable_padding(length=8, pad_id=4, pad_token="<pad>")
    foreign.save(str(tmp_path / "tokenizer.json"))
    frontend = TextFrontend.from_file(tmp_path / "tokenizer.json", max_query_tokens=6, max_document_tokens=4)
    assert frontend.encode(["hello world hello"], "query")[0].tolist() == [1, 2, 3, 2]
    assert frontend.encode(["hello " * 9], "document")[0].tolist() == [1, 2, 2, 2]
    assert frontend.pad_id == 4
    assert frontend.vocab_size == 5


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"version": "1.0"}', b"\xff\xfe"])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.json: not a tokenizer file"):
        TextFrontend.from_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot read the tokenizer \(No such file"):
        TextFrontend.from_file(tmp_path / "none.json")


def test_threads_with_different_sides_do_not_disturb_each_other(frontend):
    text = "read a file line by line " * 5
    with ThreadPoolExecutor(4) as pool:
        sides = ["query", "document"] * 200
        lengths = list(pool.map(lambda side: len(frontend.encode([text], side)[0]), sides))
    assert lengths == [5, 9] * 200
