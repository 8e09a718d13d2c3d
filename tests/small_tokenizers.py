"""Tokenizers so small that they cut characters into bytes."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE so small that it cuts ë, €, − and 🍎 into their bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["The answer is So has 12 = 5 + "] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def sentence_piece_tokenizer() -> PreTrainedTokenizerFast:
    """A Llama-2 style tokenizer: ▁ for the space, byte fallback, and a leading space that decoding drops."""
    pieces = ["<unk>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *"▁abenoswThiZ125", "▁a", "▁The", "an"]
    tokenizer = Tokenizer(models.Unigram([(p, -float(i)) for i, p in enumerate(pieces)], unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def changing_tokenizer() -> PreTrainedTokenizerFast:
    """A word-piece tokenizer that changes the text: it writes ² as 2 and ﬁ as fi, and drops all spaces."""
    pieces = [
        "[UNK]",
        "</s>",
        *"abcdefghijklmnopqrstuvwxyz0123456789.=+",
        *(f"##{c}" for c in "abcdefghijlmnorstuwx2."),
    ]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="[UNK]")
