"""Learning a vocabulary from a corpus, so that the same corpus gives the same file every time."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from nearfar.errors import DataError
from nearfar.frontend.unicode import without_surrogates

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""The ids 0 to 3 of every vocabulary that is trained here."""

_CONTINUATION = "##"
_MIN_WORDPIECE = 64
_MIN_BYTE_LEVEL = 512  # 256 bytes, the special tokens, and enough room left for merges to mean something
_HUMPS = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"  # parseHTTPBody -> parse HTTP Body
_LATIN_ACCENTS = r"[\u0300-\u036F]+"  # not every combining mark: those of Indic scripts are vowels
_INVISIBLE = r"[[\p{Cc}\p{Cf}]&&[^\s]]+"  # control characters, soft hyphens, joiners
# Letters with their marks, digits, or one other sign; a Chinese character is a word, as no space ends one.
_WORD = r"\p{Han}|[\p{L}&&[^\p{Han}]][[\p{L}\p{M}]&&[^\p{Han}]]*|\p{N}+|[^\s\p{L}\p{N}]"


def train_tokenizer(
    texts: Iterable[str],
    *,
    model: Literal["wordpiece", "bpe"] = "wordpiece",
    vocab_size: int = 16_000,
    lowercase: bool = True,
    split_identifiers: bool = False,
    add_special: bool = False,
) -> Tokenizer:
    """Learn a vocabulary of at most `vocab_size` tokens.

    Args:
        texts: the corpus, read once; it need not fit in memory.
        model: `wordpiece` (characters, Wu et al. arXiv:1609.08144) or `bpe` (bytes, so nothing is ever unknown).
        vocab_size: tokens, the four special ones included.
        lowercase: fold case, compatibility forms (NFKC) and accents.
        split_identifiers: cut camelCase at its humps; snake_case is cut in any case.
        add_special: put [CLS] before and [SEP] after every text.

    Returns:
        The tokenizer, the same for the same texts and arguments.

    Raises:
        DataError: there is no text, or `vocab_size` is too small.
    """
    least = _MIN_BYTE_LEVEL if model == "bpe" else _MIN_WORDPIECE
    if vocab_size < least:
        raise DataError(f"a {model} vocabulary of {vocab_size} tokens is too small: set vocab_size to {least} or more")
    words = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
    clean = _normalizer(lowercase=lowercase, split_identifiers=split_identifiers)
    if model == "bpe":
        tokenizer = _train_bytes(texts, vocab_size, clean, words)
    else:
        tokenizer = _train_wordpiece(texts, vocab_size, clean, words)
    if add_special:
        cls, sep = SPECIAL_TOKENS[2:]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls} $A {sep}",
            special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in (cls, sep)],
        )
    return tokenizer


def _normalizer(*, lowercase: bool, split_identifiers: bool) -> Any:
    """Invisible characters out, then the folds that were asked for."""
    steps: list[Any] = [normalizers.Replace(Regex(_INVISIBLE), "")]
    if split_identifiers:
        steps.append(normalizers.Replace(Regex(_HUMPS), " "))
    if lowercase:
        steps += [normalizers.NFKD(), normalizers.Replace(Regex(_LATIN_ACCENTS), ""), normalizers.Lowercase()]
    steps.append(normalizers.NFC())
    return normalizers.Sequence(steps)


def _train_wordpiece(texts: Iterable[str], vocab_size: int, clean: Any, words: Any) -> Tokenizer:
    """WordPiece whose ids do not depend on hash order.

    Left to itself the trainer numbers the continuation characters (`##e`) and chooses among equally rare characters in
    the order of a randomly seeded hash map, so two runs differ. Handing it the alphabet, counted in a first pass and
    sorted, takes both choices away. The normalised text waits in a temporary file for the second pass.
    """
    characters: Counter[str] = Counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as spool:
        for text in texts:
            line = " ".join(clean.normalize_str(without_surrogates(text)).split())
            characters.update(line)
            if line:
                spool.write(line + "\n")
        del characters[" "]
        if not characters:
            raise DataError("no text to learn a vocabulary from: every text is empty")
        by_count = sorted(characters, key=lambda character: (-characters[character], character))
        # Each character costs two tokens (at the start of a word and inside one): rare ones must not crowd out words.
        alphabet = sorted(by_count[: max(vocab_size // 4, _MIN_WORDPIECE // 2 - len(SPECIAL_TOKENS))])
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            show_progress=False,
            special_tokens=[*SPECIAL_TOKENS, *(_CONTINUATION + character for character in alphabet)],
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            continuing_subword_prefix=_CONTINUATION,
        )
        learner = Tokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS[1]))
        learner.pre_tokenizer = words
        spool.seek(0)
        learner.train_from_iterator(spool, trainer)
    # A fresh tokenizer: in `learner` the continuation characters are marked as special tokens.
    tokenizer = Tokenizer(
        models.WordPiece(
            vocab=learner.get_vocab(), unk_token=SPECIAL_TOKENS[1], continuing_subword_prefix=_CONTINUATION
        )
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.normalizer = clean
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUATION)
    return tokenizer


def _train_bytes(texts: Iterable[str], vocab_size: int, clean: Any, words: Any) -> Tokenizer:
    """Byte-level BPE inside words; the leading space marks the start of a word."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = clean
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    seen = 0

    def counted() -> Iterator[str]:
        nonlocal seen
        for text in texts:
            seen += bool(text.strip())
            yield without_surrogates(text)

    tokenizer.train_from_iterator(counted(), trainer)
    if not seen:
        raise DataError("no text to learn a vocabulary from: every text is empty")
    return tokenizer
