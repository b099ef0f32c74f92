"""CLIP's tokenizer, compared with OpenAI's code and with known ids."""

import gzip
import html
import itertools
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

ftfy = pytest.importorskip("ftfy")
regex = pytest.importorskip("regex")

from reader.contract.errors import UsageError  # noqa: E402
from reader.contract.tokenizers.clip import ClipTokenizer, clip_spec  # noqa: E402

FOX = "the quick brown fox jumped over the lazy dog"
FOX_IDS = [518, 3712, 2866, 3240, 16901, 962, 518, 10753, 1929]


class OpenAi:
    """OpenAI's `simple_tokenizer.py` (MIT), with other line breaks."""

    def __init__(self, text: str) -> None:
        bs = [*range(33, 127), *range(161, 173), *range(174, 256)]
        cs, n = bs[:], 0
        for b in range(256):
            if b not in bs:
                bs.append(b)
                cs.append(256 + n)
                n += 1
        self.byte_encoder = dict(zip(bs, map(chr, cs), strict=True))
        lines = text.split("\n")[1 : 49152 - 256 - 2 + 1]
        merges = [tuple(line.split()) for line in lines]
        vocab = list(self.byte_encoder.values())
        vocab = vocab + [v + "</w>" for v in vocab]
        vocab += ["".join(merge) for merge in merges]
        vocab += ["<|startoftext|>", "<|endoftext|>"]
        self.encoder = {token: id_ for id_, token in enumerate(vocab)}
        self.ranks = {merge: rank for rank, merge in enumerate(merges)}
        self.special = {"<|startoftext|>", "<|endoftext|>"}
        self.pat = regex.compile(
            r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
            r"|[^\s\p{L}\p{N}]+",
            regex.IGNORECASE,
        )

    def bpe(self, token: str) -> list[str]:
        if token in self.special:
            return [token]
        word = (*token[:-1], token[-1] + "</w>")
        while len(word) > 1:
            pairs = set(itertools.pairwise(word))
            bigram = min(pairs, key=lambda pair: self.ranks.get(pair, float("inf")))
            if bigram not in self.ranks:
                break
            first, second = bigram
            new: list[str] = []
            i = 0
            while i < len(word):
                try:
                    j = word.index(first, i)
                except ValueError:
                    new.extend(word[i:])
                    break
                new.extend(word[i:j])
                i = j
                if word[i] == first and i < len(word) - 1 and word[i + 1] == second:
                    new.append(first + second)
                    i += 2
                else:
                    new.append(word[i])
                    i += 1
            word = tuple(new)
        return list(word)

    def encode(self, text: str) -> list[int]:
        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        text = regex.sub(r"\s+", " ", text).strip().lower()
        ids = []
        for token in regex.findall(self.pat, text):
            token = "".join(self.byte_encoder[b] for b in token.encode("utf-8"))
            ids += [self.encoder[piece] for piece in self.bpe(token)]
        return ids


@pytest.fixture(scope="session")
def merges(shared_data: Path) -> bytes:
    return (shared_data / "tokenizers/clip/bpe_simple_vocab_16e6.txt.gz").read_bytes()


@pytest.fixture(scope="session")
def clip(merges: bytes) -> ClipTokenizer:
    return ClipTokenizer(clip_spec(merges), merges)


@pytest.fixture(scope="session")
def openai(merges: bytes) -> OpenAi:
    return OpenAi(gzip.decompress(merges).decode("utf-8"))


def test_known_ids(clip):
    assert clip.encode(FOX) == FOX_IDS


def test_the_spec_has_clips_special_ids(merges, clip):
    spec = clip_spec(merges)
    assert (spec.start_id, spec.end_id, spec.pad_id) == (49_406, 49_407, 0)
    assert spec.unknown_id is None
    assert spec.vocab_size == clip.vocab_size == 49_408
    assert (spec.kind, spec.file) == ("clip", "bpe_merges.txt.gz")


HARD = (
    "aAéÉßİſıΣσς犬とカー々가ไทยनमस्ते½²Ⅷ٣0123"
    "\u0301\u0323\u0345\u3099\ufe0f\u200d\x00\x1c👍👩 -_'’!.,&;<>|/\t\n\r\u2028\xa0"
)


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text(HARD))
@example(text="It's I'll they'VE we'd you're I'm don't '' 's'ſ")
@example(text="👍👩‍👩‍👧 in 1995, 3.14%!!! — “quotes” & &amp;lt;b&amp;gt;")
@example(text="café cafe\u0301 CAFÉ ﬁ ＡＢＣ schön Ã¼ber")
@example(text="<|startoftext|> x <|ENDOFTEXT|> !!<|endoftext|>")
@example(text="<|ſtartoftext|>")
def test_ids_are_openais(clip, openai, text):
    assert clip.encode(text) == openai.encode(text)


def test_ids_of_hard_files_are_openais(shared_data, clip, openai):
    files = [shared_data / "text/blns.txt", *(shared_data / "text/utf8").rglob("*.txt")]
    lines = [
        line
        for file in files
        for line in file.read_text("utf-8", errors="replace").split("\n")
    ]
    assert len(lines) > 500
    for line in lines:
        assert clip.encode(line) == openai.encode(line), line


def test_the_library_tokenizers_agrees_on_plain_text(shared_data, openai, clip):
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            openai.encoder,
            list(openai.ranks),
            end_of_word_suffix="</w>",
            continuing_subword_prefix="",
        )
    )
    split = tokenizers.pre_tokenizers.Split
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    library.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            split(tokenizers.Regex(openai.pat.pattern), "removed", invert=True),
            byte_level(add_prefix_space=False, use_regex=False),
        ]
    )
    for file in (shared_data / "pairs/captions").rglob("*.txt"):
        text = " ".join(ftfy.fix_text(file.read_text("utf-8")).split())
        assert clip.encode(text) == library.encode(text.lower()).ids


def test_merges_are_read_zipped_unzipped_and_as_hugging_face_has_them(merges, clip):
    plain = gzip.decompress(merges)
    short = b"\n".join([b"#version: 0.2", *plain.split(b"\n")[1:48_895], b""])
    for data in (plain, short, short.replace(b"\n", b"\r\n")):
        spec = clip_spec(data)
        assert spec.file == "bpe_merges.txt"
        assert ClipTokenizer(spec, data).encode(f"{FOX} &é!") == clip.encode(
            f"{FOX} &é!"
        )


def test_a_row_is_decoded_to_lower_case_words(clip):
    row = [49_406, *clip.encode("A Red circle, 犬!"), 49_407, 0, 0, 0]
    assert clip.decode(row) == "a red circle , 犬 !"


def test_text_ends_at_its_end_and_exclamation_marks_stay(clip):
    ids = clip.encode("wow!!!!a")
    assert clip.decode([49_406, *ids, 49_407, 0, 0]).replace(" ", "") == "wow!!!!a"
    assert clip.decode([0, 256]) == "!!"


def test_an_id_beyond_the_vocabulary_is_an_error(clip):
    with pytest.raises(UsageError, match="from 0 to 49407, got 49408"):
        clip.decode([49_408])


def refusal(data: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        clip_spec(data)
    return str(caught.value)


def test_merges_that_are_not_clips_are_refused(merges):
    plain = gzip.decompress(merges)
    short = b"\n".join(plain.split(b"\n")[:100])
    assert "file has 99: check that the file is complete" in refusal(short)
    assert "two parts" in refusal(plain.replace(b"i n\n", b"i n g\n", 1))
    assert "tokenizer.json" in refusal(plain.replace(b"</w>", b""))
    assert "no #version" in refusal(merges[:1000])
    assert "no #version" in refusal(plain.partition(b"\n")[2])
